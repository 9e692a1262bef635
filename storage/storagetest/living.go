package storagetest

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

// page is one question to a list of what lives, and the ids it is answered with.
type page struct {
	name   string
	filter sessions.Filter
	want   []string
}

func liveSessions(t *testing.T, open opener) {
	at := stored(after(40 * time.Minute))
	s := open(t)
	fillLiving(t, s, at)
	for _, p := range []page{
		{"all", sessions.Filter{Limit: 10}, []string{"b", "c", "d", "patient"}},
		{"those of an application", sessions.Filter{Application: "app", Limit: 10}, []string{"c", "d"}},
		{"those of a provider", sessions.Filter{Provider: "guests", Limit: 10}, []string{"b", "d"}},
		{"those of both", sessions.Filter{Application: "app", Provider: "guests", Limit: 10}, []string{"d"}},
		{"a first page", sessions.Filter{Limit: 2}, []string{"b", "c"}},
		{"a next page", sessions.Filter{After: "c", Limit: 2}, []string{"d", "patient"}},
		{"a page after the last", sessions.Filter{After: "patient", Limit: 2}, nil},
		{"an empty page", sessions.Filter{}, nil},
		{"those of nobody", sessions.Filter{Application: "corp", Limit: 10}, nil},
		{"those of a name that is no text", sessions.Filter{Provider: "\xff", Limit: 10}, nil},
	} {
		t.Run("the list has "+p.name+", by id", func(t *testing.T) {
			view(t, s, func(ctx context.Context, tx broker.Tx) error {
				list, err := tx.LiveSessions(ctx, p.filter, at)
				var ids []string
				for _, one := range list {
					ids = append(ids, one.ID)
					same(t, one.Live(at), true)
				}
				same(t, ids, p.want)
				return err
			})
		})
	}
	t.Run("those listed come back as they were", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateSession(ctx, aSession("s1", "", "a1"), "token")
		})
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.LiveSessions(ctx, sessions.Filter{Limit: 1}, now())
			same(t, got, []sessions.Session{aSession("s1", "", "a1")})
			return err
		})
	})
}

// fillLiving makes four sessions that live at a moment and one of each kind that does not.
func fillLiving(t testing.TB, s broker.Store, at time.Time) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		var errs []error
		for _, name := range []string{"d", "c", "b", "patient", "a-pending", "c-idle", "c-expired", "c-over"} {
			one := aSession(name, "", "a1")
			one.LastSeenAt = at
			switch name {
			case "b":
				one.Provider = "guests"
			case "c":
				one.Application = "app"
			case "d":
				one.Application, one.Provider = "app", "guests"
			case "patient":
				one.LastSeenAt, one.IdleTimeout = stored(now()), 0
			case "a-pending":
				one.State = sessions.Pending
			case "c-idle":
				one.LastSeenAt = at.Add(-one.IdleTimeout)
			case "c-expired":
				one.ExpiresAt = at
			}
			errs = append(errs, tx.CreateSession(ctx, one, ""))
		}
		_, err := tx.EndSession(ctx, "c-over", "signed_out", now())
		return must(append(errs, err)...)
	})
}

func activating(t *testing.T, open opener) {
	pending := func(t *testing.T) broker.Store {
		s := open(t)
		one := aSession("s1", "", "a1")
		one.State = sessions.Pending
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateSession(ctx, one, "former"), tx.CreateSession(ctx, aSession("s2", "", "a1"), "taken"))
		})
		return s
	}
	activate := func(id, token string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.ActivateSession(ctx, id, token) }
	}
	opens := func(token string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.SessionByToken(ctx, token)
			if err == nil {
				same(t, got, aSession("s1", "", "a1"))
			}
			return err
		}
	}
	t.Run("SES-02 a pending session becomes active under a new cookie, and its old one is dead", func(t *testing.T) {
		s := pending(t)
		update(t, s, activate("s1", "new"))
		view(t, s, opens("new"))
		refused(t, s, identity.ErrNotFound, opens("former"))
		refused(t, s, identity.ErrConflict, activate("s1", "newer"))
		view(t, s, opens("new"))
	})
	t.Run("a session that no cookie opens becomes active without one", func(t *testing.T) {
		s := pending(t)
		update(t, s, activate("s1", ""))
		refused(t, s, identity.ErrNotFound, opens("former"))
		refused(t, s, identity.ErrNotFound, opens(""))
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Session(ctx, "s1")
			same(t, got.State, sessions.Active)
			return err
		})
	})
	t.Run("a session that ended while it was pending stays so", func(t *testing.T) {
		s := pending(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.EndSession(ctx, "s1", "signed_out", now())
			return err
		})
		for _, id := range []string{"s1", "s2", "unknown"} {
			refused(t, s, identity.ErrConflict, activate(id, "new"))
		}
	})
	t.Run("a cookie that opens another session is a conflict and activates nothing", func(t *testing.T) {
		s := pending(t)
		refused(t, s, identity.ErrConflict, activate("s1", "taken"))
		update(t, s, activate("s1", "new"))
	})
	t.Run("CON-01 of 50 who activate one session one does", func(t *testing.T) {
		same(t, atOnce(t, pending(t), identity.ErrConflict, func(ctx context.Context, tx broker.Tx, i int) error {
			return tx.ActivateSession(ctx, "s1", fmt.Sprint("new", i))
		}), 1)
	})
}

func moving(t *testing.T, open opener) {
	filled := func(t *testing.T) broker.Store {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateSession(ctx, aSession("s1", "", "a1"), "token")
		})
		return s
	}
	move := func(id, from, to string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.MoveSession(ctx, id, from, to) }
	}
	t.Run("a session moves from where it is, and nothing else about it changes", func(t *testing.T) {
		s := filled(t)
		update(t, s, move("s1", "192.0.2.7", "2001:db8::7"))
		refused(t, s, identity.ErrConflict, move("s1", "192.0.2.7", "2001:db8::7"))
		refused(t, s, identity.ErrConflict, move("s1", "192.0.2.7", "198.51.100.1"))
		refused(t, s, identity.ErrConflict, move("unknown", "192.0.2.7", "198.51.100.1"))
		want := aSession("s1", "", "a1")
		want.Address = "2001:db8::7"
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.SessionByToken(ctx, "token")
			same(t, got, want)
			return err
		})
		update(t, s, move("s1", "2001:db8::7", "192.0.2.7"))
	})
	t.Run("a session that ended moves nowhere", func(t *testing.T) {
		s := filled(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.EndSession(ctx, "s1", "signed_out", now())
			return err
		})
		refused(t, s, identity.ErrConflict, move("s1", "192.0.2.7", "2001:db8::7"))
	})
	t.Run("CON-01 of 50 who see a session move one notes it", func(t *testing.T) {
		same(t, atOnce(t, filled(t), identity.ErrConflict, func(ctx context.Context, tx broker.Tx, _ int) error {
			return move("s1", "192.0.2.7", "2001:db8::7")(ctx, tx)
		}), 1)
	})
}

func liveKeys(t *testing.T, open opener) {
	s := open(t)
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		var errs []error
		for _, id := range []string{"d", "c", "b", "a", "expired", "over"} {
			k := aKey(id, "a1")
			if id == "b" || id == "d" {
				k.Application = "other"
			}
			if id == "c" || id == "d" {
				k.State = sessions.Suspended
			}
			if id == "expired" {
				k.ExpiresAt = stored(after(30 * time.Minute))
			}
			errs = append(errs, tx.CreateKey(ctx, k, "x"))
		}
		return must(append(errs, tx.EndKey(ctx, "a1", "over", "revoked", now()))...)
	})
	for _, p := range []page{
		{"all", sessions.Filter{Limit: 10}, []string{"a", "b", "c", "d"}},
		{"those of an application", sessions.Filter{Application: "other", Limit: 10}, []string{"b", "d"}},
		{"those in a state", sessions.Filter{State: sessions.Suspended, Limit: 10}, []string{"c", "d"}},
		{"those of both", sessions.Filter{Application: "other", State: sessions.Suspended, Limit: 10}, []string{"d"}},
		{"a first page", sessions.Filter{Limit: 3}, []string{"a", "b", "c"}},
		{"a next page", sessions.Filter{After: "c", Limit: 3}, []string{"d"}},
		{"a page after the last", sessions.Filter{After: "d", Limit: 3}, nil},
		{"an empty page", sessions.Filter{}, nil},
		{"those in a state that none is in", sessions.Filter{State: sessions.Ended, Limit: 10}, nil},
		{"those of a name that is no text", sessions.Filter{Application: "a\x00", Limit: 10}, nil},
	} {
		t.Run("the list has "+p.name+", by id", func(t *testing.T) {
			view(t, s, func(ctx context.Context, tx broker.Tx) error {
				list, err := tx.LiveKeys(ctx, p.filter, stored(after(30*time.Minute)))
				var ids []string
				for _, k := range list {
					ids = append(ids, k.ID)
				}
				same(t, ids, p.want)
				return err
			})
		})
	}
}

func limitedKeys(t *testing.T, open opener) {
	full := aKey("k1", "a1")
	full.Networks = []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("::/0"),
	}
	full.ReadOnly, full.Requests, full.Per = true, 250, 90*time.Second
	full.ExpiresAt = sessions.Never()
	full.State = sessions.Pending
	t.Run("networks, limits and an end that never comes are kept", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateKey(ctx, full, "x") })
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			one, err1 := tx.Key(ctx, "k1")
			own, err2 := tx.Keys(ctx, "a1")
			live, err3 := tx.LiveKeys(ctx, sessions.Filter{Limit: 1}, sessions.Never().Add(-time.Millisecond))
			same(t, one, full)
			same(t, own, []sessions.Key{full})
			same(t, live, []sessions.Key{full})
			return must(err1, err2, err3)
		})
	})
	t.Run("a network that is none is refused, before it opens everything or nothing", func(t *testing.T) {
		broken := aKey("k1", "a1")
		broken.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), {}}
		refused(t, open(t), identity.ErrInvalid, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateKey(ctx, broken, "x")
		})
	})
	t.Run("KEY-03 a key is activated from the state it is in, once", func(t *testing.T) { activateKey(t, open) })
}

func activateKey(t *testing.T, open opener) {
	activate := func(id string, from sessions.State) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.ActivateKey(ctx, id, from) }
	}
	s := open(t)
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		var errs []error
		for id, state := range map[string]sessions.State{
			"pending": sessions.Pending, "suspended": sessions.Suspended, "over": sessions.Pending, "crowd": sessions.Pending,
		} {
			k := aKey(id, "a1")
			k.State = state
			errs = append(errs, tx.CreateKey(ctx, k, "x"))
		}
		return must(append(errs, tx.EndKey(ctx, "a1", "over", "revoked", now()))...)
	})
	refused(t, s, identity.ErrConflict, activate("pending", sessions.Suspended))
	refused(t, s, identity.ErrConflict, activate("suspended", sessions.Pending))
	for _, id := range []string{"pending", "suspended"} {
		update(t, s, activate(id, sessions.State(id)))
		refused(t, s, identity.ErrConflict, activate(id, sessions.State(id)))
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Key(ctx, id)
			same(t, got, aKey(id, "a1"))
			return err
		})
	}
	for _, from := range []sessions.State{sessions.Pending, sessions.Ended} {
		refused(t, s, identity.ErrConflict, activate("over", from))
		refused(t, s, identity.ErrConflict, activate("unknown", from))
	}
	same(t, atOnce(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx, _ int) error {
		return activate("crowd", sessions.Pending)(ctx, tx)
	}), 1)
}

func succession(t *testing.T, open opener) {
	filled := func(t *testing.T) broker.Store {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateKey(ctx, aKey("k1", "a1"), "x"), tx.CreateKey(ctx, aKey("over", "a1"), "x"),
				tx.EndKey(ctx, "a1", "over", "revoked", now()))
		})
		return s
	}
	succeed := func(account, id, successor string, until time.Duration) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error {
			return tx.SucceedKey(ctx, account, id, successor, after(until))
		}
	}
	ends := func(t *testing.T, s broker.Store, successor string, at time.Duration) {
		t.Helper()
		want := aKey("k1", "a1")
		want.Successor, want.ExpiresAt = successor, stored(after(at))
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.KeyBySecret(ctx, "k1", "x")
			same(t, got, want)
			return err
		})
	}
	t.Run("KEY-02 a key has one successor and ends soon after", func(t *testing.T) {
		s := filled(t)
		update(t, s, succeed("a1", "k1", "k2", time.Minute))
		ends(t, s, "k2", time.Minute)
		refused(t, s, identity.ErrConflict, succeed("a1", "k1", "k3", 2*time.Minute))
		refused(t, s, identity.ErrConflict, succeed("a1", "k1", "k2", time.Second))
		ends(t, s, "k2", time.Minute)
	})
	t.Run("KEY-02 a successor gives its predecessor no more time than it had", func(t *testing.T) {
		s := filled(t)
		update(t, s, succeed("a1", "k1", "k2", 24*time.Hour))
		ends(t, s, "k2", time.Hour)
	})
	t.Run("only the owner's living keys have successors", func(t *testing.T) {
		s := filled(t)
		for _, try := range [][2]string{{"a2", "k1"}, {"", "k1"}, {"a1", "over"}, {"a1", "unknown"}} {
			refused(t, s, identity.ErrConflict, succeed(try[0], try[1], "k2", time.Minute))
		}
		refused(t, s, identity.ErrInvalid, succeed("a1", "k1", "", time.Minute))
		ends(t, s, "", time.Hour)
	})
	t.Run("CON-01 of 50 who replace one key one does", func(t *testing.T) {
		same(t, atOnce(t, filled(t), identity.ErrConflict, func(ctx context.Context, tx broker.Tx, i int) error {
			return tx.SucceedKey(ctx, "a1", "k1", fmt.Sprint("next", i), after(time.Minute))
		}), 1)
	})
}
