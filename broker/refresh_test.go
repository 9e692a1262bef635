package broker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/mapping"
)

// begin signs a local person in at the API of an application and returns the first tokens.
func (h *house) begin(name, app string) broker.Refreshed {
	h.t.Helper()
	out := h.signInAs(h.atAPI(app), "", name)
	first, err := h.IssueTokens(h.t.Context(), out.Principal, h.app(app))
	if err != nil {
		h.t.Fatal(err)
	}
	return first
}

func (h *house) tryRefresh(app, secret string) (broker.Refreshed, error) {
	h.t.Helper()
	return h.Refresh(h.t.Context(), h.visit(), h.app(app), secret)
}

func (h *house) refresh(t broker.Refreshed) broker.Refreshed {
	h.t.Helper()
	next, err := h.tryRefresh(t.Principal.Application, t.RefreshToken)
	if err != nil {
		h.t.Fatalf("refresh: %v", err)
	}
	return next
}

// access is the access token as a credential.
func access(t broker.Refreshed) credential {
	return credential{broker.Bearer, t.Access.Token, t.Principal.Application}
}

// noRefresh wants a refusal that gives nothing.
func (h *house) noRefresh(app, secret string, sentinel error, code string) {
	h.t.Helper()
	got, err := h.tryRefresh(app, secret)
	wantErr(h.t, err, sentinel, code)
	if got.Access.Token+got.RefreshToken+got.Principal.Subject != "" {
		h.t.Fatal("a refusal came with tokens")
	}
}

func TestARefreshTokenGivesTheNextTokens(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	first := h.begin("ada", "app")
	if !strings.HasPrefix(first.RefreshToken, "sprt_") || len(first.RefreshToken) != 48 || !broker.IsCredential(first.RefreshToken) {
		t.Fatalf("refresh token has %d characters", len(first.RefreshToken))
	}
	second := h.refresh(first)
	if second.Access.Token == first.Access.Token || second.RefreshToken == first.RefreshToken {
		t.Fatal("the same tokens again")
	}
	if second.Principal.SessionID != first.Principal.SessionID {
		t.Fatal("another session")
	}
	h.opens(access(first)) // as long as it says
	h.opens(access(second))
	t.Run("that say what the person is now", func(t *testing.T) {
		if err := h.SetGroups(t.Context(), h.visit(), "cli", "ada", []string{"operators"}); err != nil {
			t.Fatal(err)
		}
		second = h.refresh(second)
		if len(second.Principal.Roles) != 2 {
			t.Fatalf("roles are %v", second.Principal.Roles)
		}
	})
	t.Run("also after a restart, and on another node", func(t *testing.T) {
		there := h.beside()
		third := there.refresh(second)
		h.poll()
		h.opens(access(third))
		h.refresh(third)
	})
	t.Run("and no event, because the session's last use says it", func(t *testing.T) {
		for _, e := range h.events() {
			if strings.Contains(string(e.Type), "refresh") {
				t.Errorf("event %s", e.Type)
			}
		}
	})
}

func TestARefreshIsAUse(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app") // idle after 30 minutes
	for range 4 {
		h.pass(20 * time.Minute)
		have = h.refresh(have)
	}
	h.opens(access(have))
	h.pass(31 * time.Minute)
	h.noRefresh("app", have.RefreshToken, identity.ErrExpired, "")
}

func TestARefreshTokenEndsWithItsSession(t *testing.T) {
	h := newHouse(t, func(s *settings) {
		for _, a := range s.apps {
			a.Session = broker.Limits{Idle: 2 * time.Hour, Lifetime: time.Hour}
		}
	})
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	h.pass(50 * time.Minute)
	have = h.refresh(have)
	if left := have.Access.ExpiresAt.Sub(h.clock.Now()); left > 10*time.Minute {
		t.Fatalf("the access token outlives its session by %s", left-10*time.Minute)
	}
	h.pass(10 * time.Minute)
	h.noRefresh("app", have.RefreshToken, identity.ErrBadCredentials, "refresh_invalid")
}

func TestKEY03_WhatIsNoRefreshTokenOfTheApplicationIsRefusedAlikeAndSpendsNothing(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	secret := strings.TrimPrefix(have.RefreshToken, "sprt_")
	for name, c := range map[string]struct{ app, secret string }{
		"empty":                        {"app", ""},
		"unknown":                      {"app", "sprt_" + broker.NewSecret()},
		"without its prefix":           {"app", secret},
		"too long":                     {"app", have.RefreshToken + "a"},
		"with bytes of no base64url":   {"app", "sprt_" + secret[:42] + "\x00"},
		"with another case":            {"app", "SPRT_" + secret},
		"an access token":              {"app", have.Access.Token},
		"of another application":       {"open", have.RefreshToken},
		"at the broker itself":         {broker.Self, have.RefreshToken},
		"of an application that signs": {"hmac-a", have.RefreshToken},
	} {
		t.Run(name, func(t *testing.T) {
			h.noRefresh(c.app, c.secret, identity.ErrBadCredentials, "refresh_invalid")
		})
	}
	h.refresh(have)
	t.Run("a refresh token is no credential", func(t *testing.T) {
		for _, carrier := range []broker.Carrier{broker.Bearer, broker.Cookie, broker.APIKey, broker.TokenCookie, broker.Ticket} {
			h.refuses(credential{carrier, have.RefreshToken, "app"})
		}
	})
}

func TestOPT05_NobodyWhoMayNotSignInIsRefreshed(t *testing.T) {
	for name, c := range map[string]struct {
		end      func(h *house, p identity.Principal) error
		sentinel error
		code     string
	}{
		"who signed out": {func(h *house, p identity.Principal) error {
			return h.SignOut(h.t.Context(), h.visit(), p)
		}, identity.ErrExpired, ""},
		"whose account was closed": {func(h *house, _ identity.Principal) error {
			return h.SetDisabled(h.t.Context(), h.visit(), "cli", "ada", true)
		}, identity.ErrExpired, ""},
		"who lost every role": {func(h *house, _ identity.Principal) error {
			return h.SetGroups(h.t.Context(), h.visit(), "cli", "ada", nil)
		}, identity.ErrDenied, "no_role"},
		"whom the application does not admit any more": {func(h *house, _ identity.Principal) error {
			h.reload(func(s *settings) { s.apps[0].Require = []string{"admin"} })
			return nil
		}, identity.ErrDenied, "no_role"},
		"whose group a rule denies now": {func(h *house, _ identity.Principal) error {
			h.reload(func(s *settings) {
				s.rules = append(s.rules, mapping.Rule{Provider: "local", Group: "viewers", Deny: true})
			})
			return nil
		}, identity.ErrDenied, "denied_by_rule"},
		"whose session an administrator ended": {func(h *house, p identity.Principal) error {
			return h.EndAnySession(h.t.Context(), h.visit(), "cli", p.SessionID)
		}, identity.ErrExpired, ""},
		"of whom everything was ended": {func(h *house, p identity.Principal) error {
			return h.EndEverythingOf(h.t.Context(), h.visit(), "cli", p.Subject)
		}, identity.ErrExpired, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			have := h.begin("ada", "app")
			here, there := h.refresh(have), h.beside()
			if err := c.end(h, have.Principal); err != nil {
				t.Fatal(err)
			}
			h.noRefresh("app", here.RefreshToken, c.sentinel, c.code)
			h.noRefresh("app", have.RefreshToken, c.sentinel, c.code) // nor for its answer, which is kept
			if c.sentinel == identity.ErrExpired {                    //nolint:errorlint // the very value of the table
				there.noRefresh("app", here.RefreshToken, c.sentinel, c.code) // it has heard of nothing yet
			}
		})
	}
}

func TestCON02_TwentyAtOnceRotateOnceAndAllGetTheAnswer(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	houses := []*house{h, h.beside()}
	have := h.begin("ada", "app")
	var mu sync.Mutex
	answers := map[string]int{}
	won, lost := parallel(20, func(i int) error {
		on := houses[i%len(houses)]
		next, err := on.Refresh(t.Context(), on.visit(), on.app("app"), have.RefreshToken)
		mu.Lock()
		defer mu.Unlock()
		answers[next.RefreshToken+" "+next.Access.Token]++
		return err
	})
	if won != 20 || len(answers) != 1 {
		t.Fatalf("%d answers, %d different; refused: %v", won, len(answers), lost)
	}
	for _, on := range houses {
		on.poll()
	}
	for pair := range answers {
		next, token, _ := strings.Cut(pair, " ")
		houses[1].opens(credential{broker.Bearer, token, "app"})
		if _, err := h.tryRefresh("app", next); err != nil {
			t.Fatalf("the one successor: %v", err)
		}
	}
	if n := len(h.events(audit.TokenReused, audit.SessionEnded)); n != 0 {
		t.Fatalf("%d events", n)
	}
}

func TestSES04_ARefreshTokenThatIsUsedAgainEndsTheSession(t *testing.T) {
	for name, before := range map[string]func(h *house, have, next broker.Refreshed){
		"after ten seconds": func(h *house, _, _ broker.Refreshed) { h.pass(10*time.Second + time.Millisecond) },
		"once its successor was used": func(h *house, _, next broker.Refreshed) {
			h.refresh(next)
		},
		"when its answer was forgotten": func(h *house, _, _ broker.Refreshed) {
			h.drop(h.clock.Now().Add(time.Second))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.addPerson("ada", "viewers")
			have := h.begin("ada", "app")
			next := h.refresh(have)
			if again := h.refresh(have); again.RefreshToken != next.RefreshToken || again.Access.Token != next.Access.Token {
				t.Fatal("within ten seconds, another answer")
			}
			before(h, have, next)
			other := h.begin("ada", "app")
			h.noRefresh("app", have.RefreshToken, identity.ErrExpired, "refresh_reused")
			h.refuses(access(have))
			h.refuses(access(next))
			h.noRefresh("app", next.RefreshToken, identity.ErrExpired, "")
			h.noRefresh("app", have.RefreshToken, identity.ErrExpired, "") // told once
			h.opens(access(other))
			events := h.events(audit.TokenReused)
			if len(events) != 1 || events[0].SessionID != have.Principal.SessionID || events[0].Code != "refresh_reused" ||
				events[0].AccountID != have.Principal.Subject || events[0].Application != "app" || events[0].Outcome != audit.Refusal {
				t.Fatalf("events are %+v", events)
			}
			there := h.beside()
			there.refuses(access(next))
		})
	}
	t.Run("but not at another application", func(t *testing.T) {
		h := newHouse(t)
		h.addPerson("ada", "viewers")
		have := h.begin("ada", "app")
		next := h.refresh(have)
		h.pass(time.Minute)
		h.noRefresh("open", have.RefreshToken, identity.ErrBadCredentials, "refresh_invalid")
		h.refresh(next)
	})
}

// drop forgets the answers of before a time, as the job does.
func (h *house) drop(before time.Time) {
	h.t.Helper()
	if err := h.store.Update(h.t.Context(), func(tx broker.Tx) error {
		_, err := tx.DropRefreshAnswers(h.t.Context(), before, 100)
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
}

func TestAnAnswerIsForgottenAfterTenSeconds(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	h.refresh(have)
	h.clock.Advance(11 * time.Second)
	end := h.run()
	defer end()
	wait(t, func() error {
		return h.store.View(t.Context(), func(tx broker.Tx) error {
			if _, err := tx.RefreshAnswer(t.Context(), have.RefreshToken); !errors.Is(err, identity.ErrNotFound) {
				return errors.New("the answer is still there")
			}
			return nil
		})
	})
}

func TestTheFormerTokenDiesWhereTheProfileSaysSo(t *testing.T) {
	h := newHouse(t, func(s *settings) { s.apps[0].Profile.EndsToken = true })
	h.addPerson("ada", "viewers")
	there := h.beside()
	first := h.begin("ada", "app")
	there.opens(access(first))
	second := h.refresh(first)
	_, err := h.show(access(first))
	wantErr(t, err, identity.ErrExpired, "token_revoked")
	h.opens(access(second))
	t.Run("on other nodes too, once they hear of it, and after a restart", func(t *testing.T) {
		there.poll()
		there.refuses(access(first))
		there.opens(access(second))
		h.beside().refuses(access(first))
	})
	t.Run("and nobody's answer ends the token it has", func(t *testing.T) {
		again := h.refresh(first)
		h.opens(access(again))
	})
	t.Run("applications that verify offline hear of it", func(t *testing.T) {
		list, _, err := h.Revocations(t.Context(), h.Current(), "app", time.Time{}, 10)
		if err != nil || len(list) != 1 || list[0].Kind != "token" || list[0].ID != first.Access.ID || list[0].AccountID != "" {
			t.Fatalf("%+v, %v", list, err)
		}
	})
	t.Run("one that is over already leaves nothing", func(t *testing.T) {
		h.pass(16 * time.Minute)
		h.refresh(second)
		list, _, err := h.Revocations(t.Context(), h.Current(), "app", time.Time{}, 10)
		if err != nil || len(list) != 0 {
			t.Fatalf("%+v, %v", list, err)
		}
	})
}

func TestREL03_ABlindStoreRefreshesNobody(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	h.opens(access(have))
	h.down()
	h.noRefresh("app", have.RefreshToken, identity.ErrUnavailable, "")
	h.isBack()
	have = h.refresh(have)
	t.Run("nor one that breaks in the middle", func(t *testing.T) {
		broken := &brokenRefresh{Store: h.store}
		b := broker.New(broker.Options{Store: broken, Log: h.log(), Now: h.clock.Now})
		if _, err := b.Load(t.Context(), h.Current()); err != nil {
			t.Fatal(err)
		}
		broken.on = true
		_, err := b.Refresh(t.Context(), h.visit(), h.app("app"), have.RefreshToken)
		if !errors.Is(err, identity.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
		h.refresh(have) // nothing was spent
	})
}

// brokenRefresh takes a refresh token and then stops answering.
type brokenRefresh struct {
	broker.Store
	on bool
}

func (b *brokenRefresh) Update(ctx context.Context, fn func(broker.Tx) error) error {
	return b.Store.Update(ctx, func(tx broker.Tx) error { return fn(&brokenRefreshTx{tx, b}) })
}

type brokenRefreshTx struct {
	broker.Tx
	b *brokenRefresh
}

func (t *brokenRefreshTx) PutRefresh(ctx context.Context, secret string, r sessions.Refresh) error {
	if t.b.on {
		return errDown
	}
	return t.Tx.PutRefresh(ctx, secret, r)
}

func TestDOS03_OneSessionCannotRefreshWithoutEnd(t *testing.T) {
	h := newHouse(t)
	h.addPerson("ada", "viewers")
	have := h.begin("ada", "app")
	other := h.begin("ada", "app")
	for range 60 {
		have = h.refresh(have)
	}
	_, err := h.tryRefresh("app", have.RefreshToken)
	wantErr(t, err, identity.ErrThrottled, "rate_limited")
	h.refresh(other)
	h.pass(time.Second)
	h.refresh(have) // nothing was spent
}

func FuzzRefreshTokenShape(f *testing.F) {
	f.Add("sprt_" + strings.Repeat("a", 43))
	f.Add("sprt_" + strings.Repeat("-", 42))
	f.Add("spwt_" + strings.Repeat("_", 43))
	f.Add("sp_x_y")
	f.Fuzz(func(t *testing.T, raw string) {
		if !broker.IsCredential(raw) || broker.IsKey(raw) {
			return
		}
		if len(raw) != 48 || strings.Trim(raw[5:], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Fatalf("%q passes for a credential", raw)
		}
		if broker.IsTicket(raw) != strings.HasPrefix(raw, "spwt_") || !broker.IsTicket(raw) != strings.HasPrefix(raw, "sprt_") {
			t.Fatalf("%q is of two kinds or of none", raw)
		}
	})
}
