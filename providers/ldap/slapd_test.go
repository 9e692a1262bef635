package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sallyport/identity"
	"sallyport/internal/testenv"
)

func login(t *testing.T, p *Provider, username, password string) (identity.Identity, error) {
	t.Helper()
	a, err := p.Authenticate(t.Context(), username, password)
	return a.Identity, err
}

func mustLogin(t *testing.T, p *Provider, username, password string) identity.Identity {
	t.Helper()
	who, err := login(t, p, username, password)
	if err != nil {
		t.Fatalf("sign-in of %q: %v", username, err)
	}
	return who
}

func TestSignInAtOpenLDAP(t *testing.T) {
	d := testenv.Slapd(t)
	c := slapdConfig(d)
	c.Attributes.Extra = []string{"sn"}
	p, log := open(t, c)

	t.Run("the right password gives the whole identity, nested groups included", func(t *testing.T) {
		who := mustLogin(t, p, "alice", d.Password("alice"))
		if len(who.Subject) != 36 {
			t.Errorf("subject %q is no entryUUID", who.Subject)
		}
		who.Subject = ""
		want := identity.Identity{
			Provider: "corp", Username: "alice", Name: "alice Example", Email: "alice@example.test",
			Groups:     []string{"eng", "platform", "staff"},
			Attributes: map[string][]string{"dn": {"uid=alice," + d.PeopleDN}, "sn": {"Example"}},
			AuthTime:   testNow(), AMR: []string{"pwd"},
		}
		if diff := cmp.Diff(want, who); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a name full of filter and DN characters is a name", func(t *testing.T) {
		who := mustLogin(t, p, "o*b(x)", d.Password("o*b(x)"))
		if who.Username != "o*b(x)" || !slices.Contains(who.Groups, "eng") {
			t.Errorf("got %+v", who)
		}
	})
	t.Run("another spelling of the name is the same person", func(t *testing.T) {
		if who := mustLogin(t, p, "ALICE", d.Password("alice")); who.Username != "alice" {
			t.Errorf("got %+v", who)
		}
	})

	refused := []struct{ name, username, password, reason string }{
		{"a wrong password", "alice", "wrong", "wrong password"},
		{"an unknown name", "nobody", "wrong", "no entry matches"},
		{"a filter in place of a name", "*)(uid=*", d.Password("alice"), "no entry matches"},
		{"a star", "*", d.Password("alice"), "no entry matches"},
		{"a prefix and a star", "ali*", d.Password("alice"), "no entry matches"},
		{"an escaped star", `\2a`, d.Password("alice"), "no entry matches"},
		{"an account that an administrator locked", "locked", d.Password("locked"), "account locked"},
		{"an expired password", "expired", d.Password("expired"), "password expired"},
		{"a password that must be changed, though the bind succeeds", "mustchange", d.Password("mustchange"), "must be changed"},
	}
	for _, tt := range refused {
		t.Run(tt.name+" is refused", func(t *testing.T) {
			_, err := login(t, p, tt.username, tt.password)
			if err != identity.ErrBadCredentials { //nolint:errorlint // refusals are alike to the letter
				t.Fatalf("got %v", err)
			}
			if !log.has(tt.reason) {
				t.Errorf("the log does not say %q:\n%s", tt.reason, log)
			}
		})
	}
	t.Run("check passes", func(t *testing.T) {
		if err := p.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if log.has("directory-pass") {
		t.Errorf("a password is in the log:\n%s", log)
	}
}

func TestSignInByDNTemplate(t *testing.T) {
	d := testenv.Slapd(t)
	p, _ := open(t, &Config{
		URLs: []string{d.URL}, TLS: TLS{CAFile: d.CAFile, StartTLS: true},
		UserDN:     "uid={username}," + d.PeopleDN,
		Attributes: Attributes{Groups: "memberOf"}, Groups: Groups{Nested: true},
	})
	t.Run("the person's own bind reads the entry and the groups", func(t *testing.T) {
		who := mustLogin(t, p, "alice", d.Password("alice"))
		want := []string{"cn=eng," + d.GroupsDN, "cn=platform," + d.GroupsDN, "cn=staff," + d.GroupsDN}
		if diff := cmp.Diff(want, who.Groups); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a name full of DN characters is a name", func(t *testing.T) {
		mustLogin(t, p, "o*b(x)", d.Password("o*b(x)"))
	})
	for _, name := range []string{"alice,ou=people", "alice+cn=alice", "nobody", `alice\`, `alice"`, "#alice", "alice,"} {
		t.Run(fmt.Sprintf("%q is refused", name), func(t *testing.T) {
			if _, err := login(t, p, name, d.Password("alice")); !errors.Is(err, identity.ErrBadCredentials) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := p.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestLDP01_NoBindWithoutTLS(t *testing.T) {
	plain := testenv.Slapd(t, testenv.SlapdWithoutTLS)
	secured := testenv.Slapd(t)
	foreign := writeFile(t, filepath.Join(t.TempDir(), "foreign.pem"), testenv.NewCA(t).PEM)
	tests := []struct {
		name   string
		server *testenv.Directory
		change func(*Config)
	}{
		{"a server that refuses StartTLS", plain, func(c *Config) {
			c.URLs, c.TLS = []string{plain.URL}, TLS{StartTLS: true, CAFile: secured.CAFile}
		}},
		{"a certificate of another CA, with StartTLS", secured, func(c *Config) {
			c.URLs, c.TLS = []string{secured.URL}, TLS{StartTLS: true, CAFile: foreign}
		}},
		{"a certificate of another CA, with LDAPS", secured, func(c *Config) {
			c.TLS = TLS{CAFile: foreign}
		}},
		{"a certificate for another name", secured, func(c *Config) { c.TLS.ServerName = "dc1.corp.example" }},
		{"LDAPS spoken to a server in the clear", plain, func(c *Config) {
			c.URLs = []string{strings.Replace(plain.URL, "ldap://", "ldaps://", 1)}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := slapdConfig(secured)
			tt.change(c)
			p, _ := open(t, c)
			before := strings.Count(tt.server.Log(), " BIND dn=\"cn=svc")
			_, err := login(t, p, "alice", tt.server.Password("alice"))
			if !errors.Is(err, identity.ErrUnavailable) || identity.CodeOf(err) != "provider_unavailable" {
				t.Errorf("got %v", err)
			}
			if strings.Count(tt.server.Log(), " BIND dn=\"cn=svc") != before {
				t.Errorf("a bind was sent:\n%s", tt.server.Log())
			}
		})
	}
	t.Run("the log would have shown one", func(t *testing.T) {
		p, _ := open(t, slapdConfig(secured))
		mustLogin(t, p, "alice", secured.Password("alice"))
		err := testenv.Eventually(5*time.Second, nil, func() error {
			if !strings.Contains(secured.Log(), " BIND dn=\"cn=svc") {
				return errors.New("no bind in the log")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestLDP02_TwoEntriesFail(t *testing.T) {
	d := testenv.Slapd(t)
	d.Add(t, d.Person("twin1", "mail: twin@example.test")+d.Person("twin2", "mail: twin@example.test"))
	c := slapdConfig(d)
	c.Users.Filter = "(mail={username})"
	p, log := open(t, c)
	if _, err := login(t, p, "twin@example.test", d.Password("twin1")); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("two entries: %v", err)
	}
	if !log.has("several entries match") {
		t.Errorf("the log does not tell:\n%s", log)
	}
	if _, err := login(t, p, "none@example.test", d.Password("twin1")); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("no entry: %v", err)
	}
	mustLogin(t, p, "twin1@example.test", d.Password("twin1"))
}

func TestLDP03_TheSubjectIsTheEntry(t *testing.T) {
	d := testenv.Slapd(t)
	p, _ := open(t, slapdConfig(d))
	directory := &Directory{p}
	was := mustLogin(t, p, "bob", d.Password("bob"))

	t.Run("a new name is the same subject, also for a refresh", func(t *testing.T) {
		d.Modify(t, fmt.Sprintf("dn: uid=bob,%s\nchangetype: modrdn\nnewrdn: uid=robert\ndeleteoldrdn: 1\n", d.PeopleDN))
		is := mustLogin(t, p, "robert", d.Password("bob"))
		if is.Subject != was.Subject {
			t.Errorf("subject %s became %s", was.Subject, is.Subject)
		}
		again, err := directory.Refresh(t.Context(), identity.Assertion{Identity: was})
		if err != nil {
			t.Fatal(err)
		}
		if again.Identity.Subject != was.Subject || again.Identity.Username != "robert" {
			t.Errorf("refresh: %+v", again.Identity)
		}
		if diff := cmp.Diff([]string{"platform", "staff"}, again.Identity.Groups); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the same name made anew is another subject, and the old one is gone", func(t *testing.T) {
		d.Delete(t, "uid=robert,"+d.PeopleDN)
		d.Add(t, d.Person("bob"))
		is := mustLogin(t, p, "bob", d.Password("bob"))
		if is.Subject == was.Subject {
			t.Error("the new bob inherits the old one's subject")
		}
		_, err := directory.Refresh(t.Context(), identity.Assertion{Identity: was})
		if !errors.Is(err, identity.ErrNotFound) {
			t.Errorf("refresh of the old bob: %v", err)
		}
	})
}

func TestLDP05_RefreshSeesTheDirectory(t *testing.T) {
	d := testenv.Slapd(t)
	c := slapdConfig(d)
	c.Users.Filter = "(&(objectClass=inetOrgPerson)(!(employeeType=left))(uid={username}))"
	p, _ := open(t, c)
	directory := &Directory{p}
	last := identity.Assertion{Identity: mustLogin(t, p, "alice", d.Password("alice")), UpstreamSession: "kept"}
	last.Identity.AuthTime = testNow().Add(-time.Hour)

	t.Run("a lost group is lost", func(t *testing.T) {
		d.Modify(t, fmt.Sprintf("dn: cn=platform,%s\nchangetype: modify\ndelete: member\nmember: cn=eng,%s\n", d.GroupsDN, d.GroupsDN))
		again, err := directory.Refresh(t.Context(), last)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"eng"}, again.Identity.Groups); diff != "" {
			t.Error(diff)
		}
		if !again.Identity.AuthTime.Equal(last.Identity.AuthTime) || again.UpstreamSession != "kept" {
			t.Error("a refresh is no sign-in, and keeps what it does not own")
		}
	})
	d.Stop(t)
	if _, err := directory.Refresh(t.Context(), last); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("no answer is not gone, but got %v", err)
	}
	d.Start(t)
	for name, change := range map[string]string{
		"a person that the filter no longer admits is gone": "add: employeeType\nemployeeType: left",
		"a person locked by an administrator is gone":       "add: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z",
	} {
		t.Run(name, func(t *testing.T) {
			who := mustLogin(t, p, "carol", d.Password("carol"))
			d.Modify(t, fmt.Sprintf("dn: uid=carol,%s\nchangetype: modify\n%s\n", d.PeopleDN, change))
			if _, err := directory.Refresh(t.Context(), identity.Assertion{Identity: who}); !errors.Is(err, identity.ErrNotFound) {
				t.Errorf("got %v", err)
			}
			attribute, _, _ := strings.Cut(strings.TrimPrefix(change, "add: "), "\n")
			d.Modify(t, fmt.Sprintf("dn: uid=carol,%s\nchangetype: modify\ndelete: %s\n", d.PeopleDN, attribute))
		})
	}
}

func TestLDP04_NestedGroupsEnd(t *testing.T) {
	d := testenv.Slapd(t)
	t.Run("a cycle", func(t *testing.T) {
		d.Add(t, d.Group("tri-a", "uid=carol,ou=people")+d.Group("tri-b", "cn=tri-a,ou=groups")+d.Group("tri-c", "cn=tri-b,ou=groups"))
		d.Modify(t, fmt.Sprintf("dn: cn=tri-a,%s\nchangetype: modify\nadd: member\nmember: cn=tri-c,%s\n", d.GroupsDN, d.GroupsDN))
		want := []string{"ring-a", "ring-b", "tri-a", "tri-b", "tri-c"}
		for name, change := range map[string]func(*Config){
			"by search":   func(*Config) {},
			"by memberOf": func(c *Config) { c.Groups.Base, c.Attributes.Groups = "", "memberOf" },
			"by both":     func(c *Config) { c.Attributes.Groups = "memberOf" },
		} {
			c := slapdConfig(d)
			change(c)
			p, _ := open(t, c)
			if diff := cmp.Diff(want, mustLogin(t, p, "carol", d.Password("carol")).Groups); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
	t.Run("a chain of 50 groups is refused where 10 are allowed, and complete where 50 are", func(t *testing.T) {
		ldif := d.Person("deep") + d.Group("deep-01", "uid=deep,ou=people")
		for i := 2; i <= 50; i++ {
			ldif += d.Group(fmt.Sprintf("deep-%02d", i), fmt.Sprintf("cn=deep-%02d,ou=groups", i-1))
		}
		d.Add(t, ldif)
		c := slapdConfig(d)
		p, _ := open(t, c)
		if _, err := login(t, p, "deep", d.Password("deep")); identity.CodeOf(err) != "groups_unbounded" {
			t.Errorf("depth 10: %v", err)
		}
		c.Groups.MaxDepth = 49
		p, _ = open(t, c)
		if _, err := login(t, p, "deep", d.Password("deep")); identity.CodeOf(err) != "groups_unbounded" {
			t.Errorf("depth 49: %v", err)
		}
		c.Groups.MaxDepth = 50
		p, _ = open(t, c)
		if n := len(mustLogin(t, p, "deep", d.Password("deep")).Groups); n != 50 {
			t.Errorf("%d groups", n)
		}
	})
	t.Run("more groups than allowed are refused, not cut off", func(t *testing.T) {
		c := slapdConfig(d)
		c.Groups.MaxGroups = 2
		p, _ := open(t, c)
		_, err := login(t, p, "alice", d.Password("alice"))
		if identity.CodeOf(err) != "groups_unbounded" || !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		c.Groups.MaxGroups = 3
		p, _ = open(t, c)
		mustLogin(t, p, "alice", d.Password("alice"))
	})
	t.Run("a group of 5,000 members has its members", func(t *testing.T) {
		members := make([]string, 0, 5001)
		for i := range 5000 {
			members = append(members, fmt.Sprintf("uid=m%04d,ou=people", i))
		}
		d.Add(t, d.Group("crowd", append(members, "uid=carol,ou=people")...))
		p, _ := open(t, slapdConfig(d))
		if who := mustLogin(t, p, "carol", d.Password("carol")); !slices.Contains(who.Groups, "crowd") {
			t.Errorf("groups %v", who.Groups)
		}
	})
	t.Run("a referral to a closed port is not followed", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		d.Add(t, fmt.Sprintf("dn: cn=elsewhere,%s\nobjectClass: referral\nobjectClass: extensibleObject\ncn: elsewhere\nref: ldap://%s/%s\n\n",
			d.GroupsDN, l.Addr(), d.GroupsDN))
		followed := make(chan struct{})
		go func() {
			if c, err := l.Accept(); err == nil {
				_ = c.Close()
				close(followed)
			}
		}()
		p, _ := open(t, slapdConfig(d))
		mustLogin(t, p, "alice", d.Password("alice"))
		select {
		case <-followed:
			t.Error("the referral was followed")
		default:
		}
	})
}

func TestLDP04_GroupsPastTheServersSizeLimitArrive(t *testing.T) {
	d := testenv.Slapd(t)
	var ldif strings.Builder
	for i := range 620 { // the server gives 500 without paging
		ldif.WriteString(d.Group(fmt.Sprintf("many-%03d", i), "uid=bob,ou=people"))
	}
	d.Add(t, ldif.String())
	p, _ := open(t, slapdConfig(d))
	if n := len(mustLogin(t, p, "bob", d.Password("bob")).Groups); n != 622 {
		t.Errorf("%d groups", n)
	}
}

func TestGroupsByUserName(t *testing.T) {
	d := testenv.Slapd(t)
	d.Add(t, fmt.Sprintf("dn: cn=posix,%s\nobjectClass: posixGroup\ncn: posix\ngidNumber: 100\nmemberUid: alice\n\n", d.GroupsDN))
	c := slapdConfig(d)
	c.Groups = Groups{Base: d.GroupsDN, Member: "memberUid", Name: "both"}
	p, _ := open(t, c)
	who := mustLogin(t, p, "Alice", d.Password("alice"))
	if diff := cmp.Diff([]string{"cn=posix," + d.GroupsDN, "posix"}, who.Groups); diff != "" {
		t.Error(diff)
	}
}

func TestLDP06_AHungServerIsPassedOver(t *testing.T) {
	first, second := testenv.Slapd(t), testenv.Slapd(t)
	c := slapdConfig(first)
	c.URLs = []string{first.LDAPSURL, second.LDAPSURL}
	ca := append(readFile(t, first.CAFile), readFile(t, second.CAFile)...)
	c.TLS.CAFile = writeFile(t, filepath.Join(t.TempDir(), "both.pem"), ca)
	c.Timeout = Timeout{Dial: 500 * time.Millisecond, Operation: 500 * time.Millisecond}
	p, _ := open(t, c)
	mustLogin(t, p, "alice", first.Password("alice")) // an idle connection to the first is left

	if err := first.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	mustLogin(t, p, "alice", first.Password("alice"))
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the first sign-in took %s", took)
	}
	start = time.Now()
	mustLogin(t, p, "alice", first.Password("alice"))
	if took := time.Since(start); took > 400*time.Millisecond {
		t.Errorf("the second sign-in waited for the hung server: %s", took)
	}
	t.Run("a wrong password is asked about once", func(t *testing.T) {
		if _, err := login(t, p, "alice", "wrong"); !errors.Is(err, identity.ErrBadCredentials) {
			t.Errorf("got %v", err)
		}
	})
	if err := first.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	second.Stop(t)
	err := testenv.Eventually(15*time.Second, nil, func() error {
		_, err := p.Authenticate(context.Background(), "alice", first.Password("alice"))
		return err
	})
	if err != nil {
		t.Errorf("the first server is not taken up again: %v", err)
	}
}

func TestREL04_ARestartedDirectoryIsTakenUpAgain(t *testing.T) {
	d := testenv.Slapd(t)
	p, _ := open(t, slapdConfig(d))
	mustLogin(t, p, "alice", d.Password("alice"))
	d.Stop(t)
	for range 3 {
		_, err := login(t, p, "alice", d.Password("alice"))
		if !errors.Is(err, identity.ErrUnavailable) || identity.CodeOf(err) != "provider_unavailable" {
			t.Fatalf("stopped: %v", err)
		}
	}
	if err := p.Check(t.Context()); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("check of a stopped server: %v", err)
	}
	d.Start(t)
	mustLogin(t, p, "alice", d.Password("alice"))
}

func TestREL04_FiftyRoundsLeaveNothingBehind(t *testing.T) {
	d := testenv.Slapd(t)
	leaks := goleak.IgnoreCurrent()
	p, _ := open(t, slapdConfig(d))
	for round := range 50 {
		if round%10 == 9 {
			d.Stop(t)
			_, _ = login(t, p, "alice", d.Password("alice"))
			d.Start(t)
		}
		mustLogin(t, p, "alice", d.Password("alice"))
		_, _ = login(t, p, "alice", "wrong")
		_, _ = login(t, p, "nobody", "wrong")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	d.Stop(t) // its own goroutines are not the question
	goleak.VerifyNone(t, leaks)
}

func TestAServiceAccountThatIsRefusedSaysNothingAboutPeople(t *testing.T) {
	d := testenv.Slapd(t)
	c := slapdConfig(d)
	c.BindPassword = identity.NewSecret("old-service-pass")
	p, log := open(t, c)
	_, err := login(t, p, "alice", d.Password("alice"))
	if !errors.Is(err, identity.ErrUnavailable) || errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("got %v", err)
	}
	if !log.has("level=ERROR") || log.has("old-service-pass") {
		t.Errorf("log:\n%s", log)
	}
	if err := p.Check(t.Context()); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("check: %v", err)
	}
}
