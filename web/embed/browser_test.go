package embed_test

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"sallyport/broker"
	"sallyport/internal/testenv"
)

// chromium opens a browser for which the hosts exist.
func (h *house) chromium(block bool) *testenv.Browser {
	h.t.Helper()
	return testenv.Chromium(h.t, h.options(block))
}

func (h *house) options(block bool) testenv.BrowserOptions {
	o := testenv.BrowserOptions{
		HostRules: map[string]string{"*.test": "127.0.0.1", "*.example": "127.0.0.1"}, BlockThirdParty: block,
	}
	if c := h.server.Certificate(); c != nil {
		o.Trust = []*x509.Certificate{c}
	}
	return o
}

// frameAddress is the frame of the application.
func (h *house) frameAddress(query string) string {
	return h.at(appHost, base+"frame?application=app"+query)
}

// visit opens an embedding page that is ready to attach.
func (h *house) visit(b *testenv.Browser, host string) {
	h.t.Helper()
	b.Open(h.at(host, "/page"))
	b.Eval(`new Promise((done) => { const look = () => window.loaded ? done(1) : setTimeout(look, 10); look(); })`)
}

// attach runs the page's tryAttach.
func attach(b *testenv.Browser, address, more string) string {
	got, _ := b.Eval(fmt.Sprintf("tryAttach(%q, %s)", address, more)).(string)
	return got
}

func wants(t *testing.T, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Fatalf("the page around learns %q, want %q", got, want)
	}
}

// nothingLeaked searches everything that a browser and its servers keep for tokens (EMB-08).
func (h *house) nothingLeaked(b *testenv.Browser) {
	h.t.Helper()
	kept, _ := b.Eval(`location.href + JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage }) + document.cookie`).(string)
	everything := kept + h.log.String() + strings.Join(h.requests(""), "\n")
	for _, token := range h.minted {
		if strings.Contains(everything, token) {
			h.t.Errorf("a token is in an address, a storage or a log")
		}
	}
	if len(h.minted) == 0 {
		h.t.Error("there was no token to search for")
	}
}

func TestAFrameOnTheSameSiteSignsInAndOut(t *testing.T) {
	for name, block := range map[string]bool{"third-party cookies allowed": false, "third-party cookies blocked": true} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			b := h.chromium(block)
			h.visit(b, portalHost)
			wants(t, attach(b, h.frameAddress("&to=/hosts"), "{}"), "ready cookie Ada Example")
			b.WaitFrameText("/hosts", "welcome Ada Example, [operator viewer], at /hosts")
			for _, c := range b.Cookies() {
				if c.Name == "__Host-sp-portal" && (c.SameSite != "Lax" || !c.Secure || !c.HTTPOnly || c.PartitionKey != nil) {
					t.Errorf("cookie is %+v", c)
				}
			}
			if _, there := b.Cookie("__Host-sp-portal"); !there {
				t.Error("there is no cookie of the embedder's")
			}
			kept := b.InFrame("/hosts", `JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage }) + location.href + document.referrer`)
			if strings.Contains(kept, "ey") {
				t.Errorf("the frame keeps %s", kept)
			}
			h.nothingLeaked(b)
			if v := b.Violations(); len(v) > 0 {
				t.Errorf("breaches of a policy: %v", v)
			}
			if e := b.ConsoleErrors(); len(e) > 0 {
				t.Errorf("the console has %v", e)
			}

			// The application's page does not speak the protocol: signing out goes by the page that does.
			b.Eval(`handle.logout()`)
			b.WaitFrameText(base, "You are signed out here.")
			if _, there := b.Cookie("__Host-sp-portal"); there {
				t.Error("the cookie stays after signing out")
			}
			if events := fmt.Sprint(b.Eval(`events.join()`)); events != "ready ,ended parent" {
				t.Errorf("events are %s", events)
			}
			if !strings.Contains(strings.Join(h.requests("POST"), "\n"), base+"logout") || len(h.minted) != 1 {
				t.Errorf("signing out took %d tokens", len(h.minted))
			}

			// A frame that loads its first page again begins anew.
			b.Eval(`frame.src = frame.src`)
			b.WaitFrameText("/hosts", "welcome Ada Example")
			b.Eval(`handle.destroy()`)
		})
	}
}

func TestMountMakesTheFrameAndDestroyTakesItAway(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(true)
	h.visit(b, portalHost)
	got, _ := b.Eval(fmt.Sprintf(`tryMount(%q, { embedder: "portal", to: "/hosts" })`, h.at(appHost, base+"frame"))).(string)
	wants(t, got, "ready cookie Ada Example")
	b.WaitFrameText("/hosts", "welcome Ada Example")
	if left := b.Eval(`handle.destroy(), document.querySelectorAll("iframe").length`); left != 0.0 {
		t.Errorf("%v frames are left", left)
	}
}

func TestAPageWithoutModulesAttachesToo(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(true)
	h.visit(b, portalHost)
	got, _ := b.Eval(fmt.Sprintf(`new Promise((done) => {
		const s = document.createElement("script");
		s.src = %q;
		s.onload = () => SallyportEmbed.attach(frameAt(%q), { application: "app", getToken: async () => (await fetch("/token",
			{ method: "POST", body: "{}" })).text() }).then((h) => done(h.user.name), (e) => done(String(e)));
		document.head.append(s);
	})`, h.at(ssoHost, "/embed/v1/parent.umd.js"), h.frameAddress("&to=/x"))).(string)
	wants(t, got, "Ada Example")
}

func TestAFrameOnAnotherSiteNeedsThePartitionedCookie(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(true)
	h.visit(b, otherHost)
	wants(t, attach(b, h.frameAddress("&to=/x"), "{}"), "ready cookie Ada Example")
	b.WaitFrameText("/x", "welcome Ada Example, [viewer]")
	for _, c := range b.Cookies() {
		if c.Name == "__Host-sp-elsewhere" && c.PartitionKey == nil {
			t.Errorf("cookie is %+v", c)
		}
	}
	h.nothingLeaked(b)
	b.Eval(`handle.logout()`)
	b.WaitFrameText(base, "You are signed out here.")
}

func TestARefusedCookieIsSaidEverywhere(t *testing.T) {
	wrong := func(all map[string]*broker.Embedder) { all["elsewhere"].Relation = broker.SameSite }
	for name, c := range map[string]struct {
		change func(map[string]*broker.Embedder)
		start  func(testing.TB, testenv.BrowserOptions) *testenv.Browser
	}{
		"relation same_site although the sites differ": {wrong, testenv.Chromium},
		"all cookies blocked":                          {nil, testenv.ChromiumWithoutCookies},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, c.change)
			b := c.start(t, h.options(true))
			h.visit(b, otherHost)
			got := attach(b, h.frameAddress(""), "{}")
			for _, part := range []string{"COOKIE_BLOCKED", h.at(appHost, ""), h.at(otherHost, ""), "relation: cross_site", "HTTPS", "third-party cookies"} {
				wants(t, got, part)
			}
			b.WaitFrameText(base, "This panel could not sign you in. Reload the page; if it stays, give support this number: ")
			trace := b.InFrame(base, `document.getElementById("trace").textContent`)
			if len(trace) != 32 || !strings.Contains(h.log.String(), trace) || !strings.HasSuffix(got, trace) {
				t.Errorf("number %q is not in the log, or not that of %q", trace, got)
			}
		})
	}
}

func TestEMB05_APageOnNoListGetsNothing(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(false)
	h.visit(b, evilHost)
	b.Eval(`window.heard = []; addEventListener("message", (e) => heard.push(e.origin)); 1`)
	wants(t, attach(b, h.frameAddress(""), "{ timeoutMs: 1500 }"), "FRAME_REFUSED")
	if heard := fmt.Sprint(b.Eval(`heard.join()`)); heard != "" {
		t.Errorf("the page hears %s", heard)
	}
	if len(h.minted) > 0 || len(h.requests("POST "+appHost)) > 0 {
		t.Error("the frame went on although it was refused")
	}
	if len(b.Violations()) == 0 {
		t.Error("the browser did not refuse by the policy")
	}
}

func TestEMB05_ForgedMessagesAreIgnored(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(false)
	h.visit(b, portalHost)
	// An attacker's frame in the same page says hello to the page, and offers ports and tokens to the frame.
	b.Eval(fmt.Sprintf(`new Promise((done) => {
		window.evil = frameAt(%q);
		evil.onload = done;
	})`, h.at(evilHost, "/page")))
	b.Eval(fmt.Sprintf(`window.asked = 0; window.real = frameAt(%q); window.hellos = [];
		addEventListener("message", (e) => { if (e.data?.type === "hello") hellos.push(e.data.hid); }); 1`, h.frameAddress("&to=/x")))
	b.Eval(`new Promise((done) => { const look = () => hellos.length ? done(1) : setTimeout(look, 10); look(); })`)
	hid := fmt.Sprint(b.Eval(`hellos[0]`))
	b.InFrame(evilHost, fmt.Sprintf(`(() => {
		const send = (to, type, more) => {
			const channel = new MessageChannel();
			channel.port1.onmessage = ({ data }) => channel.port1.postMessage({ type: "handoff", id: data.id, jwt: "forged" });
			to.postMessage({ protocol: "sallyport-embed/1", type, hid: %q, ...more }, %q, [channel.port2]);
		};
		send(parent.frames[1], "port");
		send(parent.frames[1], "handoff", { jwt: "forged" });
		parent.postMessage({ protocol: "sallyport-embed/1", type: "hello", hid: "forged", app: "app" }, %q);
		return "sent";
	})()`, hid, h.at(appHost, ""), h.at(portalHost, "")))
	// A port for another document, and a message of another protocol, from the right window.
	b.Eval(fmt.Sprintf(`real.contentWindow.postMessage({ protocol: "sallyport-embed/1", type: "port", hid: "other" }, %q,
		[new MessageChannel().port2]), real.contentWindow.postMessage("rubbish", %q), 1`, h.at(appHost, ""), h.at(appHost, "")))
	if len(h.requests("POST "+appHost)) > 0 {
		t.Errorf("a forged message was taken: %v", h.requests("POST "+appHost))
	}
	if sent := len(h.minted); sent > 0 {
		t.Errorf("%d tokens were given away", sent)
	}
	// The real page still gets through, and only the real frame is given a token.
	got, _ := b.Eval(fmt.Sprintf(`import(%q).then(({ attach }) => attach(real, { application: "app",
		getToken: async () => (await fetch("/token", { method: "POST", body: "{}" })).text() })).then((h) => h.user.name, String)`,
		h.at(ssoHost, "/embed/v1/parent.js"))).(string)
	wants(t, got, "Ada Example")
	if len(h.minted) != 1 {
		t.Errorf("%d tokens were made", len(h.minted))
	}
}

func TestWhatGoesWrongIsSaidInTheFrameAndToThePageAround(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(true)
	for name, c := range map[string]struct{ more, code string }{
		"getToken fails":       {`{ getToken: async () => { throw new Error("no backend") } }`, "GET_TOKEN_FAILED getToken: no backend"},
		"getToken gives rags":  {`{ getToken: async () => 7 }`, "GET_TOKEN_FAILED"},
		"the token is refused": {`{ getToken: async () => ({ jwt: "rubbish" }) }`, "JWT_MALFORMED"},
	} {
		t.Run(name, func(t *testing.T) {
			h.visit(b, portalHost)
			wants(t, attach(b, h.frameAddress(""), c.more), c.code)
			b.WaitFrameText(base, "This panel could not sign you in.")
		})
	}
	t.Run("getToken never ends", func(t *testing.T) {
		h.visit(b, portalHost)
		b.Eval(`const real = setTimeout; window.setTimeout = (f, ms) => real(f, ms === 15000 ? 50 : ms); 1`)
		got := attach(b, h.frameAddress(""), `{ getToken: ({ signal }) => new Promise((_, no) => signal.addEventListener("abort", () => no(1))) }`)
		wants(t, got, "GET_TOKEN_TIMEOUT")
		b.WaitFrameText(base, "This panel could not sign you in.")
		if number := b.InFrame(base, `document.getElementById("trace").textContent`); !strings.Contains(h.log.String(), number) {
			t.Errorf("number %q is not in the log", number)
		}
	})
	t.Run("a sandbox without an origin", func(t *testing.T) {
		h.visit(b, portalHost)
		got, _ := b.Eval(fmt.Sprintf(`(() => { const make = document.createElement.bind(document);
			document.createElement = (n) => { const e = make(n); e.sandbox = "allow-scripts"; return e; };
			return tryAttach(%q, {}); })()`, h.frameAddress(""))).(string)
		wants(t, got, "SANDBOXED")
		b.WaitFrameText(base, "This panel could not sign you in.")
	})
	t.Run("a page around of another version", func(t *testing.T) {
		h.visit(b, portalHost)
		b.Eval(fmt.Sprintf(`new Promise((done) => { frameAt(%q).onload = () => { frame.contentWindow.postMessage(
			{ protocol: "sallyport-embed/2", type: "ping" }, %q); done(1); } })`, h.frameAddress(""), h.at(appHost, "")))
		b.WaitFrameText(base, "This panel could not sign you in.")
	})
}

func TestAFrameWithoutHTTPSSaysSo(t *testing.T) {
	h := start(t, "http", nil)
	b := h.chromium(false)
	h.visit(b, portalHost)
	wants(t, attach(b, h.frameAddress(""), "{ timeoutMs: 1500 }"), "FRAME_REFUSED")
	b.WaitFrameText(base, "This panel could not sign you in.")
	if said := strings.Join(b.ConsoleErrors(), "\n"); !strings.Contains(said, "HTTPS_REQUIRED") {
		t.Errorf("the console has %s", said)
	}
}

func TestALateEmbeddingPageIsHeard(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(true)
	h.visit(b, portalHost)
	b.Eval(fmt.Sprintf(`new Promise((done) => { frameAt(%q).onload = () => done(1) })`, h.frameAddress("&to=/x")))
	b.WaitFrameText(base, "This panel could not sign you in.") // ten seconds without a word
	got, _ := b.Eval(fmt.Sprintf(`import(%q).then(({ attach }) => attach(frame, { application: "app",
		getToken: async () => (await fetch("/token", { method: "POST", body: "{}" })).text() })).then((h) => h.user.name, String)`,
		h.at(ssoHost, "/embed/v1/parent.js"))).(string)
	wants(t, got, "Ada Example")
	b.WaitFrameText("/x", "welcome Ada Example")
}

func TestAProxiedApplicationMayUseTheModuleToo(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(true)
	h.visit(b, portalHost)
	address := h.at(portalHost, "/investigate"+base+"frame?application=inside&to=/investigate/board")
	wants(t, attach(b, address, `{ application: "inside" }`), "ready cookie Ada Example")
	b.WaitFrameText("/investigate/board", "welcome Ada Example")
	b.Eval(`handle.logout()`)
	b.WaitFrameText("/investigate"+base, "You are signed out here.")
	if e := b.ConsoleErrors(); len(e) > 0 {
		t.Errorf("the console has %v", e)
	}
}

func TestAProxiedApplicationTakesItsTokenFromThePageItself(t *testing.T) {
	h := newHouse(t, nil)
	b := h.chromium(true)
	h.visit(b, portalHost)
	address := h.at(portalHost, "/investigate"+base+"login?application=inside&to=/investigate/board")
	for _, call := range []string{"setJWTToken", "SallyportEmbedded.setJWTToken", "sireninvestigate.setJWTToken"} {
		got := b.Eval(fmt.Sprintf(`new Promise((done) => { frameAt(%q).onload = async () => {
			const blank = frame.contentDocument.body.innerText;
			const token = await (await fetch("/token", { method: "POST", body: "{}" })).text();
			frame.contentWindow.%s(token).then(() => done("in" + blank), (e) => done(e.code + e.message)); } })`, address, call))
		if got != "in" {
			t.Fatalf("%s: %v", call, got)
		}
		b.Eval(fmt.Sprintf(`frame.contentWindow.location.href = %q`, h.at(portalHost, "/investigate/board")))
		b.WaitFrameText("/investigate/board", "welcome Ada Example")
		b.Eval(`frame.remove()`)
	}
	h.nothingLeaked(b)
	for _, r := range h.requests(portalHost) { // the embedding page's own server is on the same origin
		if strings.Contains(r, "__Secure-sp-inside") && !strings.Contains(r, " "+portalHost+":"+h.port+"/investigate/") {
			t.Errorf("the embedding application gets the cookie: %s", r)
		}
	}
	got := b.Eval(fmt.Sprintf(`new Promise((done) => { frameAt(%q).onload = () => frame.contentWindow.setJWTToken("rubbish").
		then(() => done("in"), (e) => done(e.code + " " + e.retryable + " " + e.traceId.length + " " + (e instanceof frame.contentWindow.Error))); })`, address))
	if got != "JWT_MALFORMED false 32 true" {
		t.Errorf("a bad token: %v", got)
	}
	b.WaitFrameText("/investigate"+base, "This panel could not sign you in.")
	got = b.Eval(`frame.contentWindow.SallyportEmbedded.logout().then(() => "out", String)`)
	if got != "out" {
		t.Errorf("signing out: %v", got)
	}
	if _, there := b.Cookie("__Secure-sp-inside"); there {
		t.Error("the cookie stays")
	}
}
