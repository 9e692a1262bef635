package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sallyport/identity"
	"sallyport/internal/testenv"
)

// onePerson serves alice, with the given attributes, whose password is "right".
func onePerson(more map[string][]string) func(*fake) {
	return func(f *fake) {
		f.search = func(q asked) reply {
			if strings.Contains(q.filter, "(uid=alice)") {
				return reply{entries: []*goldap.Entry{person("alice", more)}}
			}
			return reply{}
		}
		f.bind = func(dn, password string) reply {
			if strings.HasPrefix(dn, "cn=svc,") || (strings.HasPrefix(dn, "uid=alice,") && password == "right") {
				return reply{}
			}
			return reply{code: goldap.LDAPResultInvalidCredentials}
		}
	}
}

func TestNothingTypedThatCannotBeRightReachesAServer(t *testing.T) {
	f := newFake(t, onePerson(nil))
	p, log := open(t, fakeConfig(f.url()))
	tests := []struct{ name, username, password, reason string }{
		{"an empty password", "alice", "", "empty password"},
		{"an empty name", "", "right", "empty user name"},
		{"a name of blanks", "  ", "right", "empty user name"},
		{"a name with NUL", "alice\x00", "right", "control characters"},
		{"a name with a line end", "alice\n", "right", "control characters"},
		{"a name that is not UTF-8", "alice\xff", "right", "control characters"},
		{"a name of 257 bytes", strings.Repeat("a", 257), "right", "user name too long"},
		{"a password of 4097 bytes", "alice", strings.Repeat("a", 4097), "password too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := login(t, p, tt.username, tt.password); !errors.Is(err, identity.ErrBadCredentials) {
				t.Errorf("got %v", err)
			}
			if !log.has(tt.reason) {
				t.Errorf("the log does not say %q", tt.reason)
			}
		})
	}
	if len(f.bound()) != 0 || len(f.searched()) != 0 {
		t.Errorf("the server was asked: %v %v", f.bound(), f.searched())
	}
	mustLogin(t, p, "alice", "right")
}

func TestAnUnknownNameCostsWhatAWrongPasswordCosts(t *testing.T) {
	f := newFake(t, onePerson(nil))
	p, _ := open(t, fakeConfig(f.url()))
	mustLogin(t, p, "alice", "right") // the service account is signed in now
	cost := func(username string) (binds, searches int) {
		b, s := len(f.bound()), len(f.searched())
		if _, err := login(t, p, username, "wrong"); !errors.Is(err, identity.ErrBadCredentials) {
			t.Errorf("%s: %v", username, err)
		}
		return len(f.bound()) - b, len(f.searched()) - s
	}
	hitBinds, hitSearches := cost("alice")
	missBinds, missSearches := cost("nobody")
	if hitBinds != 1 || hitSearches != 1 || missBinds != hitBinds || missSearches != hitSearches {
		t.Errorf("wrong password %d/%d, unknown name %d/%d binds and searches", hitBinds, hitSearches, missBinds, missSearches)
	}
	_, _ = login(t, p, "nobody", "wrong")
	binds := f.bound()
	one, two := binds[len(binds)-2], binds[len(binds)-1]
	if !strings.HasSuffix(one, ",ou=people,dc=example,dc=test") || one == two {
		t.Errorf("nobody is %q, then %q", one, two)
	}
}

func TestAServerThatAcceptsAnythingLetsNobodyIn(t *testing.T) {
	f := newFake(t, func(f *fake) {}) // every bind succeeds, no search finds anything
	p, _ := open(t, fakeConfig(f.url()))
	if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("got %v", err)
	}
}

func TestBindVerdicts(t *testing.T) {
	ad := func(data string) string {
		return "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data " + data + ", v3839"
	}
	const wrong = goldap.LDAPResultInvalidCredentials
	refused := []struct {
		name   string
		reply  reply
		reason string
	}{
		{"result 49", reply{code: wrong}, "wrong password"},
		{"AD: wrong password", reply{code: wrong, text: ad("52e")}, "wrong password"},
		{"AD: password expired", reply{code: wrong, text: ad("532")}, "password expired"},
		{"AD: disabled", reply{code: wrong, text: ad("533")}, "account disabled"},
		{"AD: account expired", reply{code: wrong, text: ad("701")}, "account expired"},
		{"AD: must change", reply{code: wrong, text: ad("773")}, "password must be changed"},
		{"AD: locked", reply{code: wrong, text: ad("775")}, "account locked"},
		{"AD: something new", reply{code: wrong, text: ad("8009")}, "active directory error 8009"},
		{"policy: expired", reply{code: wrong, controls: []*ber.Packet{policyControl(0)}}, "password expired"},
		{"policy: locked", reply{code: wrong, controls: []*ber.Packet{policyControl(1)}}, "account locked"},
		{"policy: must change, bind succeeds", reply{controls: []*ber.Packet{policyControl(2)}}, "password must be changed"},
		{"policy: any other objection, bind succeeds", reply{controls: []*ber.Packet{policyControl(5)}}, "password policy"},
		{"389: too many tries", reply{code: goldap.LDAPResultConstraintViolation}, "locked after wrong passwords"},
		{"389: inactivated", reply{code: 53, text: "Account inactivated. Contact system administrator."}, "account disabled"},
		{"the entry has just gone", reply{code: goldap.LDAPResultNoSuchObject}, "no such entry"},
		{"an entry without a password", reply{code: goldap.LDAPResultInappropriateAuthentication}, "no such entry"},
	}
	run := func(t *testing.T, r reply) (*logged, error) {
		f := newFake(t, func(f *fake) {
			onePerson(nil)(f)
			f.bind = func(dn, _ string) reply {
				if strings.HasPrefix(dn, "cn=svc,") {
					return reply{}
				}
				return r
			}
		})
		p, log := open(t, fakeConfig(f.url()))
		_, err := login(t, p, "alice", "right")
		return log, err
	}
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			log, err := run(t, tt.reply)
			if err != identity.ErrBadCredentials { //nolint:errorlint // refusals are alike to the letter
				t.Errorf("got %v", err)
			}
			if !log.has(tt.reason) {
				t.Errorf("the log does not say %q:\n%s", tt.reason, log)
			}
		})
	}
	for _, code := range []int{1, 2, 8, 10, 13, 14, 50, 51, 52, 53, 80} {
		t.Run(fmt.Sprintf("result %d says nothing about the person", code), func(t *testing.T) {
			_, err := run(t, reply{code: code})
			if !errors.Is(err, identity.ErrUnavailable) || errors.Is(err, identity.ErrBadCredentials) ||
				identity.CodeOf(err) != "provider_unavailable" {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("so does hanging up", func(t *testing.T) {
		if _, err := run(t, reply{hangUp: true}); !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnEntryWithoutADNIsNotBoundAs(t *testing.T) {
	f := newFake(t, func(f *fake) {
		f.search = func(asked) reply {
			e := person("alice", nil)
			e.DN = ""
			return reply{entries: []*goldap.Entry{e}}
		}
	})
	p, _ := open(t, fakeConfig(f.url()))
	if _, err := login(t, p, "alice", "anything"); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if slices.Contains(f.bound(), "") {
		t.Error("an anonymous bind was sent")
	}
}

func TestLDP02_MoreEntriesThanAskedForFail(t *testing.T) {
	many := func(n int) []*goldap.Entry {
		var entries []*goldap.Entry
		for i := range n {
			entries = append(entries, person(fmt.Sprintf("alice%d", i), nil))
		}
		return entries
	}
	for name, r := range map[string]reply{
		"two entries":                         {entries: many(2)},
		"a size limit reported":               {entries: many(2), code: goldap.LDAPResultSizeLimitExceeded},
		"a server that ignores the limit":     {entries: many(5)},
		"one entry, and a size limit with it": {entries: many(1), code: goldap.LDAPResultSizeLimitExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, func(f *fake) { f.search = func(asked) reply { return r } })
			p, log := open(t, fakeConfig(f.url()))
			if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrBadCredentials) {
				t.Errorf("got %v", err)
			}
			if !log.has("several entries match") {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

func TestLDP03_SubjectAndStateOfActiveDirectory(t *testing.T) {
	stored := string([]byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff})
	var control atomic.Value
	control.Store("512")
	f := newFake(t, func(f *fake) {
		onePerson(nil)(f)
		f.search = func(asked) reply {
			return reply{entries: []*goldap.Entry{person("alice", map[string][]string{
				"objectGUID": {stored}, "entryUUID": nil, "userAccountControl": {control.Load().(string)}, "objectSid": {"\x01\xff"},
			})}}
		}
	})
	c := fakeConfig(f.url())
	c.Attributes.Extra = []string{"objectSid"}
	p, log := open(t, c)
	who := mustLogin(t, p, "alice", "right")
	if who.Subject != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Errorf("subject %s", who.Subject)
	}
	if diff := cmp.Diff([]string{"Af8="}, who.Attributes["objectSid"]); diff != "" {
		t.Error(diff)
	}
	directory := &Directory{p}
	if _, err := directory.Refresh(t.Context(), identity.Assertion{Identity: who}); err != nil {
		t.Fatal(err)
	}
	asks := f.searched()
	want := `(&(objectClass=*)(|(entryUUID=00112233-4455-6677-8899-aabbccddeeff)` +
		"(objectGUID=3\"\x11" + `\00UDwf\88\99\aa\bb\cc\dd\ee\ff)))`
	if got := asks[len(asks)-1].filter; got != want {
		t.Errorf("refresh asked %s", got)
	}
	control.Store("514")
	if _, err := directory.Refresh(t.Context(), identity.Assertion{Identity: who}); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("a disabled account: %v", err)
	}
	if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrBadCredentials) || !log.has("account disabled") {
		t.Errorf("a disabled account: %v", err)
	}
	last := identity.Assertion{Identity: identity.Identity{Subject: "*)(uid=*"}}
	if _, err := directory.Refresh(t.Context(), last); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("a subject from elsewhere: %v", err)
	}
}

func TestAnEntryWithoutAStableSubjectIsNotLetIn(t *testing.T) {
	for name, more := range map[string]map[string][]string{
		"none":           {"entryUUID": nil},
		"two":            {"entryUUID": {"one", "two"}},
		"an empty one":   {"entryUUID": {""}},
		"not a text":     {"entryUUID": {"\xff\xfe"}},
		"half an object": {"entryUUID": nil, "objectGUID": {"12345678"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, onePerson(more))
			p, _ := open(t, fakeConfig(f.url()))
			if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLDP04_RangedValuesAreComplete(t *testing.T) {
	dn := func(i int) string { return fmt.Sprintf("cn=g%03d,ou=groups,dc=example,dc=test", i) }
	part := func(from, to int) (values []string) {
		for i := from; i <= to; i++ {
			values = append(values, dn(i))
		}
		return values
	}
	serve := func(last string) func(*fake) {
		return func(f *fake) {
			onePerson(map[string][]string{"memberOf": {}, "memberOf;range=0-99": part(0, 99)})(f)
			normal := f.search
			f.search = func(q asked) reply {
				e := goldap.NewEntry("uid=alice,ou=people,dc=example,dc=test", nil)
				switch {
				case slices.Contains(q.attributes, "memberOf;range=100-*"):
					e.Attributes = []*goldap.EntryAttribute{goldap.NewEntryAttribute("memberOf;range=100-199", part(100, 199))}
				case slices.Contains(q.attributes, "memberOf;range=200-*"):
					e.Attributes = []*goldap.EntryAttribute{goldap.NewEntryAttribute(last, part(200, 249))}
				default:
					return normal(q)
				}
				return reply{entries: []*goldap.Entry{e}}
			}
		}
	}
	c := fakeConfig(newFake(t, serve("memberOf;range=200-*")).url())
	c.Attributes.Groups = "memberOf"
	p, _ := open(t, c)
	if who := mustLogin(t, p, "alice", "right"); !slices.Equal(who.Groups, part(0, 249)) {
		t.Errorf("%d groups", len(who.Groups))
	}
	t.Run("a missing rest is a failure", func(t *testing.T) {
		c := fakeConfig(newFake(t, serve("memberOf")).url())
		c.Attributes.Groups = "memberOf"
		p, _ := open(t, c)
		if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a range that never ends is refused", func(t *testing.T) {
		c := fakeConfig(newFake(t, serve("memberOf;range=200-249")).url())
		c.Attributes.Groups = "memberOf"
		c.Groups.MaxGroups = 120
		p, _ := open(t, c)
		if _, err := login(t, p, "alice", "right"); identity.CodeOf(err) != "groups_unbounded" {
			t.Errorf("got %v", err)
		}
	})
}

func TestLDP04_PagesEnd(t *testing.T) {
	page := func(n int, cookie string) reply {
		r := reply{controls: []*ber.Packet{pageControl(cookie)}}
		for i := range n {
			r.entries = append(r.entries, goldap.NewEntry(fmt.Sprintf("cn=%s%d,ou=groups,dc=example,dc=test", cookie, i), nil))
		}
		return r
	}
	for name, serve := range map[string]func(n int) reply{
		"pages without end":       func(n int) reply { return page(400, fmt.Sprint("next", n)) },
		"empty pages without end": func(n int) reply { return page(0, fmt.Sprint("next", n)) },
		"a size limit in between": func(int) reply { return reply{code: goldap.LDAPResultSizeLimitExceeded} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, func(f *fake) {
				onePerson(nil)(f)
				normal := f.search
				var n atomic.Int64
				f.search = func(q asked) reply {
					if !q.paged {
						return normal(q)
					}
					return serve(int(n.Add(1)))
				}
			})
			c := fakeConfig(f.url())
			c.Groups.Base = "ou=groups,dc=example,dc=test"
			p, _ := open(t, c)
			if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			if n := len(f.searched()); n > 10 {
				t.Errorf("%d searches", n)
			}
		})
	}
}

func TestLDP01_StartTLS(t *testing.T) {
	ca := testenv.NewCA(t)
	start := func(change func(*fake)) (*fake, *Provider) {
		f := newFake(t, func(f *fake) { onePerson(nil)(f); change(f) })
		c := fakeConfig(f.url())
		c.TLS, c.CAPEM = TLS{StartTLS: true}, ca.PEM
		p, _ := open(t, c)
		return f, p
	}
	good := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Server(t)}}
	t.Run("an agreed StartTLS carries the sign-in", func(t *testing.T) {
		_, p := start(func(f *fake) { f.tls = good })
		mustLogin(t, p, "alice", "right")
	})
	t.Run("a refused one sends no bind", func(t *testing.T) {
		f, p := start(func(*fake) {})
		if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if len(f.bound()) != 0 {
			t.Errorf("binds: %v", f.bound())
		}
	})
	agreed := message(int64(1), result(goldap.ApplicationExtendedResponse, reply{}), nil)
	for name, answer := range map[string][]byte{
		"an answer slipped in before TLS": append(slices.Clone(agreed), message(int64(2), result(goldap.ApplicationBindResponse, reply{}), nil)...),
		"an answer to another message":    message(int64(7), result(goldap.ApplicationExtendedResponse, reply{}), nil),
		"a bind response":                 message(int64(1), result(goldap.ApplicationBindResponse, reply{}), nil),
		"garbage":                         []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"an answer of 2 GiB":              {0x30, 0x84, 0x7f, 0xff, 0xff, 0xff},
	} {
		t.Run(name+" is no TLS", func(t *testing.T) {
			var got []byte
			done := make(chan struct{})
			f := newFake(t, func(f *fake) {
				f.raw = func(c net.Conn) {
					defer close(done)
					b := make([]byte, 4096)
					_, _ = c.Read(b)
					_, _ = c.Write(answer)
					n, _ := c.Read(b)
					got = b[:n]
				}
			})
			c := fakeConfig(f.url())
			c.TLS, c.CAPEM = TLS{StartTLS: true}, ca.PEM
			p, _ := open(t, c)
			if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			<-done
			if len(got) > 0 && got[0] == tagSequence {
				t.Errorf("something other than TLS followed: %x", got)
			}
		})
	}
}

func TestLDP06_AnnouncementsAreBounded(t *testing.T) {
	for name, answer := range map[string][]byte{
		"a message of 2 GiB":            {0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02, 0x01, 0x01},
		"a message just over the limit": {0x30, 0x84, 0x00, 0x80, 0x00, 0x01, 0x02, 0x01, 0x01},
		"an element of 2 GiB inside":    {0x30, 0x09, 0x02, 0x01, 0x01, 0x61, 0x84, 0x7f, 0xff, 0xff, 0xff},
		"a length of indefinite form":   {0x30, 0x80, 0x02, 0x01, 0x01, 0x00, 0x00},
		"a nest of 33 sequences":        nest(33),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, func(f *fake) {
				f.raw = func(c net.Conn) {
					b := make([]byte, 4096)
					_, _ = c.Read(b)
					_, _ = c.Write(answer)
					_, _ = c.Read(b) // until the client hangs up
				}
			})
			p, _ := open(t, fakeConfig(f.url()))
			start := time.Now()
			_, err := login(t, p, "alice", "right")
			if !errors.Is(err, identity.ErrUnavailable) || !strings.Contains(err.Error(), errMalformed.Error()) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func nest(depth int) []byte {
	inner := []byte{0x02, 0x01, 0x01}
	for range depth {
		inner = append([]byte{0x30, byte(len(inner))}, inner...)
	}
	return inner
}

func TestLDP06_AnAnswerWithoutEndIsBounded(t *testing.T) {
	big := goldap.NewEntry("uid=alice,ou=people,dc=example,dc=test", map[string][]string{"cn": {strings.Repeat("x", 4<<20)}})
	f := newFake(t, func(f *fake) {
		f.search = func(asked) reply {
			return reply{references: slices.Repeat([]string{strings.Repeat("y", 7<<20)}, 12), entries: []*goldap.Entry{big}}
		}
	})
	p, _ := open(t, fakeConfig(f.url()))
	if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestLDP06_TimeLimits(t *testing.T) {
	silent := func(f *fake) {
		f.raw = func(c net.Conn) {
			b := make([]byte, 4096)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		}
	}
	quick := Timeout{Dial: 100 * time.Millisecond, Operation: 100 * time.Millisecond}
	t.Run("a silent server costs one operation, and then nothing for a while", func(t *testing.T) {
		c := fakeConfig(newFake(t, silent).url())
		c.Timeout = quick
		p, _ := open(t, c)
		start := time.Now()
		_, err := login(t, p, "alice", "right")
		if took := time.Since(start); !errors.Is(err, identity.ErrUnavailable) || took < 100*time.Millisecond || took > 2*time.Second {
			t.Errorf("%v after %s", err, took)
		}
		start = time.Now()
		_, err = login(t, p, "alice", "right")
		if took := time.Since(start); !errors.Is(err, identity.ErrUnavailable) || took > 90*time.Millisecond {
			t.Errorf("again %v after %s", err, took)
		}
	})
	t.Run("a silent server during TLS costs the dial limit, and the next one serves", func(t *testing.T) {
		ca := testenv.NewCA(t)
		dead := newFake(t, silent)
		alive := newFake(t, func(f *fake) {
			onePerson(nil)(f)
			f.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Server(t)}}
		})
		c := fakeConfig(strings.Replace(dead.url(), "ldap:", "ldaps:", 1), alive.url())
		c.TLS, c.CAPEM, c.Timeout = TLS{StartTLS: true}, ca.PEM, quick
		p, log := open(t, c)
		mustLogin(t, p, "alice", "right")
		if !log.has("gives no answer") {
			t.Error("the silent server was not asked")
		}
	})
	t.Run("the caller's end of patience is not the server's fault", func(t *testing.T) {
		c := fakeConfig(newFake(t, silent).url())
		p, _ := open(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := p.Authenticate(ctx, "alice", "right")
		if took := time.Since(start); !errors.Is(err, identity.ErrUnavailable) || took > 2*time.Second {
			t.Errorf("%v after %s", err, took)
		}
		if p.dialer.servers[0].resting() {
			t.Error("the server is left alone because a caller went away")
		}
	})
	t.Run("the whole sign-in has a limit of its own", func(t *testing.T) {
		c := fakeConfig(newFake(t, silent).url(), newFake(t, silent).url(), newFake(t, silent).url())
		c.Timeout = Timeout{Dial: time.Second, Operation: time.Second, Login: 200 * time.Millisecond}
		p, _ := open(t, c)
		start := time.Now()
		if _, err := login(t, p, "alice", "right"); !errors.Is(err, identity.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > 900*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}

func TestLDP06_OneProbeOpensTheWayBack(t *testing.T) {
	s := &server{until: time.Now().Add(-time.Millisecond)}
	if !s.claim() {
		t.Fatal("nobody may try")
	}
	if s.claim() {
		t.Error("everybody may try")
	}
	s.answered()
	for range 2 {
		if !s.claim() {
			t.Error("an answer does not open the way")
		}
	}
}

func TestAConnectionThatDiedIdleIsReplaced(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	var hangUp atomic.Bool
	f := newFake(t, func(f *fake) {
		onePerson(nil)(f)
		normal := f.search
		f.search = func(q asked) reply {
			if hangUp.CompareAndSwap(true, false) {
				return reply{hangUp: true}
			}
			return normal(q)
		}
	})
	p, _ := open(t, fakeConfig(f.url()))
	mustLogin(t, p, "alice", "right")
	mustLogin(t, p, "alice", "right")
	services := slices.DeleteFunc(f.bound(), func(dn string) bool { return !strings.HasPrefix(dn, "cn=svc,") })
	if len(services) != 1 {
		t.Errorf("the service account signed in %d times", len(services))
	}
	hangUp.Store(true)
	mustLogin(t, p, "alice", "right")
	_ = p.Close()
	f.stop()
	goleak.VerifyNone(t, leaks)
}

func TestACycleOfMemberOfEnds(t *testing.T) {
	groups := map[string][]string{"a": {"b"}, "b": {"C"}, "c": {"a"}}
	dn := func(cn string) string { return "cn=" + cn + ",ou=groups,dc=example,dc=test" }
	f := newFake(t, func(f *fake) {
		onePerson(map[string][]string{"memberOf": {dn("a"), "cn=foreign,dc=elsewhere"}})(f)
		normal := f.search
		f.search = func(q asked) reply {
			if q.base == "cn=foreign,dc=elsewhere" {
				return reply{code: goldap.LDAPResultReferral}
			}
			cn, _, _ := strings.Cut(strings.TrimPrefix(q.base, "cn="), ",")
			parents, ok := groups[strings.ToLower(cn)]
			if !ok {
				return normal(q)
			}
			return reply{entries: []*goldap.Entry{goldap.NewEntry(q.base, map[string][]string{"cn": {cn}, "memberOf": {dn(parents[0])}})}}
		}
	})
	c := fakeConfig(f.url())
	c.Attributes.Groups, c.Groups.Nested, c.Groups.Name = "memberOf", true, "both"
	p, log := open(t, c)
	want := []string{"C", "a", "b", dn("C"), dn("a"), dn("b"), "cn=foreign,dc=elsewhere", "foreign"}
	if diff := cmp.Diff(want, mustLogin(t, p, "alice", "right").Groups); diff != "" {
		t.Error(diff)
	}
	if !log.has("cannot be read") {
		t.Error("the log does not tell of the group out of reach")
	}
}
