package broker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func TestKEY02_ARotatedKeyGoesOnForTheOverlap(t *testing.T) {
	for name, c := range map[string]struct{ overlap, left time.Duration }{
		"a day":                       {broker.DefaultOverlap, broker.DefaultOverlap},
		"at once":                     {0, 0},
		"longer than it would anyhow": {30 * 24 * time.Hour, 3 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "operators")
			in := h.signIn("ada")
			old, before := h.limitedKey(in, func(n *broker.NewKey) {
				n.Roles, n.Lifetime, n.ReadOnly = []string{"viewer"}, 3*24*time.Hour, true
				n.Networks, n.Requests, n.Per = networksOf(t, "192.0.2.0/24"), 100, time.Minute
			})
			there := h.beside()
			h.opens(apiKey(before, "app"))
			there.opens(apiKey(before, "app"))
			rotated := h.clock.Now()
			made, after, err := h.RotateKey(t.Context(), h.visit(), in.Principal, old.ID, c.overlap)
			if err != nil {
				t.Fatal(err)
			}
			if made.ID == old.ID || after == before || made.Name != old.Name || !made.ReadOnly || made.Requests != 100 ||
				made.Per != time.Minute || len(made.Networks) != 1 || len(made.Roles) != 1 || made.Application != "app" ||
				!made.ExpiresAt.Equal(rotated.Add(3*24*time.Hour)) || made.Successor != "" || made.Verification != "" {
				t.Fatalf("successor is %+v", made)
			}
			there.poll()
			both := func(use func(h *house)) { use(h); use(there) }
			both(func(h *house) { h.opens(apiKey(after, "app")) })
			if c.left > 0 {
				h.clock.Advance(c.left - time.Second)
				both((*house).poll)
				both(func(h *house) { h.opens(apiKey(before, "app")) })
				h.clock.Advance(time.Second)
				both((*house).poll)
			}
			both(func(h *house) { h.refuses(apiKey(before, "app")) })
			if c.left < 3*24*time.Hour {
				both(func(h *house) { h.opens(apiKey(after, "app")) })
			}
			e := h.events(audit.KeyRotated)
			if len(e) != 1 || e[0].KeyID != old.ID || e[0].Detail["successor"] != made.ID || e[0].Actor != in.Principal.Subject ||
				e[0].Detail["ends_at"] != rotated.Add(c.left).Format(time.RFC3339) {
				t.Fatalf("events are %+v", e)
			}
		})
	}
}

func TestKEY02_FiftyRotationsAtOnceGiveOneSuccessor(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	k, _ := h.newKey(in, "app")
	nodes := []*house{h, h.beside()}
	won, lost := parallel(50, func(i int) error {
		n := nodes[i%2]
		_, _, err := n.RotateKey(t.Context(), n.visit(), in.Principal, k.ID, time.Hour)
		return err
	})
	if won != 1 {
		t.Errorf("%d rotations succeeded", won)
	}
	for _, err := range lost {
		wantErr(t, err, identity.ErrConflict, "key_rotated")
	}
	list, err := h.Keys(t.Context(), in.Principal)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d keys, %v", len(list), err)
	}
	for _, have := range list {
		if have.ID == k.ID && have.Successor == "" {
			t.Error("the key does not know its successor")
		}
	}
}

// keepKey puts a key into the store as it is, and returns it whole.
func (h *house) keepKey(k sessions.Key) string {
	h.t.Helper()
	secret := strings.Repeat("a", 52)
	if err := h.store.Update(h.t.Context(), func(tx broker.Tx) error { return tx.CreateKey(h.t.Context(), k, secret) }); err != nil {
		h.t.Fatal(err)
	}
	body := k.Prefix + "_" + k.ID + "_" + secret
	return body + checksum(body)
}

func TestKEY03_WhoMayNotRotateAKeyGetsNone(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	h.addPerson("ben", "viewers")
	ada, ben := h.signIn("ada"), h.signIn("ben")
	k, whole := h.newKey(ada, broker.Self)
	in := func(state sessions.State, letter string) string {
		other := k
		other.ID, other.State = strings.Repeat(letter, 26), state
		h.keepKey(other)
		return other.ID
	}
	ended, _ := h.newKey(ada, "app")
	if err := h.RevokeKey(t.Context(), h.visit(), ada.Principal, ended.ID); err != nil {
		t.Fatal(err)
	}
	done, _ := h.newKey(ada, "app")
	if _, _, err := h.RotateKey(t.Context(), h.visit(), ada.Principal, done.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	gone := h.signIn("ada")
	if err := h.SignOut(t.Context(), h.visit(), gone.Principal); err != nil {
		t.Fatal(err)
	}
	keysOnly := ben.Principal
	keysOnly.Permissions = []string{broker.WriteKeys}
	for _, c := range []struct {
		name     string
		p        identity.Principal
		id       string
		overlap  time.Duration
		sentinel error
		code     string
	}{
		{"a key itself", h.opens(apiKey(whole, broker.Self)), k.ID, 0, identity.ErrDenied, "key_cannot"},
		{"an application's session", h.child(ada, "app").Principal, k.ID, 0, identity.ErrDenied, "wrong_application"},
		{"somebody else", ben.Principal, k.ID, 0, identity.ErrNotFound, ""},
		{"somebody who may make keys of services", keysOnly, k.ID, 0, identity.ErrNotFound, ""},
		{"somebody who signed out", gone.Principal, k.ID, 0, identity.ErrExpired, ""},
		{"no such key", ada.Principal, strings.Repeat("z", 26), 0, identity.ErrNotFound, ""},
		{"an ended key", ada.Principal, ended.ID, 0, identity.ErrNotFound, ""},
		{"a rotated key", ada.Principal, done.ID, 0, identity.ErrConflict, "key_rotated"},
		{"a pending key", ada.Principal, in(sessions.Pending, "p"), 0, identity.ErrConflict, "key_inactive"},
		{"a suspended key", ada.Principal, in(sessions.Suspended, "s"), 0, identity.ErrConflict, "key_inactive"},
		{"a negative overlap", ada.Principal, k.ID, -1, identity.ErrInvalid, "overlap_invalid"},
		{"an overlap of more than 30 days", ada.Principal, k.ID, 30*24*time.Hour + 1, identity.ErrInvalid, "overlap_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, whole, err := h.RotateKey(t.Context(), h.visit(), c.p, c.id, c.overlap)
			wantErr(t, err, c.sentinel, c.code)
			if whole != "" {
				t.Fatal("a refusal came with a key")
			}
		})
	}
	h.opens(apiKey(whole, broker.Self))
	t.Run("an expired key", func(t *testing.T) {
		h.pass(24 * time.Hour)
		_, _, err := h.RotateKey(t.Context(), h.visit(), h.signIn("ada").Principal, k.ID, 0)
		wantErr(t, err, identity.ErrNotFound, "")
	})
}

func TestARotationGivesNoMoreThanTheRulesAllowNow(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	in := h.signIn("ada")
	rules := h.Current().Keys
	free := rules
	free.NeverExpire, free.MaxLifetime = true, 10*365*24*time.Hour
	make1 := func(n broker.NewKey) string {
		t.Helper()
		n.Name, n.Application = "ci", h.app("app")
		k, _, err := h.CreateKey(t.Context(), h.under(free), in.Principal, n)
		if err != nil {
			t.Fatal(err)
		}
		return k.ID
	}
	for name, c := range map[string]struct {
		key   broker.NewKey
		rules broker.KeyRules
		ends  time.Time
	}{
		"a long life is cut":             {broker.NewKey{Lifetime: 365 * 24 * time.Hour}, rules, h.clock.Now().Add(rules.MaxLifetime)},
		"a key without an end gets one":  {broker.NewKey{Never: true}, rules, h.clock.Now().Add(rules.MaxLifetime)},
		"a key without an end stays so":  {broker.NewKey{Never: true}, free, sessions.Never()},
		"a short life is as short again": {broker.NewKey{Lifetime: time.Hour}, free, h.clock.Now().Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			k, _, err := h.RotateKey(t.Context(), h.under(c.rules), in.Principal, make1(c.key), time.Hour)
			if err != nil || !k.ExpiresAt.Equal(c.ends) {
				t.Fatalf("it ends %s, %v, want %s", k.ExpiresAt, err, c.ends)
			}
		})
	}
	t.Run("and a successor is worth what its owner has", func(t *testing.T) {
		_, whole, err := h.RotateKey(t.Context(), h.visit(), in.Principal, make1(broker.NewKey{}), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.SetGroups(t.Context(), h.visit(), "cli", "ada", nil); err != nil {
			t.Fatal(err)
		}
		h.refuses(apiKey(whole, "app"))
	})
}

// keyMails are the codes for keys that went out.
type keyMails struct {
	sent []broker.CodeMail
	down error
}

func (m *keyMails) SendCode(_ context.Context, mail broker.CodeMail) error {
	if m.down != nil {
		return m.down
	}
	m.sent = append(m.sent, mail)
	return nil
}

// keyMail makes the house one that sends e-mails.
func (h *house) keyMail() *keyMails {
	h.t.Helper()
	mails := &keyMails{}
	h.Broker = broker.New(broker.Options{Store: h.store, Log: h.log(), Now: h.clock.Now, Mailer: mails})
	h.reload()
	h.poll()
	return mails
}

func TestKEY03_AKeyThatIsConfirmedByEmailIsDeadUntilThen(t *testing.T) {
	h := newHouse(t)
	mail := h.keyMail()
	h.add(broker.NewPerson{Username: "ada", Email: "ada@house.example", Password: password, Groups: []string{"viewers"}})
	h.addPerson("ben", "viewers")
	in := h.signIn("ada")
	rules := h.Current().Keys
	rules.ConfirmByEmail = true
	confirm := func(k broker.IssuedKey, code string) error {
		out, err := h.Confirm(t.Context(), h.visit(), broker.Confirmation{
			Verification: k.Verification, Code: code, SessionID: in.Session.ID,
		})
		if err == nil && out.KeyID != k.ID {
			t.Errorf("%s was confirmed, not %s", out.KeyID, k.ID)
		}
		return err
	}
	k, whole, err := h.CreateKey(t.Context(), h.under(rules), in.Principal, broker.NewKey{Name: "ci", Application: h.app("app")})
	if err != nil || k.State != sessions.Pending || k.Verification == "" || len(mail.sent) != 1 || !mail.sent[0].Key {
		t.Fatalf("key is %+v, %d mails, %v", k, len(mail.sent), err)
	}
	h.refuses(apiKey(whole, "app"))
	wantErr(t, confirm(k, "no code"), identity.ErrBadCredentials, "code_wrong")
	h.refuses(apiKey(whole, "app"))
	if err := confirm(k, mail.sent[0].Code); err != nil {
		t.Fatal(err)
	}
	h.opens(apiKey(whole, "app"))
	t.Run("a successor too", func(t *testing.T) {
		next, after, err := h.RotateKey(t.Context(), h.under(rules), in.Principal, k.ID, time.Hour)
		if err != nil || next.State != sessions.Pending || len(mail.sent) != 2 {
			t.Fatalf("key is %+v, %v", next, err)
		}
		h.refuses(apiKey(after, "app"))
		h.opens(apiKey(whole, "app"))
		if err := confirm(next, mail.sent[1].Code); err != nil {
			t.Fatal(err)
		}
		h.opens(apiKey(after, "app"))
	})
	t.Run("who has no address gets no key", func(t *testing.T) {
		ben := h.signIn("ben").Principal
		_, whole, err := h.CreateKey(t.Context(), h.under(rules), ben, broker.NewKey{Name: "ci", Application: h.app("app")})
		wantErr(t, err, identity.ErrDenied, "email_missing")
		if list, err := h.Keys(t.Context(), ben); whole != "" || err != nil || len(list) != 0 {
			t.Fatalf("%d keys, %v", len(list), err)
		}
	})
	t.Run("a mail that does not go out leaves no key", func(t *testing.T) {
		mail.down = errors.New("connection refused")
		_, whole, err := h.CreateKey(t.Context(), h.under(rules), in.Principal, broker.NewKey{Name: "lost", Application: h.app("app")})
		wantErr(t, err, identity.ErrUnavailable, "mail_unavailable")
		list, err := h.Keys(t.Context(), in.Principal)
		if whole != "" || err != nil || len(list) != 2 {
			t.Fatalf("%d keys, %v", len(list), err)
		}
	})
}
