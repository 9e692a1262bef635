package storagetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/broker/sessions"
	"sallyport/identity"
	"sallyport/storage"
	"sallyport/storage/sqlstore"
	"sallyport/tokens"
)

// Kept is a store that can be copied, filled from a copy, and sealed again.
type Kept interface {
	broker.Store
	Backup(ctx context.Context, w io.Writer) (sqlstore.BackupInfo, error)
	Restore(ctx context.Context, r io.Reader, actor string) (sqlstore.Restored, error)
	Reseal(ctx context.Context, batch int) (int, error)
	SealedWith(ctx context.Context) (map[storage.KeyID]int, error)
	UseMasterKey(ctx context.Context, key *storage.MasterKey) error
}

// OpenKept returns a new, empty store with this master key each time it is called and closes it with the test.
type OpenKept func(t testing.TB, key *storage.MasterKey) Kept

// RunBackups holds what one engine backs up against what the same or another engine makes of it.
func RunBackups(t *testing.T, from, to OpenKept) {
	t.Run("what is kept comes back as it was", func(t *testing.T) { comesBack(t, from, to) })
	t.Run("nothing that was alive in a backup lives on", func(t *testing.T) { nothingLivesOn(t, from, to) })
	t.Run("STO-03 a signing key that others may have withdrawn does not sign again", func(t *testing.T) {
		signingKeysAreDropped(t, from, to)
	})
	t.Run("STO-04 no secret stands in a backup", func(t *testing.T) { noSecretInBackup(t, from) })
	t.Run("a backup under load is one consistent state", func(t *testing.T) { consistentBackup(t, from, to) })
	t.Run("a store that holds anything is not restored into", func(t *testing.T) { onlyIntoEmpty(t, from, to) })
	t.Run("a backup that is no good leaves the store empty", func(t *testing.T) { refusedBackups(t, from, to) })
}

// RunReseal holds changing the master key against the promise that nobody notices.
func RunReseal(t *testing.T, open OpenKept) {
	t.Run("STO-02 the master key changes under load", func(t *testing.T) { resealUnderLoad(t, open) })
	t.Run("STO-02 every sealed value is sealed again, once", func(t *testing.T) { resealAll(t, open) })
	t.Run("STO-02 a copy of the master key from before a change is not taken", func(t *testing.T) { behind(t, open) })
	t.Run("STO-02 a master key that does not open the store is not taken", func(t *testing.T) {
		s := open(t, masterKey(t))
		if err := s.UseMasterKey(t.Context(), masterKey(t)); !errors.Is(err, sqlstore.ErrWrongMasterKey) {
			t.Fatalf("got %v", err)
		}
		update(t, s, func(ctx context.Context, tx broker.Tx) error { return tx.PutSealedSetting(ctx, "n", []byte("v")) })
	})
}

func masterKey(t testing.TB) *storage.MasterKey {
	t.Helper()
	key, err := storage.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// changed applies a step of a rotation.
func changed(t testing.TB, step func() (*storage.MasterKey, error)) *storage.MasterKey {
	t.Helper()
	key, err := step()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func backup(t testing.TB, s Kept) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Backup(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(t testing.TB, s Kept, file []byte) sqlstore.Restored {
	t.Helper()
	done, err := s.Restore(t.Context(), bytes.NewReader(file), "cli")
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// issued are the secrets of a small house; each long enough not to be found by chance.
func issued() map[string]string {
	x := map[string]string{}
	for _, name := range []string{
		"session", "ended", "code", "key", "upstream", "private", "setting", "refresh", "successor", "answer", "confirmation",
	} {
		x[name] = "canary/" + name + "/5f0c3a9e+7b?d1-0123456789"
	}
	return x
}

// awkward is text that formats like to trip over.
const awkward = "Zoë \"quote\" \\ ' ; -- <&> \u2028\u2029 \U0001F600\n\ttab 𝔘"

// fill writes rows of every kind.
func fill(t testing.TB, s broker.Store, x map[string]string) {
	t.Helper()
	account := anAccount("a1")
	account.Name = awkward
	live, over := aSession("s1", "", "a1"), aSession("s2", "", "a1")
	pending := aKey("k2", "a1")
	pending.State = sessions.Pending
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		err := must(
			tx.CreateAccount(ctx, account),
			tx.CreateIdentity(ctx, people.LinkedIdentity{
				Provider: "corp", Subject: "s-a1", AccountID: "a1", Upstream: []byte(x["upstream"]), FetchedAt: stored(now()),
				CreatedAt: stored(now()), Generation: 1,
			}),
			tx.CreateIdentity(ctx, people.LinkedIdentity{Provider: "corp", Subject: "bare", AccountID: "a1", CreatedAt: stored(now())}),
			tx.CreateLocalPerson(ctx, people.LocalPerson{
				Provider: "local", Subject: "l1", Username: "ada", UsernameKey: "ada", Groups: []string{awkward}, PasswordHash: "$argon2id$",
			}),
			tx.CreateGrant(ctx, people.ManualGrant{AccountID: "a1", Permission: "broker:admin", GrantedBy: "cli", GrantedAt: stored(now())}),
			tx.CreateSession(ctx, live, x["session"]), tx.CreateSession(ctx, over, x["ended"]),
			tx.PutCode(ctx, x["code"], aCode(sessions.Setup, "s1", "a1")),
			tx.CreateKey(ctx, aKey("k1", "a1"), x["key"]), tx.CreateKey(ctx, pending, x["key"]), tx.CreateKey(ctx, aKey("k3", "a1"), x["key"]),
			tx.EndKey(ctx, "a1", "k3", "revoked", stored(now())),
			tx.CreateSigningKey(ctx, tokens.StoredKey{
				ID: "j1", Algorithm: tokens.ES256, State: tokens.KeyCurrent, Private: []byte(x["private"]), CreatedAt: stored(now()),
				Application: "device",
			}),
			tx.PutSealedSetting(ctx, "name", []byte(x["setting"])),
			tx.Consume(ctx, "assertion", after(time.Hour)),
			tx.PutRefresh(ctx, x["refresh"], sessions.Refresh{
				SessionID: "s1", TokenID: "t1", TokenExpiresAt: stored(after(time.Minute)), IssuedAt: stored(now()), ExpiresAt: stored(after(time.Hour)),
			}),
			tx.PutVerification(ctx, sessions.Verification{
				ID: "v1", Code: x["confirmation"], AccountID: "a1", KeyID: "k2", ExpiresAt: stored(after(time.Hour)),
			}),
			tx.RevokeToken(ctx, sessions.RevokedToken{ID: "t0", SessionID: "s1", RevokedAt: stored(now()), ExpiresAt: stored(after(time.Hour))}),
			tx.Append(ctx, anEvent(1)),
		)
		if err != nil {
			return err
		}
		_, err1 := tx.EndSession(ctx, "s2", "signed_out", stored(now()))
		_, err2 := tx.TakeRefresh(ctx, x["refresh"], x["successor"], []byte(x["answer"]), now())
		_, err3 := tx.Generation(ctx, "hash", now())
		return must(err1, err2, err3)
	})
}

func comesBack(t *testing.T, from, to OpenKept) {
	key, x := masterKey(t), issued()
	old, restored := from(t, key), to(t, key)
	fill(t, old, x)
	file := backup(t, old)
	done := restore(t, restored, file)
	checked, err := sqlstore.CheckBackup(bytes.NewReader(file), key)
	if err != nil {
		t.Fatal(err)
	}
	same(t, done.BackupInfo, checked)
	same(t, facts(t, restored), facts(t, old))
	view(t, restored, func(ctx context.Context, tx broker.Tx) error {
		linked, err1 := tx.Identity(ctx, "corp", "s-a1")
		same(t, string(linked.Upstream), x["upstream"])
		value, err2 := tx.SealedSetting(ctx, "name")
		same(t, string(value), x["setting"])
		over, err3 := tx.Session(ctx, "s2")
		same(t, over.EndReason, "signed_out")
		ended, err4 := tx.Key(ctx, "k3")
		same(t, ended.EndReason, "revoked")
		account, err5 := tx.Account(ctx, "a1")
		same(t, account.Name, awkward)
		return must(err1, err2, err3, err4, err5)
	})
	refused(t, restored, identity.ErrConflict, func(ctx context.Context, tx broker.Tx) error {
		return tx.Consume(ctx, "assertion", after(time.Hour))
	})
	told(t, restored, done)
}

// facts are what a restore leaves as it was.
func facts(t testing.TB, s broker.Store) []any {
	t.Helper()
	var all []any
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		accounts, err1 := tx.Accounts(ctx, "", 100)
		identities, err2 := tx.Identities(ctx, "a1")
		local, err3 := tx.LocalPerson(ctx, "local", "ada")
		grants, err4 := tx.Grants(ctx, "a1")
		signing, err5 := tx.SigningKeys(ctx)
		revoked, err6 := tx.RevokedTokens(ctx, "s1", now())
		events, err7 := tx.Events(ctx, 0, 100)
		events = slices.DeleteFunc(events, func(e audit.Event) bool { return e.Type == audit.StoreRestored })
		all = []any{accounts, identities, local, grants, signing, revoked, events}
		return must(err1, err2, err3, err4, err5, err6, err7)
	})
	return all
}

// told makes sure that the restored store says so itself.
func told(t testing.TB, s broker.Store, done sqlstore.Restored) {
	t.Helper()
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		events, err1 := tx.Events(ctx, 0, 100)
		i := slices.IndexFunc(events, func(e audit.Event) bool { return e.Type == audit.StoreRestored })
		if i < 0 || events[i].Actor != "cli" || events[i].Detail["rows"] != fmt.Sprint(done.Total()) {
			t.Errorf("event %d of %+v", i, events)
		}
		notices, err2 := tx.Changes(ctx, time.Time{})
		if !slices.ContainsFunc(notices, func(c broker.Change) bool { return c.Kind == broker.ChangeSigningKeys }) {
			t.Errorf("caches hear of %+v only", notices)
		}
		return must(err1, err2)
	})
}

func nothingLivesOn(t *testing.T, from, to OpenKept) {
	key, x := masterKey(t), issued()
	old, restored := from(t, key), to(t, key)
	fill(t, old, x)
	done := restore(t, restored, backup(t, old))
	same(t, []int64{done.SessionsEnded, done.CodesSpent, done.TokensDropped, done.KeysSuspended, done.KeysEnded},
		[]int64{1, 1, 1, 1, 1})
	view(t, restored, func(ctx context.Context, tx broker.Tx) error {
		session, err1 := tx.SessionByToken(ctx, x["session"])
		same(t, []string{string(session.State), session.EndReason}, []string{"ended", "restored"})
		alive, err2 := tx.Sessions(ctx, "a1", now())
		same(t, len(alive), 0)
		suspended, err3 := tx.Key(ctx, "k1")
		same(t, []any{suspended.State, suspended.EndedAt.IsZero()}, []any{sessions.Suspended, true})
		pending, err4 := tx.Key(ctx, "k2")
		same(t, []string{string(pending.State), pending.EndReason}, []string{"ended", "restored"})
		return must(err1, err2, err3, err4)
	})
	for name, try := range map[string]func(ctx context.Context, tx broker.Tx) error{
		"code": func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.TakeCode(ctx, sessions.Setup, x["code"], now())
			return err
		},
		"refresh token": func(ctx context.Context, tx broker.Tx) error { _, err := tx.Refresh(ctx, x["refresh"]); return err },
		"answer": func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.RefreshAnswer(ctx, x["refresh"])
			return err
		},
		"confirmation": func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.TryVerification(ctx, "v1", now(), 5)
			return err
		},
	} {
		if err := tryUpdate(t, restored, try); !errors.Is(err, identity.ErrNotFound) && !errors.Is(err, identity.ErrConflict) {
			t.Errorf("a %s of the backup: %v", name, err)
		}
	}
}

// signingKeysAreDropped, all but those that pinned applications have copies of.
func signingKeysAreDropped(t *testing.T, from, to OpenKept) {
	key := masterKey(t)
	old, restored := from(t, key), to(t, key)
	update(t, old, func(ctx context.Context, tx broker.Tx) error {
		var all []error
		for _, application := range []string{"", "device"} {
			for _, state := range []tokens.KeyState{tokens.KeyNext, tokens.KeyCurrent, tokens.KeyRetired} {
				all = append(all, tx.CreateSigningKey(ctx, tokens.StoredKey{
					ID: application + "-" + string(state), Algorithm: tokens.ES256, Application: application, State: state,
					Private: []byte("private"), CreatedAt: stored(now()),
				}))
			}
		}
		return must(all...)
	})
	done := restore(t, restored, backup(t, old))
	want := []sqlstore.PinnedKey{
		{ID: "device-current", Application: "device", State: tokens.KeyCurrent},
		{ID: "device-next", Application: "device", State: tokens.KeyNext},
	}
	same(t, done.PinnedKeys, want)
	same(t, done.SigningKeysDropped, int64(4))
	view(t, restored, func(ctx context.Context, tx broker.Tx) error {
		var left []sqlstore.PinnedKey
		all, err := tx.SigningKeys(ctx)
		for _, k := range all {
			left = append(left, sqlstore.PinnedKey{ID: k.ID, Application: k.Application, State: k.State})
		}
		slices.SortFunc(left, func(a, b sqlstore.PinnedKey) int { return strings.Compare(a.ID, b.ID) })
		same(t, left, want)
		return err
	})
}

// unzipped is a backup's text.
func unzipped(t testing.TB, file []byte) string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func noSecretInBackup(t *testing.T, open OpenKept) {
	key, x := masterKey(t), issued()
	s := open(t, key)
	fill(t, s, x)
	encoded, err := key.Encode()
	if err != nil {
		t.Fatal(err)
	}
	x["master key"] = encoded
	text := unzipped(t, backup(t, s))
	if !strings.Contains(text, "name-a1") || !strings.Contains(text, "broker:admin") {
		t.Fatal("the search does not find what is there")
	}
	for name, secret := range x {
		for form, spelled := range spellings(secret) {
			if strings.Contains(strings.ToLower(text), strings.ToLower(spelled)) {
				t.Errorf("%s stands in the backup as %s", name, form)
			}
		}
	}
}

// spellings of a secret; base64 at each of its three offsets, without the characters that neighbours change.
func spellings(secret string) map[string]string {
	forms := map[string]string{"raw": secret, "hex": hex.EncodeToString([]byte(secret))}
	for offset := range 3 {
		padded := strings.Repeat("\x00", offset) + secret
		for name, e := range map[string]*base64.Encoding{"std": base64.RawStdEncoding, "url": base64.RawURLEncoding} {
			s := e.EncodeToString([]byte(padded))
			forms[fmt.Sprint(name, offset)] = s[4 : len(s)-4]
		}
	}
	return forms
}

// busy runs work side by side until stop is called, which returns how often it was done.
func busy(t testing.TB, workers int, work func(worker, n int) error) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	done := make([]int, workers)
	for worker := range workers {
		wg.Go(func() {
			for ; ctx.Err() == nil; done[worker]++ {
				if err := work(worker, done[worker]); err != nil {
					t.Errorf("worker %d: %v", worker, err)
					return
				}
			}
		})
	}
	return func() int {
		cancel()
		wg.Wait()
		total := 0
		for _, n := range done {
			total += n
		}
		return total
	}
}

func consistentBackup(t *testing.T, from, to OpenKept) {
	key := masterKey(t)
	s := from(t, key)
	first := make(chan struct{})
	var once sync.Once
	stop := busy(t, 3, func(worker, n int) error {
		id := fmt.Sprint(worker, "-", n)
		err := tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error {
			return must(tx.CreateAccount(ctx, anAccount(id)),
				tx.CreateGrant(ctx, people.ManualGrant{AccountID: id, Permission: "p", GrantedBy: "cli", GrantedAt: stored(now())}),
				tx.Append(ctx, anEvent(n%1000)))
		})
		if n > 20 {
			once.Do(func() { close(first) })
		}
		return err
	})
	<-first
	var files [][]byte
	for range 5 {
		files = append(files, backup(t, s))
	}
	if stop() == 0 {
		t.Fatal("nobody wrote")
	}
	last := int64(0)
	for _, file := range files {
		info, err := sqlstore.CheckBackup(bytes.NewReader(file), key)
		if err != nil {
			t.Fatal(err)
		}
		a, g, e := info.Rows["accounts"], info.Rows["manual_grants"], info.Rows["audit_events"]
		if a < 20 || a != g || a != e || a < last {
			t.Errorf("%d accounts, %d grants, %d events after %d", a, g, e, last)
		}
		last = a
	}
	restored := to(t, key)
	same(t, restore(t, restored, files[4]).Rows["accounts"], last)
}

func onlyIntoEmpty(t *testing.T, from, to OpenKept) {
	key := masterKey(t)
	old := from(t, key)
	fill(t, old, issued())
	file := backup(t, old)
	for name, write := range map[string]func(ctx context.Context, tx broker.Tx) error{
		"an account":    func(ctx context.Context, tx broker.Tx) error { return tx.CreateAccount(ctx, anAccount("other")) },
		"a setting":     func(ctx context.Context, tx broker.Tx) error { return tx.PutSealedSetting(ctx, "other", []byte("x")) },
		"an event":      func(ctx context.Context, tx broker.Tx) error { return tx.Append(ctx, anEvent(1)) },
		"a consumed id": func(ctx context.Context, tx broker.Tx) error { return tx.Consume(ctx, "other", after(time.Hour)) },
		"a generation": func(ctx context.Context, tx broker.Tx) error {
			_, err := tx.Generation(ctx, "other", now())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := to(t, key)
			update(t, s, write)
			if _, err := s.Restore(t.Context(), bytes.NewReader(file), "cli"); !errors.Is(err, identity.ErrConflict) {
				t.Fatalf("got %v", err)
			}
			refused(t, s, identity.ErrNotFound, func(ctx context.Context, tx broker.Tx) error { _, err := tx.Account(ctx, "a1"); return err })
		})
	}
}

func refusedBackups(t *testing.T, from, to OpenKept) {
	key := masterKey(t)
	old := from(t, key)
	fill(t, old, issued())
	file := backup(t, old)
	s := to(t, key)
	refuse := func(name string, file []byte, want error) {
		t.Helper()
		if _, err := s.Restore(t.Context(), bytes.NewReader(file), "cli"); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if _, err := sqlstore.CheckBackup(bytes.NewReader(file), key); !errors.Is(err, want) {
			t.Errorf("%s, checked: got %v, want %v", name, err, want)
		}
		nothingThere(t, s)
	}
	for i := 1; i <= 10; i++ {
		refuse(fmt.Sprint("cut off at ", i, " tenths"), file[:len(file)*i/11], identity.ErrInvalid)
	}
	flipped := bytes.Clone(file)
	flipped[len(flipped)/2] ^= 1
	refuse("a flipped bit", flipped, identity.ErrInvalid)
	refuse("nothing", nil, identity.ErrInvalid)
	refuse("a second backup behind it", append(bytes.Clone(file), file...), identity.ErrInvalid)
	elsewhere := from(t, masterKey(t))
	refuse("a house with another master key", backup(t, elsewhere), sqlstore.ErrWrongMasterKey)
	restore(t, s, file) // it can still be restored into
}

func resealAll(t *testing.T, open OpenKept) {
	first, x := masterKey(t), issued()
	s := open(t, first)
	fill(t, s, x)
	for i := range 20 {
		update(t, s, func(ctx context.Context, tx broker.Tx) error {
			return tx.PutSealedSetting(ctx, fmt.Sprint("more/", i), []byte("v"))
		})
	}
	second := changed(t, changed(t, first.Add).Promote)
	use(t, s, second)
	before := sealedWith(t, s)
	same(t, before, map[storage.KeyID]int{primary(t, first): 25})
	n, err := s.Reseal(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	same(t, n, 25)
	if n, err := s.Reseal(t.Context(), 3); err != nil || n != 0 {
		t.Fatalf("again: %d, %v", n, err)
	}
	same(t, sealedWith(t, s), map[storage.KeyID]int{primary(t, second): 25})
	use(t, s, changed(t, second.DropOld))
	view(t, s, func(ctx context.Context, tx broker.Tx) error {
		linked, err1 := tx.Identity(ctx, "corp", "s-a1")
		same(t, string(linked.Upstream), x["upstream"])
		signing, err2 := tx.SigningKeys(ctx)
		same(t, string(signing[0].Private), x["private"])
		value, err3 := tx.SealedSetting(ctx, "name")
		same(t, string(value), x["setting"])
		return must(err1, err2, err3)
	})
	update(t, s, func(ctx context.Context, tx broker.Tx) error {
		v, err := tx.TryVerification(ctx, "v1", now(), 5)
		same(t, v.Code, x["confirmation"])
		return err
	})
	if _, err := s.Reseal(t.Context(), 0); !errors.Is(err, identity.ErrInvalid) {
		t.Fatalf("none at a time: %v", err)
	}
}

// behind is a server with a file that nobody copied the promoted key to. What it sealed until it was noticed opens again
// with the keys that were dropped.
func behind(t *testing.T, open OpenKept) {
	first := masterKey(t)
	s := open(t, first)
	fill(t, s, issued())
	added := changed(t, first.Add)
	use(t, s, added)
	second := changed(t, added.Promote)
	use(t, s, second)
	use(t, s, added) // may be taken back as long as nothing was sealed again
	use(t, s, second)
	if _, err := s.Reseal(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if err := s.UseMasterKey(t.Context(), added); !errors.Is(err, identity.ErrConflict) {
		t.Errorf("a copy from before promoting: %v", err)
	}
	if err := s.UseMasterKey(t.Context(), first); !errors.Is(err, sqlstore.ErrWrongMasterKey) {
		t.Errorf("a copy from before adding: %v", err)
	}
	use(t, s, changed(t, second.DropOld))
	use(t, s, changed(t, func() (*storage.MasterKey, error) { return changed(t, second.DropOld).AddOld(first) }))
}

func use(t testing.TB, s Kept, key *storage.MasterKey) {
	t.Helper()
	if err := s.UseMasterKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func sealedWith(t testing.TB, s Kept) map[storage.KeyID]int {
	t.Helper()
	counts, err := s.SealedWith(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func primary(t testing.TB, key *storage.MasterKey) storage.KeyID {
	t.Helper()
	keys, err := key.Keys()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Primary {
			return k.ID
		}
	}
	t.Fatal("no primary key")
	return 0
}

// resealUnderLoad has people come and go through the whole change.
func resealUnderLoad(t *testing.T, open OpenKept) {
	first := masterKey(t)
	s := open(t, first)
	fill(t, s, issued())
	round := make(chan struct{})
	work := func(worker, n int) error {
		subject := fmt.Sprint("w", worker, "-", n%50)
		value := fmt.Sprint("value ", worker, " ", n)
		err := tryUpdate(t, s, func(ctx context.Context, tx broker.Tx) error {
			if n < 50 {
				return tx.CreateIdentity(ctx, people.LinkedIdentity{
					Provider: "load", Subject: subject, AccountID: "a1", Upstream: []byte(value), CreatedAt: stored(now()),
				})
			}
			return tx.UpdateIdentity(ctx, people.LinkedIdentity{Provider: "load", Subject: subject, AccountID: "a1", Upstream: []byte(value)})
		})
		if err != nil {
			return err
		}
		err = s.View(t.Context(), func(tx broker.Tx) error {
			got, err := tx.Identity(t.Context(), "load", subject)
			if err == nil && string(got.Upstream) != value {
				return fmt.Errorf("got %q, want %q", got.Upstream, value)
			}
			return err
		})
		select {
		case round <- struct{}{}:
		default:
		}
		return err
	}
	stop := busy(t, 4, work)
	for range 250 {
		<-round
	}
	added := changed(t, first.Add)
	use(t, s, added)
	second := changed(t, added.Promote)
	use(t, s, second)
	if _, err := s.Reseal(t.Context(), 7); err != nil {
		t.Error(err)
	}
	counts := sealedWith(t, s)
	if counts[primary(t, first)] > 0 {
		t.Errorf("sealed with the old key: %v", counts)
	}
	use(t, s, changed(t, second.DropOld))
	for range 50 {
		<-round
	}
	stop()
	if diff := cmp.Diff([]storage.KeyID{primary(t, second)}, slices.Collect(maps.Keys(sealedWith(t, s)))); diff != "" {
		t.Errorf("keys in use:\n%s", diff)
	}
}
