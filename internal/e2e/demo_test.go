package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/testenv"
)

// demoLine is the one line of sallyport demo --json, read strictly.
type demoLine struct {
	Issuer        string       `json:"issuer"`
	Dial          string       `json:"dial"`
	People        []demoPerson `json:"people"`
	EmbeddingPage string       `json:"embedding_page"`
	Providers     []struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		LoginURL string `json:"login_url"`
	} `json:"providers"`
	Applications []struct {
		ID  string `json:"id"`
		URL string `json:"url"`
	} `json:"applications"`
	Admin *struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"admin"`
}

type demoPerson struct {
	Username string  `json:"username"`
	Password *string `json:"password"` // nil where the embedding page vouches for them
	Provider string  `json:"provider"`
}

// short is the name without its domain.
func (p demoPerson) short() string {
	name, _, _ := strings.Cut(p.Username, "@")
	return name
}

// demo starts the demonstration and reads its line; temp is the only place where it may leave something.
func demo(t *testing.T, temp string) (*program, demoLine) {
	t.Helper()
	p := start(t, t.TempDir(), []string{"TMPDIR=" + temp}, "demo", "--listen", "127.0.0.1:0", "--json")
	p.wait(t, "the line of JSON", func() error {
		if !strings.HasSuffix(p.stdout.String(), "\n") {
			return errors.New("it is not there")
		}
		return nil
	})
	out := p.stdout.String()
	if strings.Count(out, "\n") != 1 {
		t.Errorf("standard output has more than one line:\n%s", out)
	}
	var line demoLine
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&line); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return p, line
}

// demonstration is a running demo.
type demonstration struct {
	*world
	line  demoLine
	types map[string]string // by provider
	apps  map[string]string // addresses, by application
}

func newDemonstration(t *testing.T, temp string) *demonstration {
	t.Helper()
	p, line := demo(t, temp)
	d := &demonstration{&world{t: t, issuer: line.Issuer, server: p}, line, map[string]string{}, map[string]string{}}
	for _, provider := range line.Providers {
		d.types[provider.ID] = provider.Type
		want := line.Issuer + "/login?idp_hint=" + provider.ID
		if provider.Type == "jwt" {
			want = line.EmbeddingPage
		}
		if provider.LoginURL != want {
			t.Errorf("login_url of %s is %s", provider.ID, provider.LoginURL)
		}
	}
	for _, a := range line.Applications {
		d.apps[a.ID] = a.URL
	}
	if line.Admin == nil || len(line.People) < 10 || d.apps["app"] == "" || d.apps["reports"] == "" || d.apps["live"] == "" {
		t.Fatalf("the line is not complete: %+v", line)
	}
	if !slices.ContainsFunc(line.People, func(who demoPerson) bool {
		return who.Username == line.Admin.Username && who.Password != nil && *who.Password == line.Admin.Password
	}) {
		t.Error("the administrator is not among the people")
	}
	return d
}

// person is somebody of the demo by the beginning of their name.
func (d *demonstration) person(short string) demoPerson {
	d.t.Helper()
	for _, who := range d.line.People {
		if who.short() == short {
			return who
		}
	}
	d.t.Fatalf("nobody is called %s", short)
	return demoPerson{}
}

// enter opens an application as somebody who types: the name here, the password here or at their own provider.
func (d *demonstration) enter(b *testenv.Browser, address string, who demoPerson) {
	d.t.Helper()
	b.Open(address)
	b.WaitURL(d.issuer + "/login")
	b.Fill("E-mail or user name", who.Username)
	b.Click("Continue")
	switch d.types[who.Provider] {
	case "oidc":
		upstream(d.t, b, d.issuer)
		b.Fill("[type=password]", *who.Password)
		b.Click("[type=submit]")
	case "saml":
		upstream(d.t, b, d.issuer)
		b.Fill("[name=username]", who.Username)
		b.Fill("[type=password]", *who.Password)
		b.Click("Sign in")
	default:
		b.WaitURL("/login/password")
		b.Fill("Password", *who.Password)
		b.Click("Sign in")
	}
	b.WaitURL(address)
}

// framed chooses somebody at the embedding page and waits until the frame shows the application.
func (d *demonstration) framed(b *testenv.Browser, who demoPerson) {
	d.t.Helper()
	b.Open(d.line.EmbeddingPage)
	b.Eval(fmt.Sprintf(`document.getElementById("person").value = %q`, who.Username))
	b.Click("Switch")
	b.WaitFrameText(d.apps["app"], who.Username)
	b.WaitText("Signed in as")
}

// The scripts that read what the application shows of a person.
const shownName, shownRoles = `document.getElementById("username").innerText`, `document.getElementById("roles").innerText`

// eachDoor brings everybody to the same application.
func (d *demonstration) eachDoor(t *testing.T, first *testenv.Browser) {
	const admin, operator, viewer = "admin, operator, viewer", "operator, viewer", "viewer"
	known, portal := map[string]string{}, first.NewContext()
	for _, tc := range []struct{ kind, name, roles string }{
		{"local", "root", admin},
		{"local", "lena", operator},
		{"ldap", "alice", admin},
		{"ldap", "bob", viewer},
		{"oidc", "ines", admin},
		{"oidc", "omar", viewer},
		{"saml", "sofia", operator},
		{"saml", "theo", viewer},
		{"jwt", "petra", operator},
		{"jwt", "quinn", viewer},
	} {
		who := d.person(tc.name)
		t.Run(tc.kind+" "+tc.name, func(t *testing.T) {
			if got := d.types[who.Provider]; got != tc.kind {
				t.Fatalf("comes through %s", got)
			}
			var name, roles string
			if tc.kind == "jwt" {
				if who.Password != nil {
					t.Error("there is a password, and nowhere to type it")
				}
				d.framed(portal, who) // the same browser for all of them: who is in the frame changes with who is at the portal
				name, roles = portal.InFrame(d.apps["app"], shownName), portal.InFrame(d.apps["app"], shownRoles)
			} else {
				b := first.NewContext()
				d.enter(b, d.apps["app"]+"deep?x=1", who)
				b.WaitText("/deep")
				name, _ = b.Eval(shownName).(string)
				roles, _ = b.Eval(shownRoles).(string)
			}
			if !strings.HasPrefix(name, tc.name) || known[name] != "" || roles != tc.roles {
				t.Errorf("the application shows %q with %q, want the roles %q", name, roles, tc.roles)
			}
			known[name] = tc.kind
		})
	}
	portal.Click("Sign out of the frame")
	portal.WaitText("Signed out of the frame")
	portal.WaitFrameText("/.sallyport/embed/v1/", "You are signed out here.")
	if len(known) != len(d.line.People) {
		t.Errorf("%d people came, there are %d", len(known), len(d.line.People))
	}
}

// guided checks that the first page tells everything that the line does.
func (d *demonstration) guided(t *testing.T, b *testenv.Browser) {
	b.Open(d.issuer + "/")
	text, page := b.Text(), b.HTML()
	for _, who := range d.line.People {
		if !strings.Contains(text, who.Username) || who.Password != nil && !strings.Contains(text, *who.Password) {
			t.Errorf("%s or the password is not there", who.Username)
		}
	}
	for id, address := range d.apps {
		if !strings.Contains(page, `href="`+address+`"`) {
			t.Errorf("no link leads to %s", id)
		}
	}
	for _, provider := range d.line.Providers {
		if !strings.Contains(page, `href="`+provider.LoginURL+`"`) || !strings.Contains(text, provider.Type) {
			t.Errorf("nothing tells of %s", provider.ID)
		}
	}
	if wrong := append(b.Violations(), b.ConsoleErrors()...); len(wrong) > 0 {
		t.Errorf("the console has %q", wrong)
	}
}

// streaming looks at the application behind the gateway, and at what happens to its streams when somebody signs out.
func (d *demonstration) streaming(t *testing.T, first *testenv.Browser) {
	live := d.apps["live"]
	b := first.NewContext()
	d.enter(b, live, d.person("sofia"))
	b.WaitText("sofia@campus.example")
	if roles := b.Eval(shownRoles); roles != "operator, viewer" {
		t.Errorf("roles are %v", roles)
	}
	// Two ticks prove that the stream comes as it is written: an answer that is kept until its end never shows one.
	tick, _ := b.Eval(`new Promise((done) => { const e = new EventSource("/time"), seen = [];
		e.onmessage = (m) => { seen.push(m.data); if (seen.length === 2) { e.close(); done(seen.join()); } };
		e.onerror = () => done("broke off"); })`).(string)
	if a, z, two := strings.Cut(tick, ","); !two || a == z {
		t.Errorf("the stream says %q", tick)
	}
	b.Fill("#words", "hello there")
	b.Click("#send")
	b.WaitText("it said: hello there")
	spoofed, _ := b.Eval(`fetch("/", {headers: {"X-Auth-User": "root", "x-auth-roles": "admin", "X-Auth-Name": "root"}})
		.then((answer) => answer.text())`).(string)
	if !strings.Contains(spoofed, "sofia@campus.example") || strings.Contains(spoofed, ">root<") || strings.Contains(spoofed, ">admin<") {
		t.Error("the browser's own identity headers arrived")
	}
	if strings.Contains(spoofed, brokerCookie) {
		t.Error("our cookie arrived")
	}
	if a := get(t, live, "X-Auth-User", "root", "X-Auth-Roles", "admin"); a.status != http.StatusUnauthorized {
		t.Errorf("a program that calls itself root: %d", a.status)
	}

	beside := b.NewTab()
	beside.Open(live + ".sallyport/logout")
	begun := time.Now()
	beside.Click("Sign out")
	beside.WaitText("You are signed out")
	b.WaitText("closed")
	b.WaitText("interrupted")
	if took := time.Since(begun); took > 10*time.Second { // five are promised, the rest is for a busy machine
		t.Errorf("the WebSocket was closed after %v only", took)
	}
}

// keyed tries what the gateway's rules say about carriers and rates.
func (d *demonstration) keyed(t *testing.T) {
	lena := person{"", "lena", *d.person("lena").Password}
	live, key, token := d.apps["live"], apiKey(d.key(lena, "live")), bearer(d.token(lena, "live"))
	a := get(t, live+"api/me", key.header, key.value)
	if a.status != http.StatusOK || a.json(t)["username"] != "lena" {
		t.Errorf("a key below /api/: %d %s", a.status, a.body)
	}
	for name, tc := range map[string]struct {
		method, path, code string
		c                  credential
	}{
		"a key elsewhere":     {"GET", "", "carrier_denied", key},
		"a token below /api/": {"GET", "api/me", "carrier_denied", token},
		"another method":      {"POST", "api/me", "method_denied", key},
	} {
		a := call(t, tc.method, live+tc.path, "", tc.c.header, tc.c.value)
		if a.status != http.StatusForbidden || a.header.Get("X-Error") != tc.code {
			t.Errorf("%s: %d %q, want %s", name, a.status, a.header.Get("X-Error"), tc.code)
		}
	}
	if a := get(t, live, token.header, token.value); a.status != http.StatusOK || !strings.Contains(a.body, "lena") {
		t.Errorf("a token elsewhere: %d", a.status)
	}
	answered := 0
	for answered < 200 {
		if a = get(t, live+"api/me", key.header, key.value); a.status != http.StatusOK {
			break
		}
		answered++
	}
	if a.status != http.StatusTooManyRequests || a.header.Get("X-Error") != "rate_limited" || a.header.Get("Retry-After") == "" {
		t.Errorf("after %d requests: %d %q, Retry-After %q", answered, a.status, a.header.Get("X-Error"), a.header.Get("Retry-After"))
	}
	if other := apiKey(d.key(lena, "live")); d.status(live+"api/me", other) != http.StatusOK {
		t.Error("another key is limited with this one")
	}
}

func TestTheDemoLetsEverybodyInAndLeavesNothingBehind(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	temp := t.TempDir()
	d := newDemonstration(t, temp)
	if err := dial(d.line.Dial); err != nil {
		t.Error(err)
	}
	t.Run("all five doors lead to the same application", func(t *testing.T) { d.eachDoor(t, b) })
	t.Run("the first page tells of everything", func(t *testing.T) { d.guided(t, b.NewContext()) })
	t.Run("the gateway passes streams while somebody is signed in", func(t *testing.T) { d.streaming(t, b) })
	t.Run("the gateway keeps to its rules", func(t *testing.T) { d.keyed(t) })
	t.Run("the third verifies tokens by itself", func(t *testing.T) {
		lena := person{"", "lena", *d.person("lena").Password}
		c := bearer(d.token(lena, "reports"))
		a := get(t, d.apps["reports"]+"api/me", c.header, c.value)
		if a.status != http.StatusOK || a.json(t)["username"] != "lena" {
			t.Errorf("the application answers %d %s", a.status, a.body)
		}
	})

	if err := d.server.signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := d.server.exit(t); code != 0 {
		t.Errorf("exit code %d after SIGINT", code)
	}
	d.server.gone(t)
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	l, err := net.Listen("tcp", d.line.Dial)
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	l.Close()
}

// upstream waits until the browser has left for the provider's own page.
func upstream(t testing.TB, b *testenv.Browser, issuer string) {
	t.Helper()
	err := testenv.Eventually(patience, nil, func() error {
		if at := b.URL(); strings.HasPrefix(at, issuer) || b.Eval(`!!document.querySelector("[type=password]")`) != true {
			return fmt.Errorf("the browser is at %s", at)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	settled(t, b)
}

func dial(address string) error {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return err
}

func TestTheDemoListensOnLoopbackOnly(t *testing.T) {
	r := run(t, t.TempDir(), "", []string{"TMPDIR=" + t.TempDir()}, "demo", "--listen", "0.0.0.0:0", "--json")
	if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "loopback") {
		t.Errorf("exit code %d, %q, %q", r.code, r.stdout, r.stderr)
	}
}
