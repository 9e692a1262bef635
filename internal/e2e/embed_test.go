package e2e

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/internal/testenv"
)

// framing is a house behind TLS of its own, with an application behind its gateway, and pages elsewhere that frame it.
type framing struct {
	*world
	board   string // the application's address
	port    int    // of the pages that frame it
	key     []byte // of their tokens
	leaf    *x509.Certificate
	mu      sync.Mutex
	minted  []string
	visited []string // requests to the pages that frame it
}

// The hosts of pages that frame: on the application's own site, on another, and on another that the configuration takes
// for its own.
const nearHost, farHost, mistakenHost = "portal.example.test", "portal.elsewhere.test", "portal.mistaken.test"

func newFraming(t *testing.T) *framing {
	t.Helper()
	f := &framing{world: &world{t: t, dir: t.TempDir(), echo: newEcho(t)}, key: make([]byte, 32)}
	_, _ = rand.Read(f.key) // never fails
	files := testenv.NewCA(t).Files(t, f.dir)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	f.leaf = pair.Leaf
	pages := httptest.NewUnstartedServer(http.HandlerFunc(f.page))
	pages.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	pages.StartTLS()
	t.Cleanup(pages.Close)
	_, _ = fmt.Sscanf(pages.URL, "https://127.0.0.1:%d", &f.port)
	port := testenv.Port(t)
	f.issuer, f.board = fmt.Sprintf("https://sso.example.test:%d", port), fmt.Sprintf("https://board.example.test:%d", port)
	f.operations = fmt.Sprintf("http://127.0.0.1:%d", testenv.Port(t))
	f.file = filepath.Join(f.dir, "sallyport.yaml")
	f.writeConfig(fmt.Sprintf(`server:
  issuer: %[1]s
  listen: 127.0.0.1:%[2]d
  operations_listen: %[3]q
  tls: {certificate: %[4]q, key: %[5]q}
storage: {sqlite: {path: data/sallyport.db}}
log: {level: debug}
providers:
  local: {type: local}
  portal-keys: {type: jwt, issuer: https://portal.example.test, audience: %[1]s, keys: [{hmac: env:PORTAL_KEY}]}
roles:
  operator: {inherits: [viewer]}
  viewer: {permissions: ["*:read"]}
mapping:
  rules: [{provider: portal-keys, copy: groups, only: [viewer, operator]}]
applications:
  board: {title: Board, url: %[6]s/, require: [viewer], upstream: {url: %[7]q}}
embedding:
  embedders:
    near: {relation: same_site, origins: [%[8]q], applications: [board], provider: portal-keys}
    far: {relation: cross_site, origins: [%[9]q], applications: [board], provider: portal-keys, max_roles: [viewer]}
    mistaken: {relation: same_site, origins: [%[10]q], applications: [board], provider: portal-keys}
`, f.issuer, port, host(f.operations), files.Certificate, files.Key, f.board, f.echo.server.URL,
		f.at(nearHost), f.at(farHost), f.at(mistakenHost)))
	f.server = start(t, f.dir, f.secrets(), "serve", "--config", f.file)
	f.server.wait(t, "readiness", func() error { return answers(f.operations+"/healthz/ready", http.StatusOK) })
	return f
}

func (f *framing) secrets() []string {
	return []string{"PORTAL_KEY=" + base64.StdEncoding.EncodeToString(f.key)}
}

func (f *framing) at(host string) string { return fmt.Sprintf("https://%s:%d", host, f.port) }

// page is what an embedding page has to write: a backend that signs, and a few lines of script.
func (f *framing) page(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.visited = append(f.visited, r.URL.RequestURI()+" "+r.Referer())
	if r.URL.Path == "/token" {
		challenge, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		token := f.mint(string(challenge))
		f.minted = append(f.minted, token)
		_, _ = io.WriteString(w, token)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, `<!doctype html><title>portal</title><script type="module">
import { attach } from %q;
window.show = async (src) => {
  const frame = document.createElement("iframe");
  frame.src = src;
  document.body.append(frame);
  const getToken = async ({ challenge }) => (await fetch("/token", { method: "POST", body: challenge })).text();
  try {
    const handle = await attach(frame, { application: "board", getToken, title: "Board" });
    return "ready " + handle.mode + " " + handle.user.name + " " + handle.user.roles;
  } catch (problem) {
    return "failed " + problem.code;
  }
};
window.loaded = true;
</script><p>A portal`, f.issuer+"/embed/v1/parent.js")
}

func (f *framing) mint(challenge string) string {
	now := time.Now().Unix()
	claims, _ := json.Marshal(map[string]any{
		"iss": "https://portal.example.test", "aud": f.issuer, "sub": "u-1", "iat": now, "exp": now + 60, "jti": rand.Text(),
		"preferred_username": "ada", "name": "Ada Example", "roles": []string{"operator"}, "nonce": challenge,
	})
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	mac := hmac.New(sha256.New, f.key)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// show opens a page that frames the application, and returns what it learns.
func (f *framing) show(b *testenv.Browser, host string) string {
	f.t.Helper()
	b.Open(f.at(host) + "/page")
	b.Eval(`new Promise((done) => { const look = () => window.loaded ? done(1) : setTimeout(look, 10); look(); })`)
	got, _ := b.Eval(fmt.Sprintf(`show(%q)`, f.board+"/.sallyport/embed/v1/frame?application=board&to=/list")).(string)
	return got
}

// opensNothingElse tries a frame's cookie under every name at the broker itself (EMB-07).
func (f *framing) opensNothingElse(t *testing.T, embedder, cookie, roles string) {
	t.Helper()
	if status := f.status(f.board+"/again", cookieOf("__Host-sp-"+embedder, cookie)); status != http.StatusOK {
		t.Errorf("the application: %d", status)
	}
	for _, name := range []string{"__Host-sp-" + embedder, brokerCookie, brokerCookie + "-board"} {
		for _, path := range []string{"/api/auth/me", "/api/auth/sessions", "/api/auth/api-keys", "/api/auth/validate"} {
			if status := f.status(f.issuer+path, cookieOf(name, cookie)); status != http.StatusUnauthorized && status != http.StatusForbidden {
				t.Errorf("%s as %s: %d", path, name, status)
			}
		}
		a := get(t, f.issuer+"/me", "Cookie", name+"="+cookie, "Accept", "text/html")
		if a.status == http.StatusOK {
			t.Errorf("the account page opens with it as %s", name)
		}
	}
	if status := f.status(f.board+"/again", cookieOf(brokerCookie+"-board", cookie)); status != http.StatusUnauthorized {
		t.Errorf("at its own application, as that one's own cookie: %d", status)
	}
}

// where is everything that a page's script can see, of itself and of what it loaded.
const where = `JSON.stringify([location.href, document.referrer, document.cookie, {...localStorage}, {...sessionStorage},
	performance.getEntries().map((e) => e.name), document.documentElement.outerHTML])`

func TestAFrameSignsInOverTwoSitesWithThirdPartyCookiesBlocked(t *testing.T) {
	f := newFraming(t)
	c, places := canaries{}, map[string][]byte{}
	for name, tc := range map[string]struct{ host, embedder, want, roles string }{
		"on the same site":                      {nearHost, "near", "ready cookie Ada Example operator,viewer", "operator,viewer"},
		"on another, partitioned":               {farHost, "far", "ready cookie Ada Example viewer", "viewer"},
		"on another that is taken for the same": {mistakenHost, "mistaken", "failed COOKIE_BLOCKED", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := testenv.Chromium(t, testenv.BrowserOptions{
				HostRules: map[string]string{"*.test": "127.0.0.1"}, Trust: []*x509.Certificate{f.leaf}, BlockThirdParty: true,
			})
			if got := f.show(b, tc.host); got != tc.want {
				t.Fatalf("the page around learns %q, want %q", got, tc.want)
			}
			cookie := ""
			for _, k := range b.Cookies() {
				if k.Name == "__Host-sp-"+tc.embedder {
					cookie = k.Value
					c.add(t, "the frame's cookie "+name, cookie)
					if partitioned := k.PartitionKey != nil; partitioned != (tc.embedder == "far") || !k.Secure || !k.HTTPOnly {
						t.Errorf("cookie is %+v", k)
					}
				}
			}
			frame := "/list"
			if tc.roles == "" {
				frame = "/.sallyport/embed/v1/"
				b.WaitFrameText(frame, "This panel could not sign you in.")
			} else {
				b.WaitFrameText(frame, `"method":"GET"`)
				var h heard
				if err := json.Unmarshal([]byte(b.InFrame(frame, `document.body.innerText`)), &h); err != nil {
					t.Fatal(err)
				}
				if h.Header.Get("X-Auth-User") != "ada@portal-keys" || h.Header.Get("X-Auth-Roles") != tc.roles {
					t.Errorf("the application is told %q with %q", h.Header.Get("X-Auth-User"), h.Header.Get("X-Auth-Roles"))
				}
			}
			if (cookie != "") != (tc.roles != "") {
				t.Errorf("a cookie was kept: %v", cookie != "")
			} else if cookie != "" {
				f.opensNothingElse(t, tc.embedder, cookie, tc.roles)
			}
			text, _ := b.Eval(where).(string)
			places["the page "+name] = []byte(text)
			places["the frame "+name] = []byte(b.InFrame(frame, where))
		})
	}
	for i, token := range f.minted {
		c.add(t, fmt.Sprintf("token %d", i), token)
	}
	c.add(t, "the key of the tokens", string(f.key))
	if len(f.minted) < 3 || len(c) < 6 || len(places) != 6 {
		t.Fatalf("%d tokens, %d secrets, %d pages", len(f.minted), len(c), len(places))
	}
	for name, text := range f.places(t, true) {
		places[name] = text
	}
	seen, err := json.Marshal(f.echo.all())
	if err != nil {
		t.Fatal(err)
	}
	places["the application"] = seen
	places["the pages' own server"] = []byte(strings.Join(f.visited, "\n"))
	if found := c.search(places); len(found) > 0 {
		t.Errorf("written down:\n%s", strings.Join(found, "\n"))
	}
}
