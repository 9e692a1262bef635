package broker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// mailbox takes what is sent.
type mailbox struct {
	mu   sync.Mutex
	sent []broker.CodeMail
	down error
}

func (m *mailbox) SendCode(ctx context.Context, c broker.CodeMail) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("sending has no end")
	}
	if m.down != nil {
		return m.down
	}
	m.sent = append(m.sent, c)
	return nil
}

func (m *mailbox) breaks(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

func (m *mailbox) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sent)
}

// code is the newest.
func (m *mailbox) code(t testing.TB) string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sent) == 0 {
		t.Fatal("no mail was sent")
	}
	return m.sent[len(m.sent)-1].Code
}

// wrong is a code that is not the one.
func wrong(code string) string {
	if code[0] == '9' {
		return "0" + code[1:]
	}
	return string(code[0]+1) + code[1:]
}

// confirming is a house where sign-ins are confirmed by e-mail, with Ada in it.
func confirming(t *testing.T) (*house, *mailbox) {
	t.Helper()
	h := newHouse(t)
	m := &mailbox{}
	h.Broker = broker.New(broker.Options{Store: h.store, Log: h.log(), Now: h.clock.Now, Mailer: m})
	h.reload()
	h.poll()
	h.Current().SelfApplication.ConfirmByEmail = true
	h.app("app").ConfirmByEmail = true
	h.add(broker.NewPerson{
		Username: "ada", Name: "Ada", Email: "ada@example.test", Password: password, Groups: []string{"viewers"},
	})
	return h, m
}

func (h *house) confirm(out broker.Outcome, code string) (broker.Outcome, error) {
	h.t.Helper()
	return h.Confirm(h.t.Context(), h.visit(), broker.Confirmation{
		Verification: out.Verification, Code: code, SessionID: out.Session.ID,
	})
}

func TestConfirm_ABrowsersSignInBeginsWithTheCode(t *testing.T) {
	h, m := confirming(t)
	before := h.sessionsOf("ada")
	visit := h.visit()
	visit.Language = "de"
	waiting, err := h.SignInWithPassword(t.Context(), visit, h.atBroker(), "", "ada", password)
	if err != nil {
		t.Fatal(err)
	}
	if waiting.Verification == "" || waiting.Token != "" || waiting.Session.State != sessions.Pending {
		t.Fatalf("a sign-in that waits: %+v", waiting)
	}
	want := broker.CodeMail{
		To: "ada@example.test", Name: "Ada", Code: m.code(t), Language: "de", Application: "Sallyport",
		Address: "192.0.2.7", Minutes: 10,
	}
	if m.sent[0] != want || len(want.Code) != 8 || strings.Trim(want.Code, "0123456789") != "" {
		t.Errorf("sent %+v", m.sent[0])
	}
	if n := len(h.sessionsOf("ada")); n != len(before) {
		t.Errorf("%d sessions are shown while one waits", n)
	}
	if len(h.events(audit.SignInSucceeded)) != 0 || len(h.events(audit.ConfirmationSent)) != 1 {
		t.Error("the log tells of a sign-in, or not of the code")
	}
	code := m.code(t)
	out, err := h.confirm(waiting, " "+code[:4]+"-"+code[4:]+" ")
	if err != nil {
		t.Fatal(err)
	}
	if p := h.opens(cookie(out)); p.Username != "ada" {
		t.Errorf("opens as %q", p.Username)
	}
	if out.Session.ID == waiting.Session.ID {
		t.Error("SES-02: the session keeps the id it had before")
	}
	if !out.Session.ExpiresAt.Equal(h.clock.Now().Add(8 * time.Hour)) {
		t.Errorf("ends at %s", out.Session.ExpiresAt)
	}
	if len(h.events(audit.SignInSucceeded)) != 1 || len(h.events(audit.Confirmed)) != 1 {
		t.Error("the log does not tell of the sign-in")
	}
	for _, e := range h.events() {
		if strings.Contains(fmt.Sprint(e), code) {
			t.Errorf("the log holds the code: %+v", e)
		}
	}
}

// sessionsOf lists what somebody sees of their sessions.
func (h *house) sessionsOf(name string) []sessions.Session {
	h.t.Helper()
	list, err := h.Sessions(h.t.Context(), identity.Principal{Subject: h.accountOf(name).ID})
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func (h *house) accountOf(name string) people.Account {
	h.t.Helper()
	var a people.Account
	err := h.store.Store.View(h.t.Context(), func(tx broker.Tx) (err error) {
		a, err = tx.AccountByName(h.t.Context(), name)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func TestConfirm_AnAPIsTokenOpensNothingBeforeTheCode(t *testing.T) {
	h, m := confirming(t)
	waiting := h.signInAs(h.atAPI("app"), "", "ada")
	bearer := h.bearer(waiting) // nobody is given it, and it would open nothing
	h.refuses(bearer)
	id, err := h.PendingSession(t.Context(), broker.NewCredential(broker.Bearer, waiting.Token), h.app("app"))
	if err != nil || id != waiting.Session.ID {
		t.Fatalf("what the API holds proves %q, %v", id, err)
	}
	h.pass(9 * time.Minute) // reading the e-mail is no idle time
	out, err := h.confirm(waiting, m.code(t))
	if err != nil {
		t.Fatal(err)
	}
	if out.Session.ID != waiting.Session.ID || out.Token != "" {
		t.Errorf("confirmed: %+v", out.Session)
	}
	h.opens(h.bearer(out))
	h.pass(25 * time.Minute)
	if _, err := h.show(h.bearer(out)); err != nil {
		t.Errorf("idle since the e-mail was read: %v", err)
	}
	h.app("open").ConfirmByEmail = true
	anothers := h.signInAs(h.atAPI("open"), "", "ada").Token
	for name, c := range map[string]broker.Credential{
		"a cookie":                broker.NewCredential(broker.Cookie, waiting.Token),
		"a token":                 broker.NewCredential(broker.Bearer, bearer.value),
		"nothing":                 broker.NewCredential(broker.Bearer, ""),
		"no token":                broker.NewCredential(broker.Bearer, "x.y.z"),
		"another application's":   broker.NewCredential(broker.Bearer, anothers),
		"one that is far too big": broker.NewCredential(broker.Bearer, strings.Repeat("x", 1<<20)),
	} {
		t.Run(name+" proves nothing", func(t *testing.T) {
			_, err := h.PendingSession(t.Context(), c, h.app("app"))
			wantErr(t, err, identity.ErrBadCredentials, "credential_invalid")
		})
	}
}

func TestLOC07_ACodeIsGoodOnceWithinItsTimeAndInItsOwnFlow(t *testing.T) {
	t.Run("the same code twice", func(t *testing.T) {
		h, m := confirming(t)
		waiting := h.signIn("ada")
		if _, err := h.confirm(waiting, m.code(t)); err != nil {
			t.Fatal(err)
		}
		_, err := h.confirm(waiting, m.code(t))
		wantErr(t, err, identity.ErrExpired, "code_expired")
	})
	t.Run("fifty at once open one", func(t *testing.T) {
		h, m := confirming(t)
		waiting := h.signIn("ada")
		won, _ := parallel(50, func(int) error { _, err := h.confirm(waiting, m.code(t)); return err })
		if won != 1 || len(h.sessionsOf("ada")) != 1 {
			t.Errorf("%d won, %d sessions", won, len(h.sessionsOf("ada")))
		}
	})
	for name, kind := range map[string]func(h *house) broker.Attempt{
		"a browser's after ten minutes": func(h *house) broker.Attempt { return h.atBroker() },
		"an API's after ten minutes":    func(h *house) broker.Attempt { return h.atAPI("app") },
	} {
		t.Run(name, func(t *testing.T) {
			h, m := confirming(t)
			waiting := h.signInAs(kind(h), "", "ada")
			h.pass(10 * time.Minute)
			_, err := h.confirm(waiting, m.code(t))
			wantErr(t, err, identity.ErrExpired, "code_expired")
		})
	}
	t.Run("in another browser", func(t *testing.T) {
		h, m := confirming(t)
		mine := h.signIn("ada")
		code := m.code(t)
		other := h.signIn("ada")
		for _, held := range []string{other.Session.ID, "nobody's", ""} {
			_, err := h.Confirm(t.Context(), h.visit(), broker.Confirmation{Verification: mine.Verification, Code: code, SessionID: held})
			wantErr(t, err, identity.ErrExpired, "code_expired")
		}
		if _, err := h.confirm(mine, code); err != nil {
			t.Errorf("in its own: %v", err)
		}
	})
	t.Run("of one sign-in for another", func(t *testing.T) {
		h, m := confirming(t)
		h.signIn("ada")
		first := m.code(t)
		second := h.signIn("ada")
		for first == m.code(t) { // once in a hundred million
			second = h.signIn("ada")
		}
		_, err := h.confirm(second, first)
		wantErr(t, err, identity.ErrBadCredentials, "code_wrong")
	})
}

func TestLOC07_TheFourthWrongCodeWithinFifteenMinutesIsRefusedUnseen(t *testing.T) {
	h, m := confirming(t)
	h.add(broker.NewPerson{Username: "bob", Email: "bob@example.test", Password: password, Groups: []string{"viewers"}})
	waiting := h.signIn("ada")
	for range 2 {
		_, err := h.confirm(waiting, wrong(m.code(t)))
		wantErr(t, err, identity.ErrBadCredentials, "code_wrong")
	}
	h.pass(4 * time.Minute)
	again := h.signIn("ada") // with a code of its own, and nothing forgotten
	_, err := h.confirm(again, wrong(m.code(t)))
	wantErr(t, err, identity.ErrBadCredentials, "code_wrong")
	_, err = h.confirm(again, m.code(t)) // right, and not even looked at
	wantErr(t, err, identity.ErrThrottled, "too_many_codes")
	if after := identity.RetryAfter(err); after <= 0 || after > 11*time.Minute {
		t.Errorf("may come back after %s", after)
	}
	bob := h.signIn("bob")
	if _, err := h.confirm(bob, m.code(t)); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	beside := h.beside()
	if _, err := beside.Confirm(t.Context(), beside.visit(), broker.Confirmation{
		Verification: again.Verification, Code: m.code(t), SessionID: again.Session.ID,
	}); !errors.Is(err, identity.ErrThrottled) {
		t.Errorf("another node: %v", err)
	}
	h.pass(11 * time.Minute)
	last := h.signIn("ada")
	if _, err := h.confirm(last, m.code(t)); err != nil {
		t.Errorf("after the window: %v", err)
	}
	if n := len(h.events(audit.NotConfirmed)); n != 5 {
		t.Errorf("%d refusals are on record, want 5", n)
	}
}

func TestLOC07_ARightCodeIsNoWrongOne(t *testing.T) {
	h, m := confirming(t)
	for range 5 {
		if _, err := h.confirm(h.signIn("ada"), m.code(t)); err != nil {
			t.Fatal(err)
		}
		h.pass(4 * time.Minute)
	}
}

func TestLOC07_FiftyWrongCodesAtOnceAreThree(t *testing.T) {
	h, m := confirming(t)
	waiting := h.signIn("ada")
	code := wrong(m.code(t))
	_, lost := parallel(50, func(int) error { _, err := h.confirm(waiting, code); return err })
	seen := 0
	for _, err := range lost {
		if identity.CodeOf(err) == "code_wrong" {
			seen++
		}
	}
	if len(lost) != 50 || seen != 3 {
		t.Errorf("%d refused, %d of them after a look", len(lost), seen)
	}
}

func TestConfirm_NobodysMailboxIsFilled(t *testing.T) {
	h, m := confirming(t)
	waiting := h.signIn("ada")
	for range 4 {
		id, err := h.SendAgain(t.Context(), h.visit(), waiting.Session.ID, waiting.Verification)
		if err != nil {
			t.Fatal(err)
		}
		waiting.Verification = id
	}
	_, err := h.SendAgain(t.Context(), h.visit(), waiting.Session.ID, waiting.Verification)
	wantErr(t, err, identity.ErrThrottled, "too_many_codes")
	_, err = h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
	wantErr(t, err, identity.ErrThrottled, "too_many_codes")
	if m.count() != 5 {
		t.Errorf("%d mails", m.count())
	}
	if _, err := h.confirm(waiting, m.code(t)); err != nil {
		t.Errorf("the newest code: %v", err)
	}
}

func TestConfirm_OnlyTheNewestCodeCounts(t *testing.T) {
	h, m := confirming(t)
	waiting := h.signIn("ada")
	first := m.code(t)
	id, err := h.SendAgain(t.Context(), h.visit(), waiting.Session.ID, waiting.Verification)
	if err != nil || id == waiting.Verification {
		t.Fatalf("%q, %v", id, err)
	}
	_, err = h.confirm(waiting, first)
	wantErr(t, err, identity.ErrExpired, "code_expired")
	waiting.Verification = id
	out, err := h.confirm(waiting, m.code(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, session := range map[string]string{
		"what was confirmed": waiting.Session.ID, "a session that holds": out.Session.ID, "nothing": "nobody's",
	} {
		_, err := h.SendAgain(t.Context(), h.visit(), session, id)
		if wantErr(t, err, identity.ErrExpired, "code_expired"); m.count() != 2 {
			t.Errorf("a code went out for %s", name)
		}
	}
}

func TestConfirm_WithoutAMailNothingWaits(t *testing.T) {
	t.Run("the server takes none", func(t *testing.T) {
		h, m := confirming(t)
		m.breaks(errors.New("connection refused"))
		_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
		wantErr(t, err, identity.ErrUnavailable, "mail_unavailable")
		if n := h.endings("mail_unavailable"); n != 1 {
			t.Errorf("%d sessions that waited ended, want 1", n)
		}
		if refused := h.events(audit.NotConfirmed); len(refused) != 1 || refused[0].Code != "mail_unavailable" {
			t.Errorf("on record: %+v", refused)
		}
	})
	t.Run("there is no server", func(t *testing.T) {
		h := newHouse(t)
		h.addPerson("ada", "viewers")
		h.Current().SelfApplication.ConfirmByEmail = true
		_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
		wantErr(t, err, identity.ErrUnavailable, "mail_unavailable")
	})
	for name, address := range map[string]string{
		"there is no address":        "",
		"it is none":                 "ada",
		"it is two":                  "ada@example.test, eve@example.test",
		"it has a name":              "Ada <ada@example.test>",
		"it holds the end of a line": "ada@example.test\r\nBcc: eve@example.test",
	} {
		t.Run(name, func(t *testing.T) {
			h, m := confirming(t)
			h.corp.knows("eve/"+password, identity.Identity{
				Subject: "e1", Username: "eve@corp.example", Email: address, EmailVerified: true,
				Groups: []string{corpViewers},
			})
			_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "corp", "eve", password)
			wantErr(t, err, identity.ErrDenied, "email_missing")
			if m.count() != 0 {
				t.Errorf("sent to %q", m.sent[0].To)
			}
		})
	}
}

// Whoever holds a password alone must be able to end nothing with it.
func TestConfirm_NothingEndsBeforeTheCode(t *testing.T) {
	h, m := confirming(t)
	out, err := h.confirm(h.signIn("ada"), m.code(t))
	if err != nil {
		t.Fatal(err)
	}
	h.most(broker.Self, 1, true)
	at := h.atBroker()
	at.Replaces = out.Session.ID
	waiting := h.signInAs(at, "", "ada")
	h.signIn("ada")
	h.opens(cookie(out))
	id, err := h.SendAgain(t.Context(), h.visit(), waiting.Session.ID, waiting.Verification)
	if err != nil {
		t.Fatal(err)
	}
	next, err := h.Confirm(t.Context(), h.visit(), broker.Confirmation{
		Verification: id, Code: m.code(t), SessionID: waiting.Session.ID, Replaces: out.Session.ID,
	})
	if err != nil || next.Ended != 0 {
		t.Fatalf("%d ended, %v", next.Ended, err)
	}
	h.refuses(cookie(out)) // SES-02: replaced now, by the code
	h.pass(time.Second)
	third, err := h.confirm(h.signIn("ada"), m.code(t))
	if err != nil || third.Ended != 1 {
		t.Fatalf("%d ended, %v", third.Ended, err)
	}
	h.refuses(cookie(next))
}

func TestConfirm_WhoMayNotComeInAnyMoreDoesNot(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *house)
		is     error
		code   string
	}{
		"the account was closed": {func(h *house) {
			if err := h.SetDisabled(h.t.Context(), h.visit(), "cli", "ada", true); err != nil {
				h.t.Fatal(err)
			}
		}, identity.ErrExpired, "code_expired"},
		"the roles are gone": {func(h *house) {
			if err := h.SetGroups(h.t.Context(), h.visit(), "cli", "ada", nil); err != nil {
				h.t.Fatal(err)
			}
		}, identity.ErrDenied, "no_role"},
		"there are too many": {func(h *house) {
			h.Current().SelfApplication.ConfirmByEmail = false
			h.signIn("ada")
			h.most(broker.Self, 1, false)
		}, identity.ErrDenied, "session_limit"},
	} {
		t.Run(name, func(t *testing.T) {
			h, m := confirming(t)
			waiting := h.signIn("ada")
			c.change(h)
			_, err := h.confirm(waiting, m.code(t))
			wantErr(t, err, c.is, c.code)
		})
	}
}

func TestConfirm_ARememberedSignInStaysOne(t *testing.T) {
	h, m := confirming(t)
	h.Current().Remember = broker.Limits{Idle: time.Hour, Lifetime: 30 * 24 * time.Hour}
	at := h.atBroker()
	at.Remember = true
	out, err := h.confirm(h.signInAs(at, "", "ada"), m.code(t))
	if err != nil {
		t.Fatal(err)
	}
	if s := out.Session; !s.Remembered || s.IdleTimeout != time.Hour || !s.ExpiresAt.Equal(h.clock.Now().Add(30*24*time.Hour)) {
		t.Errorf("%+v", s)
	}
}

func TestConfirm_AFrameAsksForNothing(t *testing.T) {
	h, _ := embedding(t)
	h.app("app").ConfirmByEmail = true
	out, err := h.embed("olga")
	if err != nil || out.Verification != "" {
		t.Errorf("a frame: %q, %v", out.Verification, err)
	}
}

func TestConfirm_AHandOverAsksForNoSecondCode(t *testing.T) {
	h, m := confirming(t)
	out, err := h.confirm(h.signIn("ada"), m.code(t))
	if err != nil {
		t.Fatal(err)
	}
	if child := h.child(out, "app"); child.Verification != "" || m.count() != 1 {
		t.Error("a hand-over waits")
	}
}

func TestConfirm_TheCodeOfAKeyIsItsOwners(t *testing.T) {
	h, m := confirming(t)
	h.Current().SelfApplication.ConfirmByEmail = false
	h.add(broker.NewPerson{Username: "bob", Email: "bob@example.test", Password: password, Groups: []string{"viewers"}})
	ada, bob := h.signIn("ada"), h.signIn("bob")
	h.Current().Keys.ConfirmByEmail = true
	k, whole, err := h.CreateKey(t.Context(), h.visit(), ada.Principal, broker.NewKey{Name: "ci", Application: h.app("app")})
	if err != nil {
		t.Fatal(err)
	}
	child := h.child(ada, "app")
	over := h.signIn("ada")
	if err := h.SignOut(t.Context(), h.visit(), over.Principal); err != nil {
		t.Fatal(err)
	}
	for name, held := range map[string]string{
		"somebody else's sign-in": bob.Session.ID, "an application's session": child.Session.ID, "one that is over": over.Session.ID,
	} {
		t.Run(name, func(t *testing.T) {
			if err := h.ClearThrottled(t); err != nil {
				t.Fatal(err)
			}
			_, err := h.Confirm(t.Context(), h.visit(), broker.Confirmation{Verification: k.Verification, Code: m.code(t), SessionID: held})
			wantErr(t, err, identity.ErrExpired, "code_expired")
		})
	}
	h.refuses(apiKey(whole, "app"))
	if mail := m.sent[0]; !mail.Key || mail.Application != "app" || mail.To != "ada@example.test" {
		t.Errorf("sent %+v", mail)
	}
}

// ClearThrottled forgets what was counted.
func (h *house) ClearThrottled(t *testing.T) error {
	t.Helper()
	return h.store.Store.Update(t.Context(), func(tx broker.Tx) error { _, err := tx.ClearFailures(t.Context()); return err })
}

func TestConfirm_ACodeIsSealedAtRest(t *testing.T) {
	h, m := confirming(t)
	waiting := h.signIn("ada")
	var got sessions.Verification
	err := h.store.Store.Update(t.Context(), func(tx broker.Tx) (err error) {
		got, err = tx.TryVerification(t.Context(), waiting.Verification, h.clock.Now(), 3)
		return err
	})
	if err != nil || got.Code != m.code(t) || got.Tries != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if found := h.foundInFiles(got.Code); len(found) > 0 {
		t.Errorf("the code stands in %v", found)
	}
}

// foundInFiles names the store's files that hold a text as it is.
func (h *house) foundInFiles(text string) []string {
	h.t.Helper()
	files, err := filepath.Glob(h.path + "*")
	if err != nil || len(files) == 0 {
		h.t.Fatalf("%d files, %v", len(files), err)
	}
	var found []string
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			h.t.Fatal(err)
		}
		if strings.Contains(string(content), text) {
			found = append(found, f)
		}
	}
	return found
}

func TestConfirm_CodesAreAllDifferentAndOfOneLength(t *testing.T) {
	h, m := confirming(t)
	for range 40 {
		h.signIn("ada")
		h.pass(16 * time.Minute)
	}
	codes := make([]string, 0, 40)
	for _, c := range m.sent {
		if len(c.Code) != 8 {
			t.Errorf("%q", c.Code)
		}
		codes = append(codes, c.Code)
	}
	slices.Sort(codes)
	if n := len(slices.Compact(codes)); n < 39 {
		t.Errorf("%d different ones of 40", n)
	}
}
