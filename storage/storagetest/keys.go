package storagetest

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/tokens"
)

func keys(t *testing.T, open opener) {
	filled := func(t *testing.T) broker.Store {
		s := open(t)
		newer := aKey("k2", "a1")
		newer.CreatedAt = stored(after(time.Second))
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateKey(ctx, aKey("k1", "a1"), "secret1"), tx.CreateKey(ctx, newer, "secret2"),
				tx.CreateKey(ctx, aKey("k3", "a2"), "secret3"))
		})
		return s
	}
	bySecret := func(id, secret string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { _, err := tx.KeyBySecret(ctx, id, secret); return err }
	}
	t.Run("a key comes back as it was, by id and with its secret", func(t *testing.T) {
		view(t, filled(t), func(ctx context.Context, tx broker.Tx) error {
			byID, err1 := tx.Key(ctx, "k1")
			got, err2 := tx.KeyBySecret(ctx, "k1", "secret1")
			same(t, byID, aKey("k1", "a1"))
			same(t, got, aKey("k1", "a1"))
			return must(err1, err2)
		})
	})
	t.Run("an unknown id and a wrong secret are not found alike", func(t *testing.T) {
		s := filled(t)
		for _, try := range [][2]string{
			{"k1", "secret2"},
			{"k1", ""},
			{"k1", "secret1 "},
			{"k4", "secret1"},
			{"K1", "secret1"},
			{"", ""},
			{"k\x001", "secret1"},
		} {
			refused(t, s, identity.ErrNotFound, bySecret(try[0], try[1]))
		}
		refused(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.Key(ctx, "k4")
			return err
		})
	})
	t.Run("an id is given once and a secret is never empty", func(t *testing.T) {
		s := filled(t)
		refused(t, s, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateKey(ctx, aKey("k1", "a2"), "x")
		})
		refused(t, s, identity.ErrInvalid, func(ctx context.Context, tx broker.Tx) error {
			return tx.CreateKey(ctx, aKey("k9", "a2"), "")
		})
	})
	t.Run("a key is ended by its owner, once, and can still be looked at", func(t *testing.T) { endKey(t, filled(t)) })
	t.Run("SES-05 all keys of an account end at once", func(t *testing.T) {
		s := filled(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			ended, err1 := tx.EndKeys(ctx, "a1", "disabled", now())
			again, err2 := tx.EndKeys(ctx, "a1", "disabled", now())
			slices.Sort(ended)
			same(t, ended, []string{"k1", "k2"})
			same(t, again, []string(nil))
			return must(err1, err2)
		})
		same(t, keyIDs(t, s, "a1"), []string(nil))
		same(t, keyIDs(t, s, "a2"), []string{"k3"})
	})
	t.Run("being used moves forward only", func(t *testing.T) {
		s := filled(t)
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.TouchKeys(ctx, map[string]time.Time{"k1": after(time.Minute), "k3": now(), "unknown": now()}),
				tx.TouchKeys(ctx, map[string]time.Time{"k1": now(), "\xff": now()}))
		})
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			k1, err1 := tx.Key(ctx, "k1")
			k2, err2 := tx.Key(ctx, "k2")
			same(t, k1.LastUsedAt, stored(after(time.Minute)))
			same(t, k2.LastUsedAt, time.Time{})
			return must(err1, err2)
		})
	})
}

func endKey(t *testing.T, s broker.Store) {
	same(t, keyIDs(t, s, "a1"), []string{"k2", "k1"})
	end := func(account, id string) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error {
			return tx.EndKey(ctx, account, id, "revoked", after(time.Minute))
		}
	}
	refused(t, s, identity.ErrNotFound, end("a2", "k1"))
	refused(t, s, identity.ErrNotFound, end("a1", "k9"))
	update(t, s, end("a1", "k1"))
	refused(t, s, identity.ErrNotFound, end("a1", "k1"))
	same(t, keyIDs(t, s, "a1"), []string{"k2"})
	want := aKey("k1", "a1")
	want.State, want.EndedAt, want.EndReason = sessions.Ended, stored(after(time.Minute)), "revoked"
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		got, err := tx.KeyBySecret(ctx, "k1", "secret1")
		same(t, got, want)
		return err
	})
}

func keyIDs(t testing.TB, s broker.Store, account string) []string {
	t.Helper()
	var ids []string
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		ids = nil // fn may run again
		list, err := tx.Keys(ctx, account)
		for _, k := range list {
			ids = append(ids, k.ID)
		}
		return err
	})
	return ids
}

func aSigningKey(id string, a tokens.Algorithm, s tokens.KeyState) tokens.StoredKey {
	return tokens.StoredKey{
		ID: id, Algorithm: a, State: s, Private: []byte{0x30, 0, 0xff, 'k'}, CreatedAt: stored(now()),
	}
}

func signingKeys(t *testing.T, open opener) {
	create := func(k tokens.StoredKey) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error { return tx.CreateSigningKey(ctx, k) }
	}
	set := func(id string, s tokens.KeyState) func(context.Context, broker.Tx) error {
		return func(ctx context.Context, tx broker.Tx) error {
			return tx.SetSigningKeyState(ctx, id, s, after(time.Minute))
		}
	}
	t.Run("keys come back as they were, oldest first", func(t *testing.T) {
		s := open(t)
		old, young := aSigningKey("z", tokens.ES256, tokens.KeyRetired), aSigningKey("a", tokens.ES256, tokens.KeyNext)
		old.CurrentAt, old.RetiredAt = stored(after(time.Second)), stored(after(time.Minute))
		young.CreatedAt = stored(after(time.Hour))
		update(t, s, create(young))
		update(t, s, create(old))
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.SigningKeys(ctx)
			same(t, got, []tokens.StoredKey{old, young})
			return err
		})
	})
	t.Run("an algorithm has one next and one current key, and many retired", func(t *testing.T) {
		s := open(t)
		for _, state := range []tokens.KeyState{tokens.KeyNext, tokens.KeyCurrent} {
			update(t, s, create(aSigningKey("es-"+string(state), tokens.ES256, state)))
			update(t, s, create(aSigningKey("ed-"+string(state), tokens.EdDSA, state)))
			refused(t, s, identity.ErrConflict, create(aSigningKey("second", tokens.ES256, state)))
		}
		update(t, s, create(aSigningKey("r1", tokens.ES256, tokens.KeyRetired)))
		update(t, s, create(aSigningKey("r2", tokens.ES256, tokens.KeyRetired)))
		refused(t, s, identity.ErrConflict, create(aSigningKey("r2", tokens.RS256, tokens.KeyNext)))
	})
	t.Run("each application may have keys of its own, and one of them in each state", func(t *testing.T) {
		s := open(t)
		of := func(id, application string, state tokens.KeyState) tokens.StoredKey {
			k := aSigningKey(id, tokens.ES256, state)
			k.Application = application
			return k
		}
		for _, state := range []tokens.KeyState{tokens.KeyNext, tokens.KeyCurrent} {
			for _, application := range []string{"", "app", "other"} {
				update(t, s, create(of(application+string(state), application, state)))
				refused(t, s, identity.ErrConflict, create(of("second", application, state)))
			}
		}
		refused(t, s, identity.ErrConflict, set("appnext", tokens.KeyCurrent))
		update(t, s, set("othercurrent", tokens.KeyRetired))
		update(t, s, set("othernext", tokens.KeyCurrent))
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.SigningKeys(ctx)
			same(t, len(got), 6)
			want := of("appcurrent", "app", tokens.KeyCurrent)
			same(t, got[slices.IndexFunc(got, func(k tokens.StoredKey) bool { return k.ID == want.ID })], want)
			return err
		})
	})
	t.Run("STO-03 of 50 processes that start together one makes the key", func(t *testing.T) {
		same(t, atOnce(t, open(t), identity.ErrConflict, func(ctx context.Context, tx broker.Tx, i int) error {
			return tx.CreateSigningKey(ctx, aSigningKey("k"+strconv.Itoa(i), tokens.ES256, tokens.KeyCurrent))
		}), 1)
	})
	t.Run("a key moves on and never back", func(t *testing.T) {
		s := open(t)
		update(t, s, create(aSigningKey("k", tokens.ES256, tokens.KeyNext)))
		refused(t, s, identity.ErrConflict, set("k", tokens.KeyNext))
		update(t, s, set("k", tokens.KeyCurrent))
		refused(t, s, identity.ErrConflict, set("k", tokens.KeyNext))
		update(t, s, set("k", tokens.KeyRetired))
		refused(t, s, identity.ErrConflict, set("k", tokens.KeyCurrent))
		refused(t, s, identity.ErrNotFound, set("unknown", tokens.KeyCurrent))
		want := aSigningKey("k", tokens.ES256, tokens.KeyRetired)
		want.CurrentAt, want.RetiredAt = stored(after(time.Minute)), stored(after(time.Minute))
		view(t, s, func(ctx context.Context, tx broker.Tx) error {
			got, err := tx.SigningKeys(ctx)
			same(t, got, []tokens.StoredKey{want})
			return err
		})
	})
	t.Run("a second current key is a conflict until the first has retired", func(t *testing.T) {
		s := open(t)
		update(t, s, create(aSigningKey("old", tokens.ES256, tokens.KeyCurrent)))
		update(t, s, create(aSigningKey("new", tokens.ES256, tokens.KeyNext)))
		refused(t, s, identity.ErrConflict, set("new", tokens.KeyCurrent))
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(set("old", tokens.KeyRetired)(ctx, tx), set("new", tokens.KeyCurrent)(ctx, tx))
		})
	})
	t.Run("only a retired key goes", func(t *testing.T) {
		s := open(t)
		del := func(ctx context.Context, tx broker.Tx) error { return tx.DeleteSigningKey(ctx, "k") }
		update(t, s, create(aSigningKey("k", tokens.ES256, tokens.KeyCurrent)))
		refused(t, s, identity.ErrConflict, del)
		update(t, s, set("k", tokens.KeyRetired))
		update(t, s, del)
		refused(t, s, identity.ErrNotFound, del)
	})
	t.Run("a key without its private part is refused", func(t *testing.T) {
		k := aSigningKey("k", tokens.ES256, tokens.KeyNext)
		k.Private = nil
		refused(t, open(t), identity.ErrInvalid, create(k))
	})
}
