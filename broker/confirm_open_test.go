package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func TestLOC07_WhatAnAPIHoldsBeforeTheCodeIsNoToken(t *testing.T) {
	h, m := confirming(t)
	waiting := h.signInAs(h.atAPI("app"), "", "ada")
	held := waiting.Token
	if !strings.HasPrefix(held, "sppc_") || len(held) != 48 || strings.Contains(held, ".") || !broker.IsCredential(held) {
		t.Fatalf("answered with %q", held)
	}
	if other := h.signInAs(h.atAPI("app"), "", "ada"); other.Token == held {
		t.Error("two have the same")
	}
	if found := h.foundInFiles(held); len(found) > 0 {
		t.Errorf("it stands in %v", found)
	}
	opensNothing := func(t *testing.T) {
		t.Helper()
		for _, c := range []broker.Carrier{
			broker.Cookie, broker.Bearer, broker.APIKey, broker.TokenCookie, broker.EmbedCookie, broker.Ticket,
		} {
			for _, app := range []string{"app", broker.Self} {
				h.refuses(credential{c, held, app})
			}
		}
		_, err := h.Refresh(t.Context(), h.visit(), h.app("app"), held)
		if err == nil {
			t.Error("it is a refresh token")
		}
	}
	t.Run("it opens nothing before the code", opensNothing)
	t.Run("it is another application's nothing", func(t *testing.T) {
		_, err := h.PendingSession(t.Context(), broker.NewCredential(broker.Bearer, held), h.app("open"))
		wantErr(t, err, identity.ErrBadCredentials, "credential_invalid")
	})
	waiting = h.signInAs(h.atAPI("app"), "", "ada")
	held = waiting.Token
	out, err := h.confirm(waiting, m.code(t))
	if err != nil || out.Token != "" {
		t.Fatalf("confirmed with %q, %v", out.Token, err)
	}
	h.opens(h.bearer(out))
	t.Run("it opens nothing after the code", opensNothing)
	t.Run("it proves nothing after the code", func(t *testing.T) {
		_, err := h.PendingSession(t.Context(), broker.NewCredential(broker.Bearer, held), h.app("app"))
		wantErr(t, err, identity.ErrBadCredentials, "credential_invalid")
	})
}

func TestLOC07_WhatAnAPIHoldsBeforeTheCodeIsOverWithIt(t *testing.T) {
	h, _ := confirming(t)
	held := broker.NewCredential(broker.Bearer, h.signInAs(h.atAPI("app"), "", "ada").Token)
	h.pass(broker.CodeLife - time.Second)
	if _, err := h.PendingSession(t.Context(), held, h.app("app")); err != nil {
		t.Fatal(err)
	}
	h.pass(time.Second)
	_, err := h.PendingSession(t.Context(), held, h.app("app"))
	wantErr(t, err, identity.ErrExpired, "code_expired")
}

func TestDOS05_WhoHasThePasswordOnlyDoesNotKeepTheOwnerOut(t *testing.T) {
	flood := func(h *house, sources int) {
		h.t.Helper()
		for s := range sources {
			v := h.from(fmt.Sprintf("198.51.100.%d", s+1))
			for {
				_, err := h.SignInWithPassword(h.t.Context(), v, h.atBroker(), "", "ada", password)
				if errors.Is(err, identity.ErrThrottled) {
					break
				}
				if err != nil {
					h.t.Fatal(err)
				}
			}
		}
	}
	t.Run("from one source the owner comes in from another", func(t *testing.T) {
		h, m := confirming(t)
		flood(h, 1)
		if m.count() != 5 {
			t.Fatalf("%d mails to one source", m.count())
		}
		if _, err := h.confirm(h.signIn("ada"), m.code(t)); err != nil {
			t.Errorf("the owner: %v", err)
		}
	})
	t.Run("from everywhere the owner comes in with a browser that is known", func(t *testing.T) {
		h, m := confirming(t)
		flood(h, 8)
		if m.count() != 20 {
			t.Fatalf("%d mails to one mailbox", m.count())
		}
		_, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
		wantErr(t, err, identity.ErrThrottled, "too_many_codes")
		at := h.atBroker()
		at.Device = "the owner's"
		if _, err := h.confirmAt(h.signInAs(at, "", "ada"), m.code(t), at.Device); err != nil {
			t.Errorf("the owner: %v", err)
		}
	})
	t.Run("wrong codes of others leave a known browser its own tries", func(t *testing.T) {
		h, m := confirming(t)
		waiting := h.signIn("ada")
		for range 3 {
			_, err := h.confirm(waiting, wrong(m.code(t)))
			wantErr(t, err, identity.ErrBadCredentials, "code_wrong")
		}
		again := h.signIn("ada")
		_, err := h.confirm(again, m.code(t))
		wantErr(t, err, identity.ErrThrottled, "too_many_codes")
		for range 2 {
			_, err = h.confirmAt(again, wrong(m.code(t)), "the owner's")
			wantErr(t, err, identity.ErrBadCredentials, "code_wrong")
		}
		if _, err := h.confirmAt(again, m.code(t), "the owner's"); err != nil {
			t.Errorf("the owner: %v", err)
		}
	})
	t.Run("an administrator can clear it", func(t *testing.T) {
		h, m := confirming(t)
		flood(h, 8)
		at := h.atBroker()
		at.Device = "the owner's"
		waiting := h.signInAs(at, "", "ada")
		for range 3 {
			_, err := h.confirm(waiting, wrong(m.code(t)))
			wantErr(t, err, identity.ErrBadCredentials, "code_wrong")
		}
		if n, err := h.ClearLockout(t.Context(), h.visit(), "cli", "Ada"); err != nil || n < 6 {
			t.Fatalf("%d counters cleared, %v", n, err)
		}
		if _, err := h.confirm(h.signIn("ada"), m.code(t)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
	t.Run("who confirms is not counted", func(t *testing.T) {
		h, m := confirming(t)
		for range 30 {
			if _, err := h.confirm(h.signIn("ada"), m.code(t)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func (h *house) confirmAt(out broker.Outcome, code, device string) (broker.Outcome, error) {
	h.t.Helper()
	return h.Confirm(h.t.Context(), h.visit(), broker.Confirmation{
		Verification: out.Verification, Code: code, SessionID: out.Session.ID, Device: device,
	})
}

func TestLOC07_ACodeGoesToNoAddressThatTheSignInClaims(t *testing.T) {
	h, m := confirming(t)
	eve := identity.Identity{
		Subject: "e1", Username: "eve@corp.example", Email: "eve@corp.example", EmailVerified: true, Groups: []string{corpViewers},
	}
	signIn := func() (broker.Outcome, error) {
		h.corp.knows("eve/"+password, eve)
		return h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "corp", "eve", password)
	}
	waiting, err := signIn()
	if err != nil || m.sent[0].To != eve.Email || waiting.SentTo != eve.Email {
		t.Fatalf("sent %+v, told %q, %v", m.sent, waiting.SentTo, err)
	}
	eve.Email, eve.EmailVerified = "thief@example.test", false
	for range 2 { // what the first of them claimed is not what was known before at the second
		_, err = signIn()
		wantErr(t, err, identity.ErrDenied, "email_missing")
	}
	if a := h.accountOf("eve@corp.example"); a.Email != "eve@corp.example" || !a.EmailVerified {
		t.Errorf("a sign-in that was refused left %q, %t", a.Email, a.EmailVerified)
	}
	if m.count() != 1 {
		t.Errorf("%d mails", m.count())
	}
	eve.Email, eve.EmailVerified = "eve@new.example", true
	if _, err := signIn(); err != nil || m.sent[1].To != "eve@new.example" {
		t.Errorf("a verified one: %v", err)
	}
}

func TestKEY02_AKeyGoesOnUntilItsSuccessorIsConfirmed(t *testing.T) {
	type scene struct {
		h     *house
		m     *mailbox
		in    broker.Outcome
		old   sessions.Key
		whole string
	}
	begin := func(t *testing.T) *scene {
		t.Helper()
		h, m := confirming(t)
		h.Current().SelfApplication.ConfirmByEmail = false
		s := &scene{h: h, m: m, in: h.signIn("ada")}
		s.old, s.whole = h.newKey(s.in, "app")
		h.Current().Keys.ConfirmByEmail = true
		return s
	}
	rotate := func(t *testing.T, s *scene, overlap time.Duration) (broker.IssuedKey, string) {
		t.Helper()
		next, whole, err := s.h.RotateKey(t.Context(), s.h.visit(), s.in.Principal, s.old.ID, overlap)
		if err != nil {
			t.Fatal(err)
		}
		return next, whole
	}
	confirm := func(t *testing.T, s *scene, k broker.IssuedKey, code string) error {
		_, err := s.h.Confirm(t.Context(), s.h.visit(), broker.Confirmation{
			Verification: k.Verification, Code: code, SessionID: s.in.Session.ID,
		})
		return err
	}
	t.Run("without an overlap it ends with the code", func(t *testing.T) {
		s := begin(t)
		next, whole := rotate(t, s, 0)
		s.h.opens(apiKey(s.whole, "app"))
		s.h.refuses(apiKey(whole, "app"))
		if err := confirm(t, s, next, s.m.code(t)); err != nil {
			t.Fatal(err)
		}
		s.h.refuses(apiKey(s.whole, "app"))
		s.h.opens(apiKey(whole, "app"))
	})
	t.Run("the overlap begins with the code", func(t *testing.T) {
		s := begin(t)
		next, whole := rotate(t, s, time.Hour)
		s.h.pass(9 * time.Minute)
		if err := confirm(t, s, next, s.m.code(t)); err != nil {
			t.Fatal(err)
		}
		s.h.pass(59 * time.Minute)
		s.h.opens(apiKey(s.whole, "app"))
		s.h.pass(time.Minute)
		s.h.refuses(apiKey(s.whole, "app"))
		s.h.opens(apiKey(whole, "app"))
	})
	t.Run("a code that nobody types changes nothing, and another rotation may follow", func(t *testing.T) {
		s := begin(t)
		rotate(t, s, 0)
		s.h.pass(25 * time.Minute)
		s.h.opens(apiKey(s.whole, "app"))
		next, whole := rotate(t, s, 0)
		if err := confirm(t, s, next, s.m.code(t)); err != nil {
			t.Fatal(err)
		}
		s.h.refuses(apiKey(s.whole, "app"))
		s.h.opens(apiKey(whole, "app"))
	})
	t.Run("an e-mail that does not go out changes nothing", func(t *testing.T) {
		s := begin(t)
		s.m.breaks(errors.New("down"))
		_, _, err := s.h.RotateKey(t.Context(), s.h.visit(), s.in.Principal, s.old.ID, 0)
		wantErr(t, err, identity.ErrUnavailable, "mail_unavailable")
		s.h.opens(apiKey(s.whole, "app"))
		s.m.breaks(nil)
		rotate(t, s, 0)
	})
	for _, overlap := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprintf("of two successors one is confirmed, overlap %s", overlap), func(t *testing.T) {
			s := begin(t)
			first, whole := rotate(t, s, overlap)
			code := s.m.code(t)
			second, later := rotate(t, s, overlap)
			if err := confirm(t, s, second, s.m.code(t)); err != nil {
				t.Fatal(err)
			}
			wantErr(t, confirm(t, s, first, code), identity.ErrConflict, "key_rotated")
			s.h.refuses(apiKey(whole, "app"))
			s.h.opens(apiKey(later, "app"))
		})
	}
	t.Run("a key that was revoked meanwhile stays so", func(t *testing.T) {
		s := begin(t)
		next, whole := rotate(t, s, time.Hour)
		if err := s.h.RevokeKey(t.Context(), s.h.visit(), s.in.Principal, s.old.ID); err != nil {
			t.Fatal(err)
		}
		if err := confirm(t, s, next, s.m.code(t)); err != nil {
			t.Fatal(err)
		}
		s.h.refuses(apiKey(s.whole, "app"))
		s.h.opens(apiKey(whole, "app"))
	})
}

func TestLOC07_CodesThatWereTriedTooOftenStandAmongTheLockouts(t *testing.T) {
	h, m := confirming(t)
	waiting, err := h.SignInWithPassword(t.Context(), h.visit(), h.atBroker(), "", "ada", password)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := h.confirm(waiting, wrong(m.code(t))); err == nil {
			t.Fatal("a wrong code was right")
		}
	}
	list, err := h.Lockouts(t.Context(), h.Current(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	locked := map[string]int{}
	for _, l := range list {
		if l.Locked() {
			locked[l.Scope] = l.Most
		}
	}
	if locked["confirm"] != 3 || len(locked) != 1 {
		t.Errorf("locked are %v", locked)
	}
}
