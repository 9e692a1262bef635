package storagetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
)

func accounts(t *testing.T, open opener) {
	t.Run("an account comes back as it was, times in UTC and whole milliseconds", func(t *testing.T) {
		s := open(t)
		a := anAccount("a1")
		a.CreatedAt, a.SignedInAt, a.Disabled = now(), after(time.Minute), true
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, a) })
		a.CreatedAt, a.SignedInAt = stored(a.CreatedAt), stored(a.SignedInAt)
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			byID, err1 := tx.Account(ctx, "a1")
			byName, err2 := tx.AccountByName(ctx, "name-a1")
			same(t, byID, a)
			same(t, byName, a)
			same(t, byID.CreatedAt.Location().String(), "UTC")
			return must(err1, err2)
		})
	})
	t.Run("an account that never signed in has no such time", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, anAccount("a1")) })
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			a, err := tx.Account(ctx, "a1")
			same(t, a, anAccount("a1"))
			return err
		})
	})
	t.Run("unknown accounts are not found", func(t *testing.T) {
		s := open(t)
		for _, look := range []func(ctx context.Context, tx broker.Tx) error{
			func(ctx context.Context, tx broker.Tx) error { _, err := tx.Account(ctx, "a1"); return err },
			func(ctx context.Context, tx broker.Tx) error { _, err := tx.AccountByName(ctx, "name-a1"); return err },
			func(ctx context.Context, tx broker.Tx) error { return tx.UpdateAccount(ctx, anAccount("a1")) },
		} {
			refused(t, s, identity.ErrNotFound, look)
		}
	})
	t.Run("an id and a name are given once", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, anAccount("a1")) })
		sameID, sameName := anAccount("a2"), anAccount("a2")
		sameID.ID, sameName.UsernameKey = "a1", "name-a1"
		for _, a := range []people.Account{sameID, sameName} {
			refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
				return tx.CreateAccount(ctx, a)
			})
		}
	})
	t.Run("an update leaves id, name and creation alone", func(t *testing.T) { updateAccount(t, open(t)) })
	t.Run("the list goes by name in pages", func(t *testing.T) { accountPages(t, open(t)) })
}

func updateAccount(t *testing.T, s broker.Store) {
	changed := anAccount("a1")
	changed.Username, changed.UsernameKey, changed.CreatedAt = "other", "other", stored(after(time.Hour))
	changed.Name, changed.Email, changed.EmailVerified, changed.Disabled = "New", "new@example.org", false, true
	changed.SignedInAt = stored(after(2 * time.Hour))
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateAccount(ctx, anAccount("a1")), tx.UpdateAccount(ctx, changed))
	})
	want := changed
	want.Username, want.UsernameKey, want.CreatedAt = "Name-a1", "name-a1", stored(now())
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.Account(ctx, "a1")
		same(t, got, want)
		return err
	})
}

func accountPages(t *testing.T, s broker.Store) {
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateAccount(ctx, anAccount("c")), tx.CreateAccount(ctx, anAccount("a")),
			tx.CreateAccount(ctx, anAccount("b")))
	})
	page := func(ctx context.Context, tx broker.Tx, after string, limit int) []string {
		list, err := tx.Accounts(ctx, after, limit)
		if err != nil {
			t.Error(err)
		}
		var ids []string
		for _, a := range list {
			ids = append(ids, a.ID)
		}
		return ids
	}
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		same(t, page(ctx, tx, "", 2), []string{"a", "b"})
		same(t, page(ctx, tx, "name-b", 2), []string{"c"})
		same(t, page(ctx, tx, "name-c", 2), []string(nil))
		same(t, page(ctx, tx, "", 0), []string(nil))
		same(t, page(ctx, tx, "", -1), []string(nil))
		return nil
	})
}

func serviceAccounts(t *testing.T, open opener) {
	robot := anAccount("robot")
	robot.Kind, robot.Roles = people.ServiceAccount, []string{"reader", "Räte"}
	filled := func(t *testing.T) broker.Store {
		s := open(t)
		plain := anAccount("a1")
		plain.Kind = ""
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateAccount(ctx, robot), tx.CreateAccount(ctx, plain))
		})
		return s
	}
	is := func(t *testing.T, s broker.Store, want people.Account) {
		t.Helper()
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			byID, err1 := tx.Account(ctx, want.ID)
			byName, err2 := tx.AccountByName(ctx, want.UsernameKey)
			same(t, byID, want)
			same(t, byName, want)
			return must(err1, err2)
		})
	}
	set := func(id string, roles ...string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.SetAccountRoles(ctx, id, roles) }
	}
	t.Run("a service comes back as it was, and an account of no kind is a person's", func(t *testing.T) {
		s := filled(t)
		is(t, s, robot)
		is(t, s, anAccount("a1"))
	})
	t.Run("its roles are replaced and can be none", func(t *testing.T) {
		s := filled(t)
		want := robot
		for _, roles := range [][]string{{"writer"}, nil} {
			update(t, s, set("robot", roles...))
			want.Roles = roles
			is(t, s, want)
		}
	})
	t.Run("no other account has roles of its own", func(t *testing.T) {
		s := filled(t)
		for _, id := range []string{"a1", "unknown", "", "\xff"} {
			refused(t, s, identity.ErrNotFound, set(id, "writer"))
		}
		is(t, s, anAccount("a1"))
	})
	t.Run("an update leaves kind and roles alone", func(t *testing.T) {
		s := filled(t)
		changed, want := robot, robot
		changed.Kind, changed.Roles, changed.Name = people.PersonAccount, nil, "New"
		want.Name = "New"
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.UpdateAccount(ctx, changed) })
		is(t, s, want)
	})
}

func anIdentity(subject, account string) people.LinkedIdentity {
	return people.LinkedIdentity{
		Provider: "corp", Subject: subject, AccountID: account,
		Snapshot: identity.Identity{
			Provider: "corp", Subject: subject, Username: "u", Name: "N", Email: "e@example.org", EmailVerified: true,
			Groups:     []string{"CN=Admins,OU=Groups,DC=example", "b"},
			Attributes: map[string][]string{"department": {"Audit", "Räte"}}, AuthTime: stored(now()), AMR: []string{"pwd"},
		},
		UpstreamSession: "sid-1", Upstream: []byte{0, 1, 2, 0xff}, FetchedAt: stored(now()), Generation: 3,
		CreatedAt: stored(now()),
	}
}

func identities(t *testing.T, open opener) {
	withAccount := func(t *testing.T) broker.Store {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, anAccount("a1")) })
		return s
	}
	t.Run("an identity comes back as it was", func(t *testing.T) {
		s := withAccount(t)
		l := anIdentity("s1", "a1")
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateIdentity(ctx, l) })
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Identity(ctx, "corp", "s1")
			same(t, got, l)
			return err
		})
	})
	t.Run("an identity without groups, memory and times stays so", func(t *testing.T) {
		s := withAccount(t)
		l := people.LinkedIdentity{Provider: "corp", Subject: "s1", AccountID: "a1", CreatedAt: stored(now())}
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateIdentity(ctx, l) })
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.Identity(ctx, "corp", "s1")
			same(t, got, l)
			return err
		})
	})
	t.Run("8,000 groups are kept", func(t *testing.T) { manyGroups(t, withAccount(t)) })
	t.Run("an identity opens one account only", func(t *testing.T) {
		s := withAccount(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateAccount(ctx, anAccount("a2")), tx.CreateIdentity(ctx, anIdentity("s1", "a1")))
		})
		refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateIdentity(ctx, anIdentity("s1", "a2"))
		})
	})
	t.Run("an identity needs an account", func(t *testing.T) {
		refused(t, open(t), identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateIdentity(ctx, anIdentity("s1", "nobody"))
		})
	})
	t.Run("unknown identities are not found", func(t *testing.T) {
		s := withAccount(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateIdentity(ctx, anIdentity("s1", "a1")) })
		for _, look := range []func(ctx context.Context, tx broker.Tx) error{
			func(ctx context.Context, tx broker.Tx) error { _, err := tx.Identity(ctx, "other", "s1"); return err },
			func(ctx context.Context, tx broker.Tx) error { _, err := tx.Identity(ctx, "corp", "S1"); return err },
			func(ctx context.Context, tx broker.Tx) error { return tx.UpdateIdentity(ctx, anIdentity("s2", "a1")) },
		} {
			refused(t, s, identity.ErrNotFound, look)
		}
	})
	t.Run("an update rewrites what upstream said and nothing else", func(t *testing.T) {
		updateIdentity(t, withAccount(t))
	})
	t.Run("the list of an account is oldest first", func(t *testing.T) { identityList(t, withAccount(t)) })
}

func manyGroups(t *testing.T, s broker.Store) {
	l := anIdentity("s1", "a1")
	l.Snapshot.Groups = nil
	for i := range 8000 {
		l.Snapshot.Groups = append(l.Snapshot.Groups, fmt.Sprintf("CN=Group %04d,OU=\"Größe\";Groups,DC=example,DC=org", i))
	}
	update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateIdentity(ctx, l) })
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.Identity(ctx, "corp", "s1")
		same(t, got.Snapshot.Groups, l.Snapshot.Groups)
		return err
	})
}

func updateIdentity(t *testing.T, s broker.Store) {
	changed := anIdentity("s1", "elsewhere")
	changed.Snapshot.Groups, changed.Upstream, changed.UpstreamSession = []string{"new"}, []byte("rotated"), "sid-2"
	changed.FetchedAt, changed.Generation, changed.CreatedAt = stored(after(time.Hour)), 4, stored(after(time.Hour))
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateIdentity(ctx, anIdentity("s1", "a1")), tx.UpdateIdentity(ctx, changed))
	})
	want := changed
	want.AccountID, want.CreatedAt = "a1", stored(now())
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.Identity(ctx, "corp", "s1")
		same(t, got, want)
		return err
	})
	changed.Upstream = nil
	update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.UpdateIdentity(ctx, changed) })
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.Identity(ctx, "corp", "s1")
		same(t, got.Upstream, []byte(nil))
		return err
	})
}

func identityList(t *testing.T, s broker.Store) {
	older, newer := anIdentity("z", "a1"), anIdentity("b", "a1")
	newer.CreatedAt = stored(after(time.Second))
	foreign := anIdentity("c", "a2")
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateAccount(ctx, anAccount("a2")), tx.CreateIdentity(ctx, newer), tx.CreateIdentity(ctx, older),
			tx.CreateIdentity(ctx, foreign))
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.Identities(ctx, "a1")
		same(t, got, []people.LinkedIdentity{older, newer})
		return err
	})
}

func aLocal(subject string) people.LocalPerson {
	return people.LocalPerson{
		Provider: "local", Subject: subject, Username: "Name-" + subject, UsernameKey: "name-" + subject, Name: "N",
		Email: "e@example.org", EmailVerified: true, Groups: []string{"staff", "räte"},
		PasswordHash: "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA", PasswordSetAt: stored(now()),
	}
}

func localPeople(t *testing.T, open opener) {
	t.Run("a person comes back as they were", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateLocalPerson(ctx, aLocal("p1")) })
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			byName, err1 := tx.LocalPerson(ctx, "local", "name-p1")
			bySubject, err2 := tx.LocalPersonBySubject(ctx, "local", "p1")
			same(t, byName, aLocal("p1"))
			same(t, bySubject, aLocal("p1"))
			return must(err1, err2)
		})
	})
	t.Run("a name is taken once within its provider", func(t *testing.T) {
		s := open(t)
		elsewhere, twice, again := aLocal("p1"), aLocal("p2"), aLocal("p1")
		elsewhere.Provider, twice.UsernameKey, again.UsernameKey = "local2", "name-p1", "name-p3"
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateLocalPerson(ctx, aLocal("p1")), tx.CreateLocalPerson(ctx, elsewhere))
		})
		for _, p := range []people.LocalPerson{twice, again} {
			refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
				return tx.CreateLocalPerson(ctx, p)
			})
		}
	})
	t.Run("strangers are not found", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateLocalPerson(ctx, aLocal("p1")) })
		for _, look := range []func(ctx context.Context, tx broker.Tx) error{
			func(ctx context.Context, tx broker.Tx) error {
				_, err := tx.LocalPerson(ctx, "x", "name-p1")
				return err
			},
			func(ctx context.Context, tx broker.Tx) error {
				_, err := tx.LocalPersonBySubject(ctx, "local", "p2")
				return err
			},
			func(ctx context.Context, tx broker.Tx) error {
				return tx.SetLocalPassword(ctx, "local", "p2", "h", "", now())
			},
			func(ctx context.Context, tx broker.Tx) error {
				return tx.SetLocalPassword(ctx, "local", "p2", "h", "old", now())
			},
			func(ctx context.Context, tx broker.Tx) error { return tx.SetLocalGroups(ctx, "local", "p2", nil) },
		} {
			refused(t, s, identity.ErrNotFound, look)
		}
	})
	t.Run("groups are replaced and can be none", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateLocalPerson(ctx, aLocal("p1")), tx.SetLocalGroups(ctx, "local", "p1", []string{}))
		})
		want := aLocal("p1")
		want.Groups = nil
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.LocalPersonBySubject(ctx, "local", "p1")
			same(t, got, want)
			return err
		})
	})
	t.Run("a password is set, and swapped only while the old one stands", func(t *testing.T) { passwords(t, open(t)) })
	t.Run("CON-01 of 50 swaps of one password one wins", func(t *testing.T) {
		s := open(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.CreateLocalPerson(ctx, aLocal("p1")) })
		wins := atOnce(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx, i int) error {
			return tx.SetLocalPassword(ctx, "local", "p1", fmt.Sprint("hash", i), aLocal("p1").PasswordHash, now())
		})
		same(t, wins, 1)
	})
}

func passwords(t *testing.T, s broker.Store) {
	later := stored(after(time.Hour))
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		return must(tx.CreateLocalPerson(ctx, aLocal("p1")), tx.SetLocalPassword(ctx, "local", "p1", "one", "", now()),
			tx.SetLocalPassword(ctx, "local", "p1", "two", "one", later))
	})
	refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
		return tx.SetLocalPassword(ctx, "local", "p1", "three", "one", now())
	})
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.LocalPersonBySubject(ctx, "local", "p1")
		want := aLocal("p1")
		want.PasswordHash, want.PasswordSetAt = "two", later
		same(t, got, want)
		return err
	})
}

// atOnce runs fn in 50 transactions at the same time and counts those that succeed; every other must end with the
// wanted refusal.
func atOnce(t testing.TB, s broker.Store, refusal error, fn func(ctx context.Context, tx broker.Tx, i int) error) int {
	t.Helper()
	const takers = 50
	var wins atomic.Int32
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range takers {
		wg.Go(func() {
			<-begin
			err := tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error { return fn(ctx, tx, i) })
			countWin(t, &wins, err, refusal)
		})
	}
	close(begin)
	wg.Wait()
	return int(wins.Load())
}
