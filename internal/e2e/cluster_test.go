package e2e

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/testenv"
)

// node is one process of a house.
type node struct {
	*program
	address, operations string // host:port
	// ready says what the front knows of it.
	ready atomic.Bool
	took  atomic.Int64 // requests that it got
}

// at is an address of the issuer's, at this process.
func (n *node) at(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	u.Host = n.address
	return u.String()
}

// cluster is a PostgreSQL server, processes of one house on it, and a front under the issuer's address that sends each
// request to another process than the one before, as long as they are ready.
type cluster struct {
	t        testing.TB
	issuer   string
	database *testenv.PostgresServer
	turn     atomic.Uint64
	mu       sync.Mutex
	nodes    []*node // replaced, never changed
}

func newCluster(w *world, port int) *cluster {
	w.t.Helper()
	c := &cluster{t: w.t, issuer: w.issuer, database: testenv.Postgres(w.t)}
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		w.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       c.send,
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { _ = server.Serve(l); close(done) }()
	w.t.Cleanup(func() { _ = server.Close(); <-done })
	return c
}

// send leaves a request as it came, for the next process that is ready.
func (c *cluster) send(r *httputil.ProxyRequest) {
	next := c.next()
	next.took.Add(1)
	r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", next.address, r.In.Host
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := r.In.Header.Values(name); v != nil {
			r.Out.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
}

func (c *cluster) next() *node {
	all, n := c.members(), c.turn.Add(1)
	for i := range uint64(len(all)) {
		if candidate := all[(n+i)%uint64(len(all))]; candidate.ready.Load() {
			return candidate
		}
	}
	return all[0]
}

func (c *cluster) members() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes
}

// drop forgets a process that is gone.
func (c *cluster) drop(gone *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == gone })
}

// look asks the processes whether they are ready ten times a second, as what stands before several processes does.
func (c *cluster) look(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for _, n := range c.members() {
				n.ready.Store(answers("http://"+n.operations+"/healthz/ready", http.StatusOK) == nil)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// serve starts two processes and waits until both are ready.
func (c *cluster) serve(w *world) {
	w.t.Helper()
	for range 2 {
		c.join(w)
	}
	w.server = c.nodes[0].program
	w.operations = "http://" + c.nodes[0].operations
}

// join starts one more process.
func (c *cluster) join(w *world) *node {
	w.t.Helper()
	n := &node{
		address:    fmt.Sprintf("127.0.0.1:%d", testenv.Port(w.t)),
		operations: fmt.Sprintf("127.0.0.1:%d", testenv.Port(w.t)),
	}
	env := append(w.secrets(), "SALLYPORT_SERVER_LISTEN="+n.address, "SALLYPORT_SERVER_OPERATIONS_LISTEN="+n.operations)
	n.program = start(w.t, w.dir, env, "serve", "--config", w.file)
	n.wait(w.t, "readiness of a node", func() error { return answers("http://"+n.operations+"/healthz/ready", http.StatusOK) })
	n.ready.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(slices.Clone(c.nodes), n)
	return n
}

// alternated fails the test unless both processes got their half of at least so many requests since then.
func (c *cluster) alternated(t *testing.T, least int64) {
	t.Helper()
	one, two := c.nodes[0].took.Load(), c.nodes[1].took.Load()
	if d := one - two; d < -1 || d > 1 || one+two < least {
		t.Errorf("the processes got %d and %d requests", one, two)
	}
}

// end stops a process as an operator would.
func (n *node) end(t testing.TB) int {
	t.Helper()
	if err := n.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return n.exit(t)
}

func TestEveryRequestOfEachDoorMayMeetAnotherProcess(t *testing.T) {
	w := newWorld(t, options{cluster: true, directory: true, oidc: true, saml: true})
	for name, enter := range map[string]func(v *visitor){
		"local":     func(v *visitor) { v.get(v.byPassword(w, w.app+"/", local("lena"))) },
		"directory": func(v *visitor) { v.get(v.byPassword(w, w.app+"/", w.corp("alice"))) },
		"openid":    func(v *visitor) { v.get(v.finish(w, v.atPartner(w, w.app+"/", partner("alice")))) },
		"saml":      func(v *visitor) { v.enterByCampus(w, w.app+"/", campus("alice")) },
	} {
		t.Run(name, func(t *testing.T) {
			v := newVisitor(t)
			v.t = t
			enter(v)
			app, own := v.jar[host(w.app)][appCookie], v.jar[host(w.issuer)][brokerCookie]
			if app == "" || own == "" {
				t.Fatalf("cookies: application %v, broker %v", app != "", own != "")
			}
			for range 6 {
				if a := v.get(w.app + "/hosts"); a.status != http.StatusOK {
					t.Fatalf("the application answers %d", a.status)
				}
				if status := w.status(w.issuer+"/api/auth/me", cookieOf(brokerCookie, own)); status != http.StatusOK {
					t.Fatalf("the broker answers %d", status)
				}
			}
			page := v.get(w.issuer + "/logout")
			v.post(w.issuer+"/logout", url.Values{"csrf": {v.hidden(page, "csrf")}})
			w.allSoon(t, []opened{
				{"application cookie", w.app + "/", cookieOf(appCookie, app)},
				{"broker cookie", w.issuer + "/api/auth/me", cookieOf(brokerCookie, own)},
			}, http.StatusUnauthorized)
			for range 4 { // on both
				if status := w.status(w.issuer+"/api/auth/me", cookieOf(brokerCookie, own)); status != http.StatusUnauthorized {
					t.Fatalf("after sign-out: %d", status)
				}
			}
		})
	}
	for _, who := range []person{local("omar"), w.corp("bob")} {
		t.Run("api "+who.door, func(t *testing.T) {
			in := w.logIn(who, "app").json(t)
			for range 6 {
				in = w.refresh(t, in)
				token, _ := in["access_token"].(string)
				if status := w.status(w.app+"/", bearer(token)); status != http.StatusOK {
					t.Fatalf("a refreshed token: %d", status)
				}
			}
			token, _ := in["access_token"].(string)
			if a := call(t, http.MethodPost, w.issuer+"/api/auth/logout?application=app", "", "Authorization", "Bearer "+token); a.status/100 != 2 {
				t.Fatalf("logout: %d %s", a.status, a.body)
			}
			w.allSoon(t, []opened{{"token", w.app + "/", bearer(token)}}, http.StatusUnauthorized)
			if a := w.tryRefresh(t, in); a.status != http.StatusUnauthorized {
				t.Errorf("refresh after sign-out: %d %s", a.status, a.body)
			}
		})
	}
	w.cluster.alternated(t, 100)
}

// tryRefresh shows the refresh token of a sign-in's answer.
func (w *world) tryRefresh(t testing.TB, in map[string]any) answer {
	t.Helper()
	token, _ := in["refresh_token"].(string)
	if token == "" {
		t.Fatalf("there is no refresh token in %v", slices.Sorted(maps.Keys(in)))
	}
	return call(t, http.MethodPost, w.issuer+"/api/auth/refresh", `{"refresh_token":"`+token+`","application":"app"}`,
		"Content-Type", "application/json")
}

// refresh must succeed, and give another token.
func (w *world) refresh(t testing.TB, in map[string]any) map[string]any {
	t.Helper()
	a := w.tryRefresh(t, in)
	if a.status != http.StatusOK {
		t.Fatalf("refresh: %d %s", a.status, a.body)
	}
	out := a.json(t)
	if out["refresh_token"] == in["refresh_token"] || out["access_token"] == in["access_token"] {
		t.Fatal("refresh gave the same token again")
	}
	return out
}

// integrity asks PostgreSQL whether anything in the house contradicts itself: sessions that live below one that ended.
func (c *cluster) integrity(t testing.TB) {
	t.Helper()
	for what, query := range map[string]string{
		"sessions that outlived the one they hang on": `SELECT count(*) FROM sessions c JOIN sessions p ON c.parent_id = p.id
			WHERE c.ended_at IS NULL AND p.ended_at IS NOT NULL`,
		"keys of closed accounts": `SELECT count(*) FROM api_keys k JOIN accounts a ON a.id = k.account_id
			WHERE a.disabled AND k.ended_at IS NULL`,
		"refresh tokens that were used without a successor": `SELECT count(*) FROM refresh_tokens
			WHERE used_at IS NOT NULL AND successor_hash IS NULL`,
	} {
		if n := strings.TrimSpace(c.database.Exec(t, "app", query)); n != "0" {
			t.Errorf("%s: %s", what, n)
		}
	}
}

func TestCON02_TwentyRefreshesAtOnceOverTwoProcessesAreOneRotation(t *testing.T) {
	w := newWorld(t, options{cluster: true})
	in := w.logIn(local("lena"), "app").json(t)
	answers := make([]answer, 20)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = w.tryRefresh(t, in) })
	}
	all.Wait()
	first := answers[0].json(t)
	for i, a := range answers {
		if a.status != http.StatusOK {
			t.Fatalf("answer %d: %d %s", i, a.status, a.body)
		}
		got := a.json(t)
		if got["refresh_token"] != first["refresh_token"] || got["access_token"] != first["access_token"] {
			t.Errorf("answer %d has other tokens", i)
		}
		token, _ := got["access_token"].(string)
		if status := w.status(w.app+"/", bearer(token)); status != http.StatusOK {
			t.Errorf("the access token of answer %d: %d", i, status)
		}
	}
	if rows := w.cluster.database.Exec(t, "app", "SELECT count(*) FROM refresh_tokens"); rows != "2" {
		t.Errorf("there are %s refresh tokens, want two", rows)
	}
	w.refresh(t, first)
	w.cluster.integrity(t)
}
