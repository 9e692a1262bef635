package storagetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/tokens"
)

// nasty are texts that break a statement made by gluing strings, or a careless encoding.
func nasty() map[string]string {
	return map[string]string{
		"quotes":       `'"` + "`" + `''""\'`,
		"a statement":  `'); DROP TABLE accounts; --`,
		"placeholders": `$1 ? ?1 :name @name %s %00`,
		"unicode":      "Zoë \u202e \U0001F511 日本語 e\u0301",
		"line ends":    "a\r\nb\tc\u2028",
		"json":         `{"a":["\u0000"]}`,
		"long":         strings.Repeat("ä'", 20000),
	}
}

func texts(t *testing.T, open opener) {
	for name, x := range nasty() {
		t.Run("STO-05 "+name+" in every text field comes back as it was", func(t *testing.T) { roundTrip(t, open(t), x) })
	}
	for name, x := range map[string]string{"NUL": "a\x00b", "broken UTF-8": "a\xff\xfeb"} {
		t.Run("STO-05 "+name+" in a key is refused when stored and not found when asked for", func(t *testing.T) {
			refuseKeys(t, open(t), x)
		})
		t.Run("STO-05 "+name+" in a text that is only shown is replaced", func(t *testing.T) { replaceShown(t, open(t), x) })
	}
}

func roundTrip(t *testing.T, s broker.Store, x string) {
	a := people.Account{
		ID: x, Username: x, UsernameKey: x, Name: x, Email: x, CreatedAt: stored(now()), Kind: people.AccountKind(x),
		Roles: []string{x},
	}
	l := people.LinkedIdentity{
		Provider: x, Subject: x, AccountID: x, UpstreamSession: x, Upstream: []byte(x), FetchedAt: stored(now()),
		Snapshot: identity.Identity{
			Provider: x, Subject: x, Username: x, Name: x, Email: x, Groups: []string{x},
			Attributes: map[string][]string{x: {x}},
		},
	}
	p := people.LocalPerson{
		Provider: x, Subject: x, Username: x, UsernameKey: x, Name: x, Email: x, Groups: []string{x}, PasswordHash: x,
	}
	g := people.ManualGrant{AccountID: x, Permission: x, GrantedBy: x, GrantedAt: stored(now())}
	one := sessions.Session{
		ID: x, Kind: sessions.Kind(x), State: sessions.State(x), AccountID: x, Provider: x, Subject: x, Application: x,
		AMR: []string{x}, ExpiresAt: stored(after(1)), EndReason: x, Address: x, UserAgent: x,
	}
	child := one
	child.ID, child.ParentID = x+"child", x
	c := sessions.Code{
		Purpose: sessions.Purpose(x), SessionID: x, AccountID: x, Application: x, Challenge: x, ExpiresAt: stored(after(1e9)),
	}
	k := sessions.Key{
		ID: x, Prefix: x, Name: x, State: sessions.State(x), AccountID: x, Provider: x, Subject: x, Application: x,
		Roles: []string{x}, EndReason: x,
	}
	sk := tokens.StoredKey{
		ID: x, Algorithm: tokens.Algorithm(x), State: tokens.KeyState(x), Private: []byte(x), Application: x,
	}
	e := audit.Event{
		Type: audit.Type(x), At: stored(now()), Outcome: audit.Outcome(x), Code: x, Actor: x, AccountID: x, Username: x,
		Provider: x, Application: x, SessionID: x, KeyID: x, Address: x, TraceID: x, Detail: map[string]string{x: x},
	}
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		job, err := tx.AcquireJob(ctx, x, x, now(), after(1))
		same(t, job, true)
		_, err2 := tx.Generation(ctx, x, now())
		return must(err, err2, tx.CreateAccount(ctx, a), tx.CreateIdentity(ctx, l), tx.CreateLocalPerson(ctx, p),
			tx.CreateGrant(ctx, g), tx.CreateSession(ctx, one, x), tx.CreateSession(ctx, child, ""), tx.PutCode(ctx, x, c),
			tx.CreateKey(ctx, k, x), tx.CreateSigningKey(ctx, sk), tx.Append(ctx, e), tx.Consume(ctx, x, now()),
			tx.Changed(ctx, broker.ChangeKind(x), now(), x), tx.PutSealedSetting(ctx, x, []byte(x)))
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		gotA, err1 := tx.AccountByName(ctx, x)
		gotL, err2 := tx.Identity(ctx, x, x)
		gotP, err3 := tx.LocalPerson(ctx, x, x)
		gotG, err4 := tx.Grants(ctx, x)
		gotS, err5 := tx.SessionByToken(ctx, x)
		gotC, err6 := tx.Session(ctx, child.ID)
		gotK, err7 := tx.KeyBySecret(ctx, x, x)
		gotSK, err8 := tx.SigningKeys(ctx)
		gotE, err9 := tx.Events(ctx, 0, 10)
		changes, err10 := tx.Changes(ctx, now())
		value, err11 := tx.SealedSetting(ctx, x)
		if err := must(err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, err11); err != nil {
			return err
		}
		e.ID = gotE[0].ID
		same(t, gotA, a)
		same(t, gotL, l)
		same(t, gotP, p)
		same(t, gotG, []people.ManualGrant{g})
		same(t, gotS, one)
		same(t, gotC, child)
		same(t, gotK, k)
		same(t, gotSK, []tokens.StoredKey{sk})
		same(t, gotE, []audit.Event{e})
		same(t, changes, []broker.Change{{Seq: changes[0].Seq, Kind: broker.ChangeKind(x), Key: x, At: stored(now())}})
		same(t, value, []byte(x))
		return nil
	})
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.TakeCode(ctx, sessions.Purpose(x), x, now())
		same(t, got, c)
		return err
	})
	roundTripLife(t, s, x)
}

// roundTripLife goes on with what issues, ends and counts; roundTrip made session and key x.
func roundTripLife(t *testing.T, s broker.Store, x string) {
	secret := aSecret("") + x
	r, dead, cut := aRefresh(x), aRevoked(x, x, x, 0), aCutoff(sessions.CutApplication, x, 0)
	r.TokenID = x
	f := people.Failure{Key: x, Scope: x, Label: x, Since: stored(now()), Until: stored(after(time.Hour))}
	v := sessions.Verification{ID: x, Code: x, AccountID: x, SessionID: x, ExpiresAt: stored(after(time.Hour))}
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		_, err := tx.Strike(ctx, f, 1)
		return must(err, tx.PutRefresh(ctx, secret, r), tx.RevokeToken(ctx, dead), tx.PutVerification(ctx, v),
			tx.PutCutoff(ctx, cut), tx.MoveSession(ctx, x, x, x+"moved"), tx.SucceedKey(ctx, x, x, x, now()))
	})
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err1 := tx.Refresh(ctx, secret)
		_, err2 := tx.TakeRefresh(ctx, secret, secret+"next", []byte(x), now())
		err3 := tx.PutRefresh(ctx, secret+"next", r)
		answer, err4 := tx.RefreshAnswer(ctx, secret)
		tried, err5 := tx.TryVerification(ctx, x, now(), 1)
		if err := must(err1, err2, err3, err4, err5); err != nil {
			return err
		}
		v.Tries = 1
		same(t, got, r)
		same(t, string(answer), x)
		same(t, tried, v)
		return nil
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		ids, err1 := tx.RevokedTokens(ctx, x, now())
		feed, err2 := tx.Revocations(ctx, x, now(), now(), 10)
		counted, err3 := tx.Failures(ctx, now(), "", 10)
		cuts, err4 := tx.Cutoffs(ctx)
		cutKeys, err5 := tx.KeysCutOff(ctx, cut, 10)
		k, err6 := tx.Key(ctx, x)
		f.Count = 1
		same(t, ids, []string{x})
		same(t, feed, []sessions.Revocation{{
			Kind: "token", ID: x, Application: x, At: dead.RevokedAt, ExpiresAt: dead.ExpiresAt, Reason: "revoked",
		}})
		same(t, counted, []people.Failure{f})
		same(t, cuts, []sessions.Cutoff{cut})
		same(t, cutKeys, []sessions.Key{{ID: x, AccountID: x}})
		same(t, k.Successor, x)
		return must(err1, err2, err3, err4, err5, err6)
	})
}

func refuseKeys(t *testing.T, s broker.Store, x string) {
	type step = func(ctx context.Context, tx broker.Tx) error
	named := func(set func(a *people.Account)) step {
		a := anAccount("a1")
		set(&a)
		return func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, a) }
	}
	for _, store := range []step{
		named(func(a *people.Account) { a.ID = x }),
		named(func(a *people.Account) { a.Username = x }),
		named(func(a *people.Account) { a.UsernameKey = x }),
		func(ctx context.Context, tx broker.Tx) error { return tx.CreateIdentity(ctx, anIdentity(x, "a1")) },
		func(ctx context.Context, tx broker.Tx) error { return tx.CreateLocalPerson(ctx, aLocal(x)) },
		func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateGrant(ctx, people.ManualGrant{Permission: x})
		},
		func(ctx context.Context, tx broker.Tx) error { return tx.CreateSession(ctx, aSession(x, "", "a1"), "") },
		func(ctx context.Context, tx broker.Tx) error { return tx.CreateSession(ctx, aSession("s", "", x), "") },
		func(ctx context.Context, tx broker.Tx) error {
			return tx.PutCode(ctx, "c", aCode(sessions.Setup, "", x))
		},
		func(ctx context.Context, tx broker.Tx) error { return tx.CreateKey(ctx, aKey(x, "a1"), "secret") },
		func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateSigningKey(ctx, aSigningKey(x, tokens.ES256, tokens.KeyNext))
		},
		func(ctx context.Context, tx broker.Tx) error {
			k := aSigningKey("k", tokens.ES256, tokens.KeyNext)
			k.Application = x
			return tx.CreateSigningKey(ctx, k)
		},
		named(func(a *people.Account) { a.Kind = people.AccountKind(x) }),
		func(ctx context.Context, tx broker.Tx) error { return tx.PutRefresh(ctx, aSecret("s"), aRefresh(x)) },
		func(ctx context.Context, tx broker.Tx) error { return tx.RevokeToken(ctx, aRevoked(x, "s1", "app", 0)) },
		func(ctx context.Context, tx broker.Tx) error { return tx.RevokeToken(ctx, aRevoked("t", x, "app", 0)) },
		func(ctx context.Context, tx broker.Tx) error { return tx.RevokeToken(ctx, aRevoked("t", "s1", x, 0)) },
		func(ctx context.Context, tx broker.Tx) error {
			return tx.PutVerification(ctx, aVerification(x, "s1", ""))
		},
		func(ctx context.Context, tx broker.Tx) error {
			return tx.PutVerification(ctx, aVerification("v", x, ""))
		},
		func(ctx context.Context, tx broker.Tx) error {
			return tx.PutVerification(ctx, aVerification("v", "", x))
		},
		func(ctx context.Context, tx broker.Tx) error { return tx.UseVerification(ctx, x, now()) },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Strike(ctx, aFailure(x, 0), 5); return err },
		func(ctx context.Context, tx broker.Tx) error { return tx.ActivateSession(ctx, x, "token") },
		func(ctx context.Context, tx broker.Tx) error { return tx.MoveSession(ctx, "s1", "192.0.2.7", x) },
		func(ctx context.Context, tx broker.Tx) error { return tx.ActivateKey(ctx, x, sessions.Pending) },
		func(ctx context.Context, tx broker.Tx) error { return tx.SucceedKey(ctx, "a1", "k1", x, now()) },
		func(ctx context.Context, tx broker.Tx) error { return tx.Consume(ctx, x, now()) },
		func(ctx context.Context, tx broker.Tx) error { return tx.Changed(ctx, broker.ChangeKey, now(), x) },
		func(ctx context.Context, tx broker.Tx) error { return tx.PutSealedSetting(ctx, x, nil) },
		func(ctx context.Context, tx broker.Tx) error { return tx.ReplaceSealedSetting(ctx, x, nil) },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Generation(ctx, x, now()); return err },
		func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.AcquireJob(ctx, x, x, now(), now())
			return err
		},
	} {
		refused(t, s, identity.ErrInvalid, store)
	}
	for _, ask := range []step{
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Account(ctx, x); return err },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.AccountByName(ctx, x); return err },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Identity(ctx, "corp", x); return err },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.LocalPerson(ctx, "local", x); return err },
		func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.LocalPersonBySubject(ctx, x, "p")
			return err
		},
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Session(ctx, x); return err },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.SessionByToken(ctx, x); return err },
		func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.TakeCode(ctx, sessions.Setup, x, now())
			return err
		},
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Key(ctx, x); return err },
		func(ctx context.Context, tx broker.Tx) error { return tx.EndKey(ctx, "a1", x, "revoked", now()) },
		func(ctx context.Context, tx broker.Tx) error { return tx.DeleteSigningKey(ctx, x) },
		func(ctx context.Context, tx broker.Tx) error { return tx.SetAccountRoles(ctx, x, nil) },
		func(ctx context.Context, tx broker.Tx) error { return tx.ClearFailure(ctx, x) },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.Refresh(ctx, x); return err },
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.RefreshAnswer(ctx, x); return err },
		tryVerification(x, 0, 1),
		func(ctx context.Context, tx broker.Tx) error { _, err := tx.SealedSetting(ctx, x); return err },
	} {
		refused(t, s, identity.ErrNotFound, ask)
	}
}

// replaceShown also holds that a strange name or browser does not keep somebody's refusal out of the audit.
func replaceShown(t *testing.T, s broker.Store, x string) {
	one, e, a, k := aSession("s1", "", "a1"), anEvent(1), anAccount("a1"), aKey("k1", "a1")
	f := aFailure("f", 0)
	one.UserAgent, one.Address, e.Username, a.Name, a.Email, k.Name, f.Label = x, x, x, x, x, x, x
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateAccount(ctx, a), tx.CreateSession(ctx, one, ""), tx.CreateKey(ctx, k, "secret"),
			tx.Append(ctx, e), strike(f, 1)(ctx, tx))
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		gotA, err1 := tx.Account(ctx, "a1")
		gotS, err2 := tx.Session(ctx, "s1")
		gotK, err3 := tx.Key(ctx, "k1")
		gotE, err4 := tx.Events(ctx, 0, 1)
		gotF, err5 := tx.Failures(ctx, now(), "", 1)
		for _, shown := range []string{
			gotA.Name, gotA.Email, gotS.UserAgent, gotS.Address, gotK.Name, gotE[0].Username, gotF[0].Label,
		} {
			same(t, shown, "a\uFFFDb")
		}
		return must(err1, err2, err3, err4, err5)
	})
}
