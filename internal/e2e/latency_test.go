package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// latencies are how long revocations took to be seen.
type latencies struct {
	mu  sync.Mutex
	all map[string][]time.Duration
}

func (l *latencies) add(carrier string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[carrier] = append(l.all[carrier], took)
}

// at is a quantile.
func at(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// shown is something that opens on one process and is ended on another.
type shownThere struct {
	carrier string
	// status asks the other process.
	status func(t testing.TB) int
	// end ends it at the first.
	end func(t testing.TB)
}

func TestREL03_ARevocationReachesTheOtherProcess(t *testing.T) {
	for name, mode := range map[string]struct {
		variables []string
		cut       bool
		most      time.Duration
	}{
		"with notifications":                     {nil, false, 2 * time.Second},
		"without notifications":                  {[]string{"SALLYPORT_STORAGE_POSTGRES_NOTIFICATIONS=false"}, false, 10 * time.Second},
		"with the notification's connection cut": {nil, true, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{cluster: true, variables: mode.variables})
			one, two := w.cluster.nodes[0], w.cluster.nodes[1]
			seen := &latencies{all: map[string][]time.Duration{}}
			stop := func() {}
			if mode.cut {
				stop = w.cluster.keepCutting(t)
			}
			for range 12 {
				w.round(t, one, two, seen)
			}
			stop()
			for carrier, took := range seen.all {
				slices.Sort(took)
				t.Logf("%s: revoked at one process, refused at the other after p50 %s, p99 %s (%s, %d rounds)", carrier,
					at(took, 0.5).Round(time.Millisecond), at(took, 0.99).Round(time.Millisecond), name, len(took))
				if worst := at(took, 0.99); worst > mode.most {
					t.Errorf("%s: p99 is %s, more than %s", carrier, worst, mode.most)
				}
			}
			w.cluster.integrity(t)
		})
	}
}

// keepCutting ends the connections that listen for notifications, as often as they come back.
func (c *cluster) keepCutting(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	cut := 0
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			cut += c.database.CutConnections(t, "app", "query ILIKE 'listen %'")
		}
	}()
	return func() {
		cancel()
		<-done
		if cut < 2 {
			t.Errorf("%d connections were cut", cut)
		}
	}
}

// round opens something with each carrier at one process, shows it at the other, ends it at the first, and measures until
// the other refuses it.
func (w *world) round(t *testing.T, one, two *node, seen *latencies) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range w.everyCarrier(t, one, two) {
		if status := s.status(t); status/100 != 2 {
			t.Fatalf("%s does not open anything at the other process: %d", s.carrier, status)
		}
		all.Go(func() {
			s.end(t)
			ended := time.Now()
			for {
				status := s.status(t)
				if status == http.StatusUnauthorized {
					seen.add(s.carrier, time.Since(ended))
					return
				}
				if status/100 != 2 || time.Since(ended) > patience {
					t.Errorf("%s: status %d after %s", s.carrier, status, time.Since(ended))
					return
				}
			}
		})
	}
	all.Wait()
}

// everyCarrier is a sign-in for each, of its own, so that ending one says nothing about another.
func (w *world) everyCarrier(t *testing.T, one, two *node) []shownThere {
	t.Helper()
	issuer := host(w.issuer)
	logout := func(application string, c credential) func(testing.TB) {
		return func(t testing.TB) {
			t.Helper()
			a := call(t, http.MethodPost, one.at(w.issuer+"/api/auth/logout?application="+application), "", "Host", issuer,
				"Origin", w.issuer, c.header, c.value)
			if a.status/100 != 2 {
				t.Errorf("logout: %d %s", a.status, a.body)
			}
		}
	}
	validate := func(application string, c credential) func(testing.TB) int {
		return func(t testing.TB) int {
			t.Helper()
			return get(t, two.at(w.issuer+"/api/auth/validate?application="+application), "Host", issuer, c.header, c.value).status
		}
	}
	token := bearer(w.token(local("lena"), "app"))
	v := newVisitor(t)
	v.byPassword(w, w.app+"/", local("lena"))
	cookie := cookieOf(brokerCookie, v.jar[issuer][brokerCookie])
	whole := w.key(local("lena"), "app")
	key, owner := apiKey(whole), bearer(w.token(local("lena"), ""))
	id := strings.Split(whole, "_")[1]
	forwarded := bearer(w.token(local("lena"), "app"))
	in := w.logIn(local("lena"), "app").json(t)
	held, _ := in["access_token"].(string)
	return []shownThere{
		{"jwt", validate("app", token), logout("app", token)},
		{"cookie", validate("sallyport", cookie), logout("sallyport", cookie)},
		{"key", validate("app", key), func(t testing.TB) {
			t.Helper()
			a := call(t, http.MethodDelete, one.at(w.issuer+"/api/auth/api-keys/"+id), "", "Host", issuer, owner.header, owner.value)
			if a.status/100 != 2 {
				t.Errorf("key: %d %s", a.status, a.body)
			}
		}},
		{"forward-auth", func(t testing.TB) int {
			t.Helper()
			return get(t, two.at(w.issuer+"/authz/nginx"), "Host", issuer, "X-Original-Url", w.app+"/x", "X-Original-Method",
				"GET", forwarded.header, forwarded.value).status
		}, logout("app", forwarded)},
		{"refresh", func(t testing.TB) int {
			t.Helper()
			token, _ := in["refresh_token"].(string)
			a := call(t, http.MethodPost, two.at(w.issuer+"/api/auth/refresh"),
				fmt.Sprintf(`{"refresh_token":%q,"application":"app"}`, token), "Host", issuer, "Content-Type", "application/json")
			if a.status == http.StatusOK {
				in = a.json(t)
			}
			return a.status
		}, logout("app", bearer(held))},
	}
}
