package storagetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

func aRevoked(id, session, application string, at time.Duration) sessions.RevokedToken {
	return sessions.RevokedToken{
		ID: id, SessionID: session, Application: application, RevokedAt: stored(after(at)),
		ExpiresAt: stored(after(time.Hour)),
	}
}

func revokedTokens(t *testing.T, open opener) {
	t.Run("a token is revoked once for each session, as long as it was told, and has a name", func(t *testing.T) {
		s := open(t)
		revoke := func(r sessions.RevokedToken) func(context.Context, broker.Tx) error {
			return func(ctx context.Context, tx broker.Tx) error { return tx.RevokeToken(ctx, r) }
		}
		update(t, s, revoke(aRevoked("t1", "s1", "app", 0)))
		refused(t, s, identity.ErrConflict, revoke(aRevoked("t1", "s1", "other", time.Second)))
		for _, session := range []string{"", "s2"} {
			update(t, s, revoke(aRevoked("t1", session, "other", time.Second)))
			refused(t, s, identity.ErrConflict, revoke(aRevoked("t1", session, "other", time.Second)))
		}
		longer := aRevoked("t1", "s1", "app", time.Minute)
		longer.ExpiresAt = stored(after(2 * time.Hour))
		update(t, s, revoke(longer))
		refused(t, s, identity.ErrConflict, revoke(aRevoked("t1", "s1", "app", 0)))
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			for session, at := range map[string]time.Duration{"s1": time.Hour, "s2": 0, "": 0} {
				got, err := tx.RevokedTokens(ctx, session, stored(after(at)))
				if err != nil {
					return err
				}
				same(t, got, []string{"t1"})
			}
			got, err := tx.RevokedTokens(ctx, "s1", stored(after(2*time.Hour)))
			same(t, len(got), 0)
			return err
		})
		refused(t, s, identity.ErrInvalid, revoke(aRevoked("", "s1", "app", 0)))
	})
	t.Run("those of a session and those of none are listed until they would have expired", func(t *testing.T) {
		s := open(t)
		short := aRevoked("short", "s1", "app", 0)
		short.ExpiresAt = stored(after(time.Minute))
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.RevokeToken(ctx, aRevoked("b", "s1", "app", 0)), tx.RevokeToken(ctx, short),
				tx.RevokeToken(ctx, aRevoked("a", "s1", "app", time.Second)),
				tx.RevokeToken(ctx, aRevoked("elsewhere", "s2", "app", 0)),
				tx.RevokeToken(ctx, aRevoked("loose", "", "", 0)))
		})
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			for _, list := range []struct {
				session string
				at      time.Duration
				want    []string
			}{
				{"s1", 0, []string{"a", "b", "short"}},
				{"s1", time.Minute, []string{"a", "b"}},
				{"s1", time.Hour, nil},
				{"", 0, []string{"loose"}},
				{"", time.Hour, nil},
				{"s3", 0, nil},
				{"\xff", 0, nil},
			} {
				got, err := tx.RevokedTokens(ctx, list.session, stored(after(list.at)))
				if err != nil {
					return err
				}
				same(t, slices.Sorted(slices.Values(got)), list.want)
			}
			return nil
		})
	})
}

// endSome ends a session and a key of each of two applications and revokes three tokens, a second apart, beside some
// that live and some that would have expired by themselves within a minute.
func endSome(t testing.TB, s broker.Store) {
	t.Helper()
	session := func(id, application string, life time.Duration) sessions.Session {
		one := aSession(id, "", "a1")
		one.Application, one.ExpiresAt = application, stored(after(life))
		return one
	}
	key := func(id, application string, life time.Duration) sessions.Key {
		k := aKey(id, "a1")
		k.Application, k.ExpiresAt = application, stored(after(life))
		return k
	}
	brief := aRevoked("t-brief", "s1", "app", 0)
	brief.ExpiresAt = stored(after(time.Minute))
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		end := func(id string, at time.Duration) error {
			_, err := tx.EndSession(ctx, id, "signed_out", after(at))
			return err
		}
		return must(
			tx.RevokeToken(ctx, brief), tx.RevokeToken(ctx, aRevoked("t-other", "s1", "other", 3*time.Second)),
			tx.RevokeToken(ctx, aRevoked("t-anybody", "", "", 2*time.Second)),
			tx.RevokeToken(ctx, aRevoked("t-app", "s1", "app", time.Second)),
			tx.CreateSession(ctx, session("s-app", "app", time.Hour), ""),
			tx.CreateSession(ctx, session("s-other", "other", time.Hour), ""),
			tx.CreateSession(ctx, session("s-brief", "app", time.Minute), ""),
			tx.CreateSession(ctx, session("s-live", "app", time.Hour), ""),
			end("s-app", 4*time.Second), end("s-other", 5*time.Second), end("s-brief", 0),
			tx.CreateKey(ctx, key("k-app", "app", time.Hour), "x"), tx.CreateKey(ctx, key("k-other", "other", time.Hour), "x"),
			tx.CreateKey(ctx, key("k-brief", "app", time.Minute), "x"), tx.CreateKey(ctx, key("k-live", "app", time.Hour), "x"),
			tx.EndKey(ctx, "a1", "k-app", "revoked", after(6*time.Second)),
			tx.EndKey(ctx, "a1", "k-other", "revoked", after(7*time.Second)),
			tx.EndKey(ctx, "a1", "k-brief", "revoked", now()),
		)
	})
}

func revocations(t *testing.T, open opener) {
	s := open(t)
	endSome(t, s)
	t.Run("each kind comes back with what applications need to know", func(t *testing.T) {
		entry := func(kind, id, account, application, reason string, at time.Duration) sessions.Revocation {
			return sessions.Revocation{
				Kind: kind, ID: id, AccountID: account, Application: application, At: stored(after(at)),
				ExpiresAt: stored(after(time.Hour)), Reason: reason,
			}
		}
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Revocations(ctx, "", time.Time{}, stored(after(time.Minute)), 10)
			same(t, got, []sessions.Revocation{
				entry("token", "t-app", "", "app", "revoked", time.Second),
				entry("token", "t-anybody", "", "", "revoked", 2*time.Second),
				entry("token", "t-other", "", "other", "revoked", 3*time.Second),
				entry("session", "s-app", "a1", "app", "signed_out", 4*time.Second),
				entry("session", "s-other", "a1", "other", "signed_out", 5*time.Second),
				entry("api_key", "k-app", "a1", "app", "revoked", 6*time.Second),
				entry("api_key", "k-other", "a1", "other", "revoked", 7*time.Second),
			})
			return err
		})
	})
	for _, list := range []struct {
		name, application string
		since, now        time.Duration
		limit             int
		want              []string
	}{
		{
			"an application sees its own and tokens that could be anybody's",
			"app", 0, time.Minute, 10,
			[]string{"t-app", "t-anybody", "s-app", "k-app"},
		},
		{"a stranger sees tokens that could be anybody's", "nobody", 0, time.Minute, 10, []string{"t-anybody"}},
		{
			"the list begins at since", "", 3 * time.Second, time.Minute, 10,
			[]string{"t-other", "s-app", "s-other", "k-app", "k-other"},
		},
		{"a session that ended at since is listed", "app", 4 * time.Second, time.Minute, 10, []string{"s-app", "k-app"}},
		{"nothing is listed before its time", "", 8 * time.Second, time.Minute, 10, nil},
		{
			"what has not expired yet is listed", "app", 0, time.Minute - time.Millisecond, 10,
			[]string{"k-brief", "s-brief", "t-brief", "t-app", "t-anybody", "s-app", "k-app"},
		},
		{"what has expired is not listed", "", 0, time.Hour, 10, nil},
		{"a limit is for each kind, oldest first", "", 0, time.Minute, 1, []string{"t-app", "s-app", "k-app"}},
		{"no limit is none", "", 0, time.Minute, 0, nil},
		{"a name that is no text has nothing", "\xff", 0, time.Minute, 10, nil},
	} {
		t.Run(list.name, func(t *testing.T) {
			view(t, s, func(ctx context.Context, tx broker.Tx) error {
				got, err := tx.Revocations(ctx, list.application, stored(after(list.since)), stored(after(list.now)), list.limit)
				var ids []string
				for _, r := range got {
					ids = append(ids, r.ID)
				}
				same(t, ids, list.want)
				return err
			})
		})
	}
	t.Run("SES-04 everything that ended with a session is listed", func(t *testing.T) {
		s := open(t)
		grow(t, s)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.EndSession(ctx, "mid", "signed_out", after(time.Second))
			return err
		})
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Revocations(ctx, "sallyport", now(), now(), 10)
			same(t, len(got), 2)
			return err
		})
	})
}

func aCutoff(kind sessions.CutoffKind, key string, at time.Duration) sessions.Cutoff {
	return sessions.Cutoff{Kind: kind, Key: key, At: stored(after(at))}
}

func putCutoff(c sessions.Cutoff) func(context.Context, broker.Tx) error {
	return func(ctx context.Context, tx broker.Tx) error { return tx.PutCutoff(ctx, c) }
}

func cutoffs(t *testing.T, open opener) {
	app := aCutoff(sessions.CutApplication, "app", 2*time.Second)
	listed := func(t *testing.T, s broker.Store, want ...sessions.Cutoff) {
		t.Helper()
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Cutoffs(ctx)
			same(t, got, want)
			return err
		})
	}
	finish := func(c sessions.Cutoff) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.FinishCutoff(ctx, c) }
	}
	t.Run("they come back as they were, oldest first", func(t *testing.T) {
		s := open(t)
		house, provider := aCutoff(sessions.CutEverything, "", 0), aCutoff(sessions.CutProvider, "app", time.Second)
		listed(t, s)
		for _, c := range []sessions.Cutoff{app, house, provider} {
			update(t, s, putCutoff(c))
		}
		listed(t, s, house, provider, app)
	})
	t.Run("one moves forward and never back", func(t *testing.T) {
		s := open(t)
		update(t, s, putCutoff(app))
		update(t, s, putCutoff(aCutoff(app.Kind, app.Key, time.Second)))
		listed(t, s, app)
		later := aCutoff(app.Kind, app.Key, time.Minute)
		update(t, s, putCutoff(later))
		listed(t, s, later)
	})
	t.Run("one is done, unless it was moved meanwhile", func(t *testing.T) {
		s := open(t)
		done, later := app, aCutoff(app.Kind, app.Key, time.Minute)
		done.Done = true
		update(t, s, putCutoff(app))
		update(t, s, finish(app))
		listed(t, s, done)
		update(t, s, putCutoff(app))
		listed(t, s, done)
		update(t, s, putCutoff(later))
		listed(t, s, later)
		for _, other := range []sessions.Cutoff{
			app, aCutoff(app.Kind, "unknown", time.Minute), aCutoff(sessions.CutProvider, app.Key, time.Minute),
		} {
			update(t, s, finish(other))
		}
		listed(t, s, later)
	})
	empty := open(t)
	for name, broken := range map[string]sessions.Cutoff{
		"an application without its name": aCutoff(sessions.CutApplication, "", 0),
		"a provider without its name":     aCutoff(sessions.CutProvider, "", 0),
		"a house with a name":             aCutoff(sessions.CutEverything, "app", 0),
		"a kind that there is not":        aCutoff("account", "a1", 0),
		"a name that is no text":          aCutoff(sessions.CutApplication, "\xff", 0),
		"nothing":                         {},
	} {
		t.Run("a cut-off of "+name+" is refused and ends nothing", func(t *testing.T) {
			for _, try := range []func(context.Context, broker.Tx) error{
				putCutoff(broken),
				func(ctx context.Context, tx broker.Tx) error {
					_, err := tx.SessionsCutOff(ctx, broken, 10)
					return err
				},
				func(ctx context.Context, tx broker.Tx) error { _, err := tx.KeysCutOff(ctx, broken, 10); return err },
				func(ctx context.Context, tx broker.Tx) error { _, err := tx.SessionsAhead(ctx, broken); return err },
				func(ctx context.Context, tx broker.Tx) error { _, err := tx.KeysAhead(ctx, broken); return err },
			} {
				refused(t, empty, identity.ErrInvalid, try)
			}
			listed(t, empty)
		})
	}
	cutOff(t, open)
}

// fillCut makes, for each of two applications at each of two providers, a session and a key from a second before the
// cut, from its very moment and from a second after; and one of each that ended.
func fillCut(t testing.TB, s broker.Store) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		var errs []error
		for _, application := range []string{"app", "other"} {
			for _, provider := range []string{"corp", "guests"} {
				for when, at := range map[string]time.Duration{"1before": -time.Second, "2at": 0, "3after": time.Second} {
					id := application + "-" + provider + "-" + when
					one, k := aSession(id, "", "a1"), aKey(id, "a1")
					one.Application, one.Provider, one.CreatedAt = application, provider, stored(after(at))
					k.Application, k.Provider, k.CreatedAt = application, provider, stored(after(at))
					errs = append(errs, tx.CreateSession(ctx, one, ""), tx.CreateKey(ctx, k, "x"))
				}
			}
		}
		over := aSession("over", "", "a1")
		over.Application = "app"
		errs = append(errs, tx.CreateSession(ctx, over, ""), tx.CreateKey(ctx, aKey("over", "a1"), "x"),
			tx.EndKey(ctx, "a1", "over", "revoked", now()))
		_, err := tx.EndSession(ctx, "over", "signed_out", now())
		return must(append(errs, err)...)
	})
}

func cutOff(t *testing.T, open opener) {
	s := open(t)
	fillCut(t, s)
	for _, cut := range []struct {
		name string
		cut  sessions.Cutoff
		want []string
	}{
		{
			"an application", aCutoff(sessions.CutApplication, "app", 0),
			[]string{"app-corp-1before", "app-corp-2at", "app-guests-1before", "app-guests-2at"},
		},
		{
			"a provider", aCutoff(sessions.CutProvider, "guests", 0),
			[]string{"app-guests-1before", "app-guests-2at", "other-guests-1before", "other-guests-2at"},
		},
		{
			"the house", aCutoff(sessions.CutEverything, "", 0),
			[]string{
				"app-corp-1before", "app-corp-2at", "app-guests-1before", "app-guests-2at", "other-corp-1before",
				"other-corp-2at", "other-guests-1before", "other-guests-2at",
			},
		},
		{"an application that nobody knows", aCutoff(sessions.CutApplication, "corp", 0), nil},
	} {
		t.Run("a cut-off of "+cut.name+" is about what began at or before it and lives", func(t *testing.T) {
			same(t, cutIDs(t, s, cut.cut, 100), cut.want)
			same(t, len(cutIDs(t, s, cut.cut, 1)), min(1, len(cut.want)))
			same(t, cutIDs(t, s, cut.cut, 0), []string(nil))
		})
	}
	ahead(t, s)
	t.Run("what was ended in a batch is not in the next", func(t *testing.T) {
		cut := aCutoff(sessions.CutApplication, "app", 0)
		var batches []int
		for {
			ids := cutIDs(t, s, cut, 3)
			if len(ids) == 0 {
				break
			}
			batches = append(batches, len(ids))
			update(t, s, func(ctx context.Context, tx broker.Tx) error {
				for _, id := range ids {
					_, err := tx.EndSession(ctx, id, "cut_off", now())
					if err := must(err, tx.EndKey(ctx, "a1", id, "cut_off", now())); err != nil {
						return err
					}
				}
				return nil
			})
		}
		same(t, batches, []int{3, 1})
	})
}

// ahead asks for what fillCut made after the moment.
func ahead(t *testing.T, s broker.Store) {
	for name, c := range map[string]struct {
		cut  sessions.Cutoff
		want []string
	}{
		"an application": {aCutoff(sessions.CutApplication, "app", 0), []string{"app-corp-3after", "app-guests-3after"}},
		"a provider":     {aCutoff(sessions.CutProvider, "guests", 0), []string{"app-guests-3after", "other-guests-3after"}},
		"the house": {
			aCutoff(sessions.CutEverything, "", 0),
			[]string{"app-corp-3after", "app-guests-3after", "other-corp-3after", "other-guests-3after"},
		},
		"an application, from the latest of them on":        {aCutoff(sessions.CutApplication, "app", time.Second), nil},
		"an application that is spelled like a provider":    {aCutoff(sessions.CutApplication, "corp", 0), nil},
		"a provider that is spelled like an application":    {aCutoff(sessions.CutProvider, "app", 0), nil},
		"the house, when nothing is as late as the cut-off": {aCutoff(sessions.CutEverything, "", time.Hour), nil},
	} {
		t.Run("REL-03 what began after a cut-off of "+name+" and lives is listed", func(t *testing.T) {
			view(t, s, func(ctx context.Context, tx broker.Tx) error {
				ids, err1 := tx.SessionsAhead(ctx, c.cut)
				keys, err2 := tx.KeysAhead(ctx, c.cut)
				var want []sessions.Key
				for _, id := range c.want {
					want = append(want, sessions.Key{ID: id, AccountID: "a1"})
				}
				same(t, ids, c.want)
				same(t, keys, want)
				return must(err1, err2)
			})
		})
	}
}

// cutIDs asks for sessions and keys, which fillCut gave the same names.
func cutIDs(t testing.TB, s broker.Store, c sessions.Cutoff, limit int) []string {
	t.Helper()
	var ids []string
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err1 := tx.SessionsCutOff(ctx, c, limit)
		cut, err2 := tx.KeysCutOff(ctx, c, limit)
		var want []sessions.Key
		for _, id := range got {
			want = append(want, sessions.Key{ID: id, AccountID: "a1"})
		}
		same(t, cut, want)
		ids = got
		return must(err1, err2)
	})
	return ids
}
