package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	_ "modernc.org/sqlite" // looks into the file that a killed process leaves
)

// ledger is what the broker acknowledged before it was killed.
type ledger struct {
	mu                sync.Mutex
	acknowledged      int
	keys, revoked     []string         // whole keys
	signedOut         []string         // tokens
	families          []map[string]any // the last answer of each
	before            []string         // refresh tokens that were used, and whose successors were used too
	enough            chan struct{}
	wanted            int
	enoughAcknowledge sync.Once
}

func newLedger(wanted int) *ledger { return &ledger{wanted: wanted, enough: make(chan struct{})} }

// note writes down one acknowledged change.
func (l *ledger) note(change func(l *ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
	if l.acknowledged++; l.acknowledged >= l.wanted {
		l.enoughAcknowledge.Do(func() { close(l.enough) })
	}
}

// ask is call for requests that may die with the process.
func ask(t testing.TB, method, address, body string, headers ...string) (answer, error) {
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := client().Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

var errKilled = errors.New("the process is gone")

// writeLoad changes things until the process is gone.
func (w *world) writeLoad(t testing.TB, owner string, l *ledger) {
	const asJSON = "application/json"
	family := w.logIn(local("lena"), "app").json(t)
	l.mu.Lock()
	mine := len(l.families)
	l.families = append(l.families, family)
	l.mu.Unlock()
	used := ""
	for i := 0; ; i++ {
		err := errors.Join(
			w.makeKey(t, owner, i%3 == 0, l),
			func() error {
				held, _ := family["refresh_token"].(string)
				a, err := ask(t, http.MethodPost, w.issuer+"/api/auth/refresh",
					fmt.Sprintf(`{"refresh_token":%q,"application":"app"}`, held), "Content-Type", asJSON)
				if err != nil || a.status != http.StatusOK {
					return errKilled
				}
				family = a.json(t)
				l.note(func(l *ledger) {
					l.families[mine] = family
					if used != "" {
						l.before = append(l.before, used)
					}
				})
				used = held
				return nil
			}(),
			w.comeAndGo(t, l),
		)
		if err != nil {
			return
		}
	}
}

// makeKey makes a key, and revokes it where asked to.
func (w *world) makeKey(t testing.TB, owner string, revoke bool, l *ledger) error {
	a, err := ask(t, http.MethodPost, w.issuer+"/api/auth/api-keys", `{"name":"load","application":"app"}`,
		"Content-Type", "application/json", "Authorization", "Bearer "+owner)
	if err != nil || a.status != http.StatusCreated {
		return errKilled
	}
	made := a.json(t)
	key, _ := made["key"].(string)
	if !revoke {
		l.note(func(l *ledger) { l.keys = append(l.keys, key) })
		return nil
	}
	id, _ := made["id"].(string)
	a, err = ask(t, http.MethodDelete, w.issuer+"/api/auth/api-keys/"+id, "", "Authorization", "Bearer "+owner)
	if err != nil || a.status/100 != 2 {
		return errKilled
	}
	l.note(func(l *ledger) { l.revoked = append(l.revoked, key) })
	return nil
}

// comeAndGo signs in and out.
func (w *world) comeAndGo(t testing.TB, l *ledger) error {
	a, err := ask(t, http.MethodPost, w.issuer+"/api/auth/login",
		fmt.Sprintf(`{"username":"omar","password":%q,"application":"app"}`, passwordOf("omar")), "Content-Type", "application/json")
	if err != nil || a.status != http.StatusOK {
		return errKilled
	}
	token, _ := a.json(t)["access_token"].(string)
	a, err = ask(t, http.MethodPost, w.issuer+"/api/auth/logout?application=app", "", "Authorization", "Bearer "+token)
	if err != nil || a.status/100 != 2 {
		return errKilled
	}
	l.note(func(l *ledger) { l.signedOut = append(l.signedOut, token) })
	return nil
}

// rounds is how often a process is killed; the long tier does it a hundred times.
func rounds() int {
	if os.Getenv("SALLYPORT_TEST_SWEEP") != "" {
		return 100
	}
	return 5
}

func TestREL01_AKilledProcessForgetsNothingItAcknowledged(t *testing.T) {
	w := newWorld(t, options{})
	for round := range rounds() {
		name := fmt.Sprintf("keeper-%d", round)
		w.command(passwordOf(name)+"\n", "user", "add", name, "--group", "viewer")
		l := newLedger(15 + 4*round%23)
		owner := w.token(local(name), "")
		var load sync.WaitGroup
		for range 3 {
			load.Go(func() { w.writeLoad(t, owner, l) })
		}
		<-l.enough
		if err := w.server.signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-w.server.done
		load.Wait()
		w.intact(t)
		w.serve()
		w.remembers(t, l)
		if t.Failed() {
			t.Fatalf("in round %d, after %d acknowledged changes", round, l.acknowledged)
		}
	}
}

// intact asks SQLite about the file that was left, and the file about contradictions.
func (w *world) intact(t testing.TB) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "data", "sallyport.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for query, want := range map[string]string{
		"PRAGMA integrity_check":                        "ok",
		"SELECT count(*) FROM pragma_foreign_key_check": "0",
		`SELECT count(*) FROM sessions c JOIN sessions p ON c.parent_id = p.id
		  WHERE c.ended_at IS NULL AND p.ended_at IS NOT NULL`: "0",
		`SELECT count(*) FROM refresh_tokens WHERE used_at IS NOT NULL AND successor_hash IS NULL`: "0",
		`SELECT count(*) FROM refresh_tokens u WHERE used_at IS NOT NULL
		  AND NOT EXISTS (SELECT 1 FROM refresh_tokens s WHERE s.hash = u.successor_hash)`: "0",
	} {
		var got string
		if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %s, %v", query, got, err)
		}
	}
}

// remembers holds the restarted process against what the killed one acknowledged.
func (w *world) remembers(t testing.TB, l *ledger) {
	t.Helper()
	opens := func(c credential) int {
		return get(t, w.issuer+"/api/auth/validate?application=app", c.header, c.value).status
	}
	for _, key := range l.keys {
		if status := opens(apiKey(key)); status != http.StatusOK {
			t.Errorf("an acknowledged key opens nothing: %d", status)
		}
	}
	for _, key := range l.revoked {
		if status := opens(apiKey(key)); status != http.StatusUnauthorized {
			t.Errorf("a revoked key is back: %d", status)
		}
	}
	for _, token := range l.signedOut {
		if status := opens(bearer(token)); status != http.StatusUnauthorized {
			t.Errorf("who signed out is back: %d", status)
		}
	}
	for _, family := range l.families {
		// The process may have died between its commit and its answer: then this is the predecessor, which gets the same
		// successor again.
		if a := w.tryRefresh(t, family); a.status != http.StatusOK {
			t.Errorf("an acknowledged refresh token: %d %s", a.status, a.body)
		}
	}
	for _, used := range l.before {
		if a := w.tryRefresh(t, map[string]any{"refresh_token": used}); a.status != http.StatusUnauthorized {
			t.Errorf("a refresh token that was used long ago: %d %s", a.status, a.body)
		}
	}
	w.token(local("lena"), "app")
}
