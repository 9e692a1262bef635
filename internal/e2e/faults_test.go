package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// load is many clients that do what clients do, and count what they got.
type load struct {
	all     sync.WaitGroup
	end     context.CancelFunc
	done    atomic.Int64
	mu      sync.Mutex
	trouble []string
}

// under begins a load of n clients, each of which runs do again and again.
func under(t testing.TB, n int, do func(client int) error) *load {
	ctx, end := context.WithCancel(t.Context())
	l := &load{end: end}
	for i := range n {
		l.all.Go(func() {
			for ctx.Err() == nil {
				if err := do(i); err != nil {
					l.mu.Lock()
					l.trouble = append(l.trouble, err.Error())
					l.mu.Unlock()
				}
				l.done.Add(1)
			}
		})
	}
	t.Cleanup(func() { end(); l.all.Wait() })
	return l
}

// more waits until so many more were done.
func (l *load) more(t testing.TB, w *world, n int64) {
	t.Helper()
	before := l.done.Load()
	w.server.wait(t, "the load to go on", func() error {
		if done := l.done.Load() - before; done < n {
			return fmt.Errorf("%d of %d", done, n)
		}
		return nil
	})
}

// over ends the load; nothing may have gone wrong.
func (l *load) over(t testing.TB) {
	t.Helper()
	l.end()
	l.all.Wait()
	if len(l.trouble) > 0 {
		t.Errorf("%d of %d went wrong, the first: %s", len(l.trouble), l.done.Load(), l.trouble[0])
	}
}

// family is a client that renews its token each time.
type family struct {
	refresh, access string
}

// renew asks for the next token; where that was too often within a minute, it signs in anew.
func (f *family) renew(t testing.TB, w *world) error {
	a, err := ask(t, http.MethodPost, w.issuer+"/api/auth/refresh",
		fmt.Sprintf(`{"refresh_token":%q,"application":"app"}`, f.refresh), "Content-Type", "application/json")
	if err != nil {
		return err
	}
	var in struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if a.status == http.StatusTooManyRequests {
		a = w.logIn(local("lena"), "app")
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("refresh: %d %s", a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &in); err != nil {
		return err
	}
	f.refresh, f.access = in.Refresh, in.Access
	return nil
}

// families signs n clients in.
func (w *world) families(n int) []*family {
	w.t.Helper()
	var all []*family
	for range n {
		in := w.logIn(local("lena"), "app").json(w.t)
		f := &family{}
		f.refresh, _ = in["refresh_token"].(string)
		f.access, _ = in["access_token"].(string)
		all = append(all, f)
	}
	return all
}

// validated asks whether a token opens its application.
func validated(t testing.TB, w *world, token string) error {
	a, err := ask(t, http.MethodGet, w.issuer+"/api/auth/validate?application=app", "", "Authorization", "Bearer "+token)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("validate: %d %s", a.status, a.body)
	}
	return nil
}

func TestREL02_TheDatabaseIsAwayForHalfAMinute(t *testing.T) {
	w := newWorld(t, options{cluster: true})
	in := w.families(1)[0]
	questions := map[string]func() int{
		"validate": func() int { return w.status(w.issuer+"/api/auth/validate?application=app", bearer(in.access)) },
		"forward-auth": func() int {
			return get(t, w.issuer+"/authz/nginx", "X-Original-Url", w.app+"/x", "X-Original-Method", "GET", "Authorization",
				"Bearer "+in.access).status
		},
		"keys": func() int { return w.status(w.issuer+"/.well-known/jwks.json", credential{"Accept", "*/*"}) },
		"login": func() int {
			return w.logIn(local("omar"), "app").status
		},
		"refresh": func() int {
			return call(t, http.MethodPost, w.issuer+"/api/auth/refresh", `{"refresh_token":"`+in.refresh+`","application":"app"}`,
				"Content-Type", "application/json").status
		},
		"logout": func() int {
			return call(t, http.MethodPost, w.issuer+"/api/auth/logout?application=app", "", "Authorization", "Bearer "+in.access).status
		},
	}
	for range 4 { // both processes know the token
		if err := errors.Join(validated(t, w, in.access)); err != nil {
			t.Fatal(err)
		}
	}
	w.cluster.database.Stop()
	gone := time.Now()
	const outage, cached = 30 * time.Second, 5 * time.Second
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	answered := map[string]int{}
	for now := range tick.C {
		since := now.Sub(gone)
		if since > outage {
			break
		}
		for name, question := range questions {
			status := question()
			if time.Since(gone) > since+2*time.Second { // it took long: which side of the five seconds it was on is not known
				continue
			}
			answered[name]++
			fromCache := name == "validate" || name == "forward-auth"
			switch {
			case name == "keys":
				if status != http.StatusOK {
					t.Errorf("%s: %d after %s", name, status, since)
				}
			case fromCache && since < cached-2*time.Second:
				if status/100 != 2 {
					t.Errorf("%s: %d after %s, though it was in the cache", name, status, since)
				}
			case fromCache && since <= cached+time.Second:
			case status != http.StatusServiceUnavailable:
				t.Errorf("%s: %d after %s", name, status, since)
			}
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("answered while the database was away: %v", answered)
	w.cluster.database.Start(t)
	for _, n := range w.cluster.nodes {
		n.wait(t, "a node to be back", func() error { return answers("http://"+n.operations+"/healthz/ready", http.StatusOK) })
	}
	for range 4 {
		if err := errors.Join(validated(t, w, in.access), in.renew(t, w)); err != nil {
			t.Error(err)
		}
	}
	w.token(local("omar"), "app")
	w.cluster.integrity(t)
}

func TestREL09_AProcessLeavesUnderLoadAndNobodyNotices(t *testing.T) {
	w := newWorld(t, options{cluster: true})
	stop := w.cluster.look(t)
	defer stop()
	in := w.families(6)
	l := under(t, len(in), func(i int) error {
		if i == 0 {
			if a := w.logIn(local("omar"), "app"); a.status != http.StatusOK {
				return fmt.Errorf("login: %d %s", a.status, a.body)
			}
			return nil
		}
		return errors.Join(in[i].renew(t, w), validated(t, w, in[i].access))
	})
	for range 2 { // one after the other, so that the last one is new
		l.more(t, w, 50)
		leaving := w.cluster.nodes[0]
		w.cluster.join(w)
		begun := time.Now()
		if code := leaving.end(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("it took %s to leave", took)
		}
		leaving.gone(t)
		w.cluster.drop(leaving)
		w.server = w.cluster.nodes[0].program
		w.operations = "http://" + w.cluster.nodes[0].operations
		l.more(t, w, 50)
	}
	l.over(t)
	w.token(local("omar"), "app")
	w.cluster.integrity(t)
}

// cachedKeys is an application that verifies tokens itself with keys that it fetched a while ago.
type cachedKeys struct {
	mu  sync.Mutex
	set jose.JSONWebKeySet
}

// fetch takes the keys once all processes publish the same: what signs next is published a day before, and they need a
// second to hear of it.
func (c *cachedKeys) fetch(t testing.TB, w *world) {
	t.Helper()
	var set jose.JSONWebKeySet
	w.server.wait(t, "all processes to publish the same keys", func() error {
		published := map[string]bool{}
		for _, n := range w.cluster.members() {
			published[get(t, n.at(w.issuer+"/.well-known/jwks.json"), "Host", host(w.issuer)).body] = true
		}
		if len(published) != 1 {
			return fmt.Errorf("%d different sets", len(published))
		}
		for body := range published {
			return json.Unmarshal([]byte(body), &set)
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = set
}

func (c *cachedKeys) verify(raw, issuer, audience string) (kid string, err error) {
	c.mu.Lock()
	set := c.set
	c.mu.Unlock()
	_, err = jwt.Parse(raw, func(token *jwt.Token) (any, error) {
		kid, _ = token.Header["kid"].(string)
		keys := set.Key(kid)
		if len(keys) != 1 {
			return nil, fmt.Errorf("there are %d keys %s in the cache", len(keys), kid)
		}
		return keys[0].Key, nil
	}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithLeeway(2*time.Second))
	return kid, err
}

func TestREL07_TheSigningKeyChangesUnderLoad(t *testing.T) {
	w := newWorld(t, options{cluster: true})
	cache := &cachedKeys{}
	cache.fetch(t, w)
	in := w.families(6)
	var kids sync.Map
	l := under(t, len(in), func(i int) error {
		if err := errors.Join(in[i].renew(t, w), validated(t, w, in[i].access)); err != nil {
			return err
		}
		kid, err := cache.verify(in[i].access, w.issuer, "app")
		kids.Store(kid, true)
		return err
	})
	for rotation := range 2 {
		l.more(t, w, 100)
		w.command("", "signing-key", "rotate", "--now")
		l.more(t, w, 100)
		w.server.wait(t, "tokens of the next key", func() error {
			seen := 0
			kids.Range(func(any, any) bool { seen++; return true })
			if seen != rotation+2 {
				return fmt.Errorf("they were signed with %d keys", seen)
			}
			return nil
		})
		cache.fetch(t, w) // the five minutes are over
	}
	l.over(t)
	w.token(local("omar"), "app")
	w.cluster.integrity(t)
}
