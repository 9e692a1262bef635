package broker_test

import (
	"slices"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/tokens"
)

func TestAPinnedKeyChangesOnlyWhenAnAdministratorSaysSo(t *testing.T) {
	h := newKeyHouse(t)
	h.reload(func(s *settings) {
		i := slices.IndexFunc(s.apps, func(a *broker.Application) bool { return a.ID == "legacy" })
		s.apps[i].Session = broker.Limits{Idle: 90 * 24 * time.Hour, Lifetime: 90 * 24 * time.Hour}
	})
	h.keyRules(rotateEvery, publishBefore)
	own, next := h.keyIn("legacy", tokens.KeyCurrent), h.keyIn("legacy", tokens.KeyNext)
	if !own.Due.IsZero() || !own.Used || !h.published(own.ID) || !h.published(next.ID) {
		t.Fatalf("its key is %+v", own)
	}
	out := h.signInAs(h.atAPI("legacy"), "", "ada")
	if raw := h.bearer(out); kidOf(t, raw.value) != own.ID {
		t.Fatal("signed with a shared key")
	}
	h.pass(2 * rotateEvery)
	h.keep()
	if h.keyIn("legacy", tokens.KeyCurrent).ID != own.ID || len(h.events(audit.SigningKeyRotated)) != 1 {
		t.Fatal("the schedule is not the shared keys' alone")
	}
	old := h.bearer(out)
	if kid, err := h.rotate("legacy", false); err != nil || kid != next.ID {
		t.Fatalf("%s, %v", kid, err)
	}
	h.opens(old)
	if fresh := h.bearer(out); kidOf(t, fresh.value) != next.ID {
		t.Fatal("another key signs")
	}
	h.opens(h.bearer(out))
}

// stored returns a key with its private half, as a thief would have it.
func (h *house) stored(kid string) tokens.StoredKey {
	h.t.Helper()
	var all []tokens.StoredKey
	if err := h.store.Store.View(h.t.Context(), func(tx broker.Tx) (err error) {
		all, err = tx.SigningKeys(h.t.Context())
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(k tokens.StoredKey) bool { return k.ID == kid })
	if i < 0 {
		h.t.Fatalf("no key %s", kid)
	}
	return all[i]
}

func TestAPinnedKeyOpensItsApplicationAlone(t *testing.T) {
	h := newKeyHouse(t)
	own := h.stored(h.keyIn("legacy", tokens.KeyCurrent).ID)
	ring, err := tokens.NewKeyring([]tokens.StoredKey{own})
	if err != nil {
		t.Fatal(err)
	}
	thief := tokens.NewIssuer(issuer, ring, h.clock.Now).Pinned("legacy")
	for _, app := range []string{"app", "open", "legacy"} {
		out := h.signInAs(h.atAPI(app), "", "ada")
		for _, client := range []string{app, "legacy"} {
			made, err := thief.Issue(tokens.ES256, tokens.Spec{
				Subject: out.Principal.Subject, Audience: h.app(app).Audience, ClientID: client, SessionID: out.Session.ID, Lifetime: time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			if c := (credential{broker.Bearer, made.Token, app}); app == "legacy" {
				h.opens(c)
			} else {
				h.refuses(c)
			}
		}
	}
}

func TestSTO03_TokensOutliveAChangeBetweenSharedAndPinned(t *testing.T) {
	h := newKeyHouse(t)
	there := h.keysBeside()
	pin := func(pinned bool) {
		for _, one := range []*house{h, there} {
			one.reload(func(s *settings) {
				i := slices.IndexFunc(s.apps, func(a *broker.Application) bool { return a.ID == "legacy" })
				changed := *s.apps[i]
				changed.Pinned = pinned
				s.apps[i] = &changed
			})
			one.keyRules(rotateEvery, publishBefore)
		}
	}
	out := h.signInAs(h.atAPI("legacy"), "", "ada")
	own := h.bearer(out)
	pin(false)
	shared := h.bearer(out)
	if kidOf(t, own.value) == kidOf(t, shared.value) {
		t.Fatal("one key for both")
	}
	for _, pinned := range []bool{false, true} {
		pin(pinned)
		for _, one := range []*house{h, there} {
			one.opens(own)
			one.opens(shared)
		}
	}
	t.Run("and keys that nobody needs any more stay until somebody withdraws them", func(t *testing.T) {
		pin(false)
		kid := h.keyIn("legacy", tokens.KeyCurrent).ID
		h.pass(3 * rotateEvery)
		h.keep()
		if k := h.keyIn("legacy", tokens.KeyCurrent); k.ID != kid || k.Used || !k.Due.IsZero() || !h.published(kid) {
			t.Fatalf("its key is %+v", k)
		}
		if k := h.keyIn("legacy", tokens.KeyNext); k.Used || !k.Due.IsZero() {
			t.Fatalf("its next key is %+v", k)
		}
	})
	t.Run("and one that nobody needs is withdrawn without a successor", func(t *testing.T) {
		pin(true)
		pin(false)
		kid := h.keyIn("legacy", tokens.KeyCurrent).ID
		if err := h.revoke(kid); err != nil {
			t.Fatal(err)
		}
		if len(h.keysIn("legacy", tokens.KeyCurrent)) != 0 || len(h.keysIn("legacy", tokens.KeyNext)) != 1 {
			t.Fatal("it has a successor")
		}
	})
}

func TestSTO03_AKeyOfAConfigurationThatIsYetToComeIsPublishedAhead(t *testing.T) {
	h := newHouse(t)
	ahead := h.keysBeside() // the command line with the new configuration
	own := ahead.keyIn("legacy", tokens.KeyCurrent)
	h.pass(time.Second)
	if !h.published(own.ID) {
		t.Fatal("not in the JWK set")
	}
	if k := h.keyIn("legacy", tokens.KeyCurrent); k.Used {
		t.Fatalf("its key is %+v", k)
	}
	h.addPerson("ada", "viewers")
	out := h.signInAs(h.atAPI("app"), "", "ada")
	if raw := h.bearer(out); kidOf(t, raw.value) == own.ID {
		t.Fatal("signed with another application's key")
	}
	h.reload(withLegacy)
	if got := h.keyIn("legacy", tokens.KeyCurrent).ID; got != own.ID {
		t.Fatalf("another key was made: %s", got)
	}
}

func TestASharedSecretChangesWithAnOverlap(t *testing.T) {
	const younger = "fedcba9876543210fedcba9876543210-A"
	h := newHouse(t)
	there := h.beside()
	h.addPerson("ada", "viewers")
	out := h.signInAs(h.atAPI("hmac-a"), "", "ada")
	raw := credential{broker.Bearer, h.token(out, "hmac-a"), "hmac-a"}
	secrets := func(secret string, former ...string) {
		for _, one := range []*house{h, there} {
			one.reload(func(s *settings) {
				i := slices.IndexFunc(s.apps, func(a *broker.Application) bool { return a.ID == "hmac-a" })
				changed := *s.apps[i]
				changed.Secret, changed.FormerSecrets = []byte(secret), nil
				for _, f := range former {
					changed.FormerSecrets = append(changed.FormerSecrets, []byte(f))
				}
				s.apps[i] = &changed
			})
		}
	}
	both := func(do func(one *house)) {
		do(h)
		do(there)
	}
	both(func(one *house) { one.opens(raw) })
	secrets(younger, secretA)
	both(func(one *house) { one.opens(raw) })
	fresh := credential{broker.Bearer, h.token(out, "hmac-a"), "hmac-a"}
	both(func(one *house) { one.opens(fresh) })
	both(func(one *house) {
		one.refuses(credential{broker.Bearer, raw.value, "hmac-b"})
		one.refuses(credential{broker.Bearer, h.forge(secretB, h.clock.Now, func(s *tokens.Spec) {
			s.Subject, s.SessionID = out.Principal.Subject, out.Session.ID
		}), "hmac-a"})
	})
	t.Run("and the former one ends when it leaves the configuration", func(t *testing.T) {
		secrets(younger)
		both(func(one *house) { one.refuses(raw) })
		both(func(one *house) { one.opens(fresh) })
	})
	t.Run("and nothing new is signed with it", func(t *testing.T) {
		secrets(younger, secretA)
		made := h.token(out, "hmac-a")
		secrets(younger)
		h.opens(credential{broker.Bearer, made, "hmac-a"})
	})
}

// TestREL08_AKeyOutlivesAConfigurationWithoutItsApplication has a node look after the keys whose configuration, an old
// file or one with lines commented out, does not have the applications that others sign for.
func TestREL08_AKeyOutlivesAConfigurationWithoutItsApplication(t *testing.T) {
	h := newKeyHouse(t)
	withRSA := func(s *settings) {
		rsa := application("rsa", "https://rsa.example.test/")
		rsa.Algorithm = tokens.RS256
		s.apps = append(s.apps, rsa)
	}
	h.reload(withRSA)
	h.keyRules(rotateEvery, publishBefore)
	signing := func(application string) string {
		t.Helper()
		out := h.signInAs(h.atAPI(application), "", "ada")
		raw := h.bearer(out)
		h.opens(raw)
		return kidOf(t, raw.value)
	}
	h.pass(rotateEvery - time.Minute)
	before := map[string]string{"legacy": signing("legacy"), "rsa": signing("rsa")}
	h.pass(publishBefore) // older than a shared key gets
	without := h.beside()
	without.keyRules(rotateEvery, publishBefore)
	for range 3 {
		h.pass(time.Minute)
		without.poll()
		without.keep()
	}
	h.poll()
	for application, kid := range before {
		if now := signing(application); now != kid {
			t.Errorf("%s: key %s was replaced by %s", application, kid, now)
		}
	}
}
