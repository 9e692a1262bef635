package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sallyport/identity"
	"sallyport/providers"
	"sallyport/providers/ldap"
)

func staff() []Person {
	return []Person{
		{Username: "alice", Name: "Alice Example", Email: "alice@example.test", Password: "alice-demo-pass", Groups: []string{"eng", "staff"}},
		{Username: "o*b(x),y", Name: "Odd Name", Password: "odd-demo-pass", Groups: []string{"staff", "a+b, inc"}},
		{Username: "guest", Name: "Guest"},
	}
}

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{Listen: "127.0.0.1:0", People: staff()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func config(s *Server) *ldap.Config {
	return &ldap.Config{
		URLs: []string{s.URL}, CAPEM: s.CAPEM, BindDN: s.BindDN, BindPassword: identity.NewSecret(s.BindPassword),
		Users:      ldap.Users{Base: s.PeopleDN},
		Attributes: ldap.Attributes{Groups: "memberOf"},
		Groups:     ldap.Groups{Base: s.GroupsDN, Name: "cn", Nested: true},
	}
}

type door interface {
	providers.PasswordProvider
	providers.Checker
	Close() error
}

func open(t *testing.T, c *ldap.Config) door {
	t.Helper()
	p, err := c.Open(t.Context(), "demo", "Demo", providers.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	d := p.(door)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestPeopleSignInThroughTheProvider(t *testing.T) {
	s := start(t)
	d := open(t, config(s))
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		password string
		groups   []string
	}{
		"alice":    {"alice-demo-pass", []string{"eng", "staff"}},
		"ALICE":    {"alice-demo-pass", []string{"eng", "staff"}},
		"o*b(x),y": {"odd-demo-pass", []string{"a+b, inc", "staff"}},
	} {
		a, err := d.Authenticate(t.Context(), name, want.password)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want.groups, a.Identity.Groups); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(a.Identity.Subject) != 36 || !strings.EqualFold(a.Identity.Username, name) {
			t.Errorf("%s: %+v", name, a.Identity)
		}
	}
	for _, wrong := range [][2]string{{"alice", "wrong"}, {"alice", "odd-demo-pass"}, {"nobody", "x"}, {"guest", "x"}, {"*", "alice-demo-pass"}} {
		if _, err := d.Authenticate(t.Context(), wrong[0], wrong[1]); !errors.Is(err, identity.ErrBadCredentials) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}

func TestPeopleSignInByDNTemplate(t *testing.T) {
	s := start(t)
	d := open(t, &ldap.Config{
		URLs: []string{s.URL}, CAPEM: s.CAPEM, UserDN: "uid={username}," + s.PeopleDN,
		Attributes: ldap.Attributes{Groups: "memberOf"}, Groups: ldap.Groups{Name: "dn"},
	})
	a, err := d.Authenticate(t.Context(), "o*b(x),y", "odd-demo-pass")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{s.GroupDN("a+b, inc"), s.GroupDN("staff")}, a.Identity.Groups); diff != "" {
		t.Error(diff)
	}
}

func TestSubjectsStayTheSameFromStartToStart(t *testing.T) {
	subject := func() string {
		s := start(t)
		a, err := open(t, config(s)).Authenticate(t.Context(), "alice", "alice-demo-pass")
		if err != nil {
			t.Fatal(err)
		}
		return a.Identity.Subject
	}
	if one, two := subject(), subject(); one != two {
		t.Errorf("%s became %s", one, two)
	}
}

func TestSearchesNeedTheServiceAccount(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	all := goldap.NewSearchRequest(s.BaseDN, goldap.ScopeWholeSubtree, 0, 0, 0, false, "(uid=*)", []string{"*"}, nil)
	refused := func(when string, code uint16) {
		t.Helper()
		if _, err := c.Search(all); !goldap.IsErrorWithCode(err, code) {
			t.Errorf("%s: %v", when, err)
		}
	}
	refused("anonymous", goldap.LDAPResultInsufficientAccessRights)
	if err := c.Bind(personDN("alice"), "alice-demo-pass"); err != nil {
		t.Fatal(err)
	}
	refused("as a person", goldap.LDAPResultNoSuchObject)
	if err := c.Bind(s.BindDN, s.BindPassword); err != nil {
		t.Fatal(err)
	}
	result, err := c.Search(all)
	if err != nil || len(result.Entries) != 3 {
		t.Fatalf("as the service account: %v, %v", result, err)
	}
	for _, e := range result.Entries {
		for _, a := range e.Attributes {
			if strings.EqualFold(a.Name, "userPassword") || a.Name == "entryUUID" {
				t.Errorf("%s is shown", a.Name)
			}
		}
	}
	if err := c.UnauthenticatedBind(personDN("alice")); !goldap.IsErrorWithCode(err, goldap.LDAPResultUnwillingToPerform) {
		t.Errorf("a name without a password: %v", err)
	}
	refused("after a failed bind", goldap.LDAPResultInsufficientAccessRights)
	if err := c.Bind(personDN("guest"), "x"); !goldap.IsErrorWithCode(err, goldap.LDAPResultInvalidCredentials) {
		t.Errorf("a person without a password: %v", err)
	}
}

func TestFiltersAndScopes(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	if err := c.Bind(s.BindDN, s.BindPassword); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		base, filter string
		scope, limit int
		want         string
	}{
		{s.PeopleDN, "(uid=ALICE)", 2, 0, "uid=alice"},
		{s.PeopleDN, "(uid=nobody)", 2, 0, ""},
		{s.PeopleDN, "(&(objectClass=person)(mail=*))", 2, 0, "uid=alice"},
		{s.PeopleDN, "(|(uid=alice)(uid=guest))", 2, 0, "uid=alice uid=guest"},
		{s.PeopleDN, "(&(uid=*)(!(uid=alice))(!(cn=Odd*)))", 2, 0, "uid=guest"},
		{s.PeopleDN, "(cn=a*ex*ple)", 2, 0, "uid=alice"},
		{s.PeopleDN, "(cn=a*ple*ex)", 2, 0, ""},
		{s.PeopleDN, "(uid=o\\2ab\\28x\\29*)", 2, 0, `uid=o*b(x)\,y`},
		{s.PeopleDN, "(uid>=a)", 2, 0, ""},
		{s.PeopleDN, "(objectClass=*)", 0, 0, "ou=people"},
		{s.BaseDN, "(objectClass=*)", 1, 0, "ou=people ou=groups ou=system"},
		{s.BaseDN, "(uid=*)", 1, 0, ""},
		{s.GroupsDN, "(member=UID=alice, OU=people," + s.BaseDN + ")", 2, 0, "cn=eng cn=staff"},
		{s.PeopleDN, "(memberOf=cn=ENG," + s.GroupsDN + ")", 2, 0, "uid=alice"},
		{s.PeopleDN, "(uid=*)", 2, 1, "limit"},
		{"ou=nowhere," + s.BaseDN, "(uid=*)", 2, 0, "nothing there"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.base, tt.filter, tt.scope), func(t *testing.T) {
			result, err := c.Search(goldap.NewSearchRequest(tt.base, tt.scope, 0, tt.limit, 0, false, tt.filter, []string{"1.1"}, nil))
			var got []string
			switch {
			case goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) && len(result.Entries) == tt.limit:
				got = []string{"limit"}
			case goldap.IsErrorWithCode(err, goldap.LDAPResultNoSuchObject):
				got = []string{"nothing there"}
			case err != nil:
				t.Fatal(err)
			default:
				for _, e := range result.Entries {
					rdn, _ := strings.CutSuffix(e.DN, ","+tt.base)
					rdn, _ = strings.CutSuffix(rdn, ","+s.BaseDN)
					got = append(got, rdn)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOnlyLoopbackIsServed(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.test:0", "[::]:0", "127.0.0.1"} {
		if s, err := Start(t.Context(), Options{Listen: address}); err == nil {
			_ = s.Close()
			t.Errorf("%s is served", address)
		}
	}
}

func TestTheSamePersonTwiceIsAMistake(t *testing.T) {
	twice := []Person{{Username: "alice"}, {Username: "ALICE"}}
	if s, err := Start(t.Context(), Options{Listen: "127.0.0.1:0", People: twice}); err == nil {
		_ = s.Close()
		t.Error("accepted")
	}
}

func TestATakenPortIsAMistake(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if s, err := Start(ctx, Options{Listen: l.Addr().String()}); err == nil {
		_ = s.Close()
		t.Error("accepted")
	}
}

func TestCloseIsPromptAndLeavesNothing(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := Start(ctx, Options{Listen: "127.0.0.1:0", People: staff()})
	if err != nil {
		t.Fatal(err)
	}
	idle := dial(t, s)
	if err := idle.Bind(s.BindDN, s.BindPassword); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = s.Close()
	if took := time.Since(began); took > time.Second {
		t.Errorf("close took %s", took)
	}
	_ = s.Close()
	_ = idle.Close()
	cancel()
	goleak.VerifyNone(t, leaks)
}

func TestTheEndOfTheContextEndsTheServer(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Start(ctx, Options{Listen: "127.0.0.1:0", People: staff()})
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, config(s))
	cancel()
	<-s.ended
	if _, err := d.Authenticate(t.Context(), "alice", "alice-demo-pass"); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// dial connects as any client would.
func dial(t *testing.T, s *Server) *goldap.Conn {
	t.Helper()
	c, err := goldap.DialURL(s.URL, goldap.DialWithTLSConfig(clientTLS(s)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
