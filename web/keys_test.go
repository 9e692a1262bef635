package web_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
)

// keyWith makes a key of lena's from a JSON object's fields, and returns its id and the whole of it.
func (h *house) keyWith(fields string) (id, whole string) {
	h.t.Helper()
	made := h.program().with(h.token("lena", ""), "POST", "/api/auth/api-keys", `{"name":"k",`+fields+`}`).want(201, "").object()
	id, _ = made["id"].(string)
	whole, _ = made["key"].(string)
	return id, whole
}

func TestKEY02_TheNetworkOfAKeyIsThatOfTheClient(t *testing.T) {
	const networks = `"networks":["198.51.100.0/24","2001:db8::/32"]`
	trusting, alone := build(t, plan{proxies: loopback()}), build(t, plan{})
	for name, c := range map[string]struct {
		house     *house
		forwarded string
		in        bool
	}{
		"inside":                           {trusting, "198.51.100.7", true},
		"inside, IPv6":                     {trusting, "2001:db8::7", true},
		"inside, mapped to IPv6":           {trusting, "::ffff:198.51.100.7", true},
		"outside":                          {trusting, "198.51.101.7", false},
		"outside, IPv6":                    {trusting, "2001:db9::7", false},
		"what the client says of itself":   {trusting, "198.51.100.7, 203.0.113.9", false},
		"nothing told":                     {trusting, "", false},
		"told by a peer that is not heard": {alone, "198.51.100.7", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, key := c.house.keyWith(networks)
			b := c.house.program()
			b.t = t
			r := b.request(http.MethodGet, "/api/auth/me", nil)
			r.Header.Set("X-Api-Key", key)
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-For", c.forwarded)
			}
			if p := b.do(r); c.in {
				p.want(200, "")
			} else {
				p.problem(403, "key_network")
			}
		})
	}
	t.Run("before an application too", func(t *testing.T) {
		_, key := trusting.keyWith(networks + `,"application":"app"`)
		ask := func(from string) *page {
			return trusting.program().ask("http://app.localhost/", "X-Api-Key", key, "X-Forwarded-For", from)
		}
		ask("198.51.100.7").want(204, "")
		ask("203.0.113.9").problem(403, "key_network")
	})
}

func TestAReadOnlyKeyChangesNothingAtAnySurface(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()))
	_, key := h.keyWith(`"read_only":true,"application":"app"`)
	_, own := h.keyWith(`"read_only":true`)
	_, writes := h.keyWith(`"application":"app"`)
	send := func(method, key string) *page {
		return h.raw(method+" /x HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 0", "X-Api-Key: "+key)
	}
	send("GET", key).want(200, "")
	send("OPTIONS", key).want(200, "")
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "PROPFIND"} {
		send(method, key).problem(403, "key_read_only")
		send(method, writes).want(200, "")
	}
	const at = "http://app.localhost/x"
	h.program().ask(at, "X-Api-Key", key, "X-Original-Method", "GET").want(204, "")
	h.program().ask(at, "X-Api-Key", key, "X-Original-Method", "POST").problem(403, "key_read_only")
	h.program().ask(at, "X-Api-Key", key).problem(403, "key_read_only") // a proxy that does not tell
	h.program().ask(at, "X-Api-Key", writes).want(204, "")
	h.program().with(own, "GET", "/api/auth/me", "").want(200, "")
	h.program().with(own, "POST", "/api/auth/logout", "").problem(403, "key_read_only")
}

func TestKEY02_AReadOnlyKeyOpensNoConnectionThatCarriesMore(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()))
	_, reads := h.keyWith(`"read_only":true,"application":"app"`)
	_, writes := h.keyWith(`"application":"app"`)
	const get = "GET /socket HTTP/1.1\r\nHost: app.localhost\r\nOrigin: http://app.localhost"
	t.Run("through the gateway", func(t *testing.T) {
		for name, headers := range map[string][]string{
			"an upgrade":  {"Upgrade: WebSocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
			"half of one": {"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
		} {
			t.Run(name, func(t *testing.T) {
				h.raw(append([]string{get, "X-Api-Key: " + reads}, headers...)...).problem(403, "key_read_only")
				h.raw(append([]string{get, "X-Api-Key: " + writes}, headers...)...).want(200, "").shows("Sec-Websocket-Key")
			})
		}
	})
	t.Run("an upgrade to something else is no upgrade at the gateway", func(t *testing.T) {
		p := h.raw(get, "X-Api-Key: "+reads, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__").want(200, "")
		if strings.Contains(strings.ToLower(p.body), "h2c") {
			t.Errorf("the application got %s", p.body)
		}
	})
	t.Run("before a proxy that tells of it", func(t *testing.T) {
		const at = "http://app.localhost/socket"
		for _, told := range [][2]string{
			{"Upgrade", "websocket"}, {"Upgrade", "h2c"}, {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
		} {
			ask := func(key string) *page {
				return h.program().ask(at, "X-Api-Key", key, "X-Original-Method", "GET", told[0], told[1])
			}
			ask(reads).problem(403, "key_read_only")
			ask(writes).want(204, "")
		}
	})
}

func TestKEY02_NoOtherMethodThanTheDecidedOneArrivesWithAReadOnlyKey(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()))
	_, reads := h.keyWith(`"read_only":true,"application":"app"`)
	_, writes := h.keyWith(`"application":"app"`)
	for _, name := range []string{"X-HTTP-Method-Override", "x_http_method", "X.Method.Override"} {
		send := func(key string) *page {
			return h.raw("GET /x HTTP/1.1\r\nHost: app.localhost", "X-Api-Key: "+key, name+": DELETE").want(200, "")
		}
		if p := send(reads); strings.Contains(p.body, "DELETE") {
			t.Errorf("%s: the application got %s", name, p.body)
		}
		send(writes).shows("DELETE") // without rules this is between the client and the application
	}
}

func TestAKeysOwnRateHoldsAtEverySurface(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()))
	_, key := h.keyWith(`"rate":{"requests":3,"per":60},"application":"app"`)
	send := func() *page { return h.raw("GET /x HTTP/1.1\r\nHost: app.localhost", "X-Api-Key: "+key) }
	send().want(200, "")
	h.program().ask("http://app.localhost/", "X-Api-Key", key).want(204, "")
	h.program().with(key, "GET", "/api/auth/me?application=app", "").want(200, "")
	for _, p := range []*page{send(), h.program().with(key, "GET", "/api/auth/me?application=app", "")} {
		p.problem(429, "rate_limited")
		if p.header.Get("Retry-After") != "20" {
			t.Errorf("Retry-After %q", p.header.Get("Retry-After"))
		}
	}
	h.clock.advance(21 * time.Second)
	h.poll()
	send().want(200, "")
}

// inTwoHeaders gives the application "app" a profile whose keys come in two headers.
func inTwoHeaders(_ *broker.Snapshot, app func(string) *broker.Application) {
	p := *app("app").Profile
	p.KeyPrefix, p.KeyHeaders, p.KeySecretHeader = "aurora_key", []string{"X-Key-Id"}, "X-Key-Secret"
	app("app").Profile = &p
}

func TestFWD04_NoHalfOfAKeyIsPassedOn(t *testing.T) {
	app := newEcho(t)
	h := gatewayHouse(t, behind(t, app.url()), inTwoHeaders)
	_, key := h.keyWith(`"application":"app"`)
	cut := strings.LastIndex(key, "_")
	public, secret := key[:cut], key[cut+1:]
	if !strings.HasPrefix(public, "aurora_key_") {
		t.Fatalf("key begins %s", public)
	}
	get := "GET / HTTP/1.1\r\nHost: app.localhost"
	p := h.raw(get, "X-Key-Id: "+public, "X-Key-Secret: "+secret, "X_Key_Secret: "+secret, "x.key.id: "+public)
	p.want(200, "").shows("X-Auth-User: lena\r\n")
	if strings.Contains(p.body, secret) || strings.Contains(p.body, public) {
		t.Errorf("the application got %s", p.body)
	}
	h.raw(get, "X-Key-Id: "+public).problem(401, "credential_invalid")
	h.raw(get, "X-Key-Secret: "+secret).problem(401, "credential_invalid")
	h.raw(get, "X-Key-Id: "+key).problem(401, "credential_invalid")
	h.raw(get, "X-Key-Id: "+public, "X-Key-Secret: "+secret, "X-Key-Secret: "+secret).problem(400, "two_credentials")
	h.raw(get, "X-Api-Key: "+key).problem(401, "unauthenticated") // the profile names no such header
	h.program().ask("http://app.localhost/", "X-Key-Id", public, "X-Key-Secret", secret).want(204, "")
	if strings.Contains(h.log.String(), secret) {
		t.Error("the log holds the secret")
	}
}

func TestLimitsOfKeysAreReadStrictly(t *testing.T) {
	h := newHouse(t)
	token := h.token("lena", "")
	for fields, code := range map[string]string{
		`"never_expires":true`:                                 "lifetime_invalid", // the house does not allow it
		`"never_expires":true,"expires_in":60`:                 "lifetime_invalid",
		`"never_expires":"true"`:                               "field_invalid",
		`"read_only":1`:                                        "field_invalid",
		`"read_only":"false"`:                                  "field_invalid",
		`"networks":"192.0.2.0/24"`:                            "field_invalid",
		`"networks":[1]`:                                       "field_invalid",
		`"networks":["192.0.2.0/33"]`:                          "network_invalid",
		`"networks":["example.org"]`:                           "network_invalid",
		`"networks":[""]`:                                      "network_invalid",
		`"networks":["` + strings.Repeat(`::","`, 50) + `::"]`: "network_invalid",
		`"rate":"100/1m"`:                                      "field_invalid",
		`"rate":{}`:                                            "rate_invalid",
		`"rate":{"requests":1}`:                                "rate_invalid",
		`"rate":{"requests":1,"per":1,"burst":1}`:              "rate_invalid",
		`"rate":{"requests":0,"per":1}`:                        "rate_invalid",
		`"rate":{"requests":-1,"per":1}`:                       "rate_invalid",
		`"rate":{"requests":1,"per":0}`:                        "rate_invalid",
		`"rate":{"requests":1,"per":86401}`:                    "rate_invalid",
		`"rate":{"requests":1.5,"per":1}`:                      "rate_invalid",
		`"rate":{"requests":"1","per":1}`:                      "field_invalid",
		`"rate":{"requests":4294967297,"per":1}`:               "rate_invalid",
	} {
		p := h.program().with(token, "POST", "/api/auth/api-keys", `{"name":"x",`+fields+`}`)
		if p.header.Get("X-Error") != code || p.status != 400 {
			t.Errorf("%s: %d %s, want %s", fields, p.status, p.header.Get("X-Error"), code)
		}
	}
	if n := h.counts()["api_keys"]; n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

func TestAKeyTellsItsLimits(t *testing.T) {
	h := newHouse(t)
	h.configure(func(s *broker.Snapshot, _ func(string) *broker.Application) { s.Keys.NeverExpire = true })
	token := h.token("lena", "")
	h.keyWith(`"networks":["192.0.2.9/24","::ffff:10.0.0.1"],"read_only":true,"rate":{"requests":100,"per":60},"never_expires":true`)
	list, _ := h.program().with(token, "GET", "/api/auth/api-keys", "").want(200, "").object()["api_keys"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d keys", len(list))
	}
	told, err := json.Marshal(list[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"networks":["10.0.0.1/32","192.0.2.0/24"]`, `"read_only":true`, `"rate":{"per":60,"requests":100}`,
		`"never_expires":true`, `"expires_at":null`, `"state":"active"`, `"successor":null`,
	} {
		if !strings.Contains(string(told), want) {
			t.Errorf("%s is not in %s", want, told)
		}
	}
}

func TestKEY02_AKeyIsRotatedByItsOwner(t *testing.T) {
	h := newHouse(t)
	token := h.token("lena", "")
	rotate := func(bearer, id, body string) *page {
		return h.program().with(bearer, "POST", "/api/auth/api-keys/"+id+"/rotate", body)
	}
	works := func(key string) int { return h.program().with(key, "GET", "/api/auth/me", "").status }
	id, old := h.keyWith(`"read_only":true,"expires_in":864000`)
	next := rotate(token, id, "").want(201, "").object()
	key, _ := next["key"].(string)
	if works(old) != 200 || works(key) != 200 || next["name"] != "k" || next["read_only"] != true {
		t.Errorf("successor is %v", next)
	}
	rotate(token, id, "").problem(409, "key_rotated")
	h.clock.advance(24 * time.Hour)
	h.poll()
	if works(old) != 401 || works(key) != 200 {
		t.Errorf("after the overlap: %d, %d", works(old), works(key))
	}
	token = h.token("lena", "")
	nextID, _ := next["id"].(string)
	last := rotate(token, nextID, `{"overlap":0}`).want(201, "").object()
	lastKey, _ := last["key"].(string)
	if works(key) != 401 || works(lastKey) != 200 {
		t.Errorf("without an overlap: %d, %d", works(key), works(lastKey))
	}
	lastID, _ := last["id"].(string)
	for body, code := range map[string]string{
		`{"overlap":2592001}`: "overlap_invalid",
		`{"overlap":-1}`:      "overlap_invalid",
		`{"overlap":1.5}`:     "overlap_invalid",
		`{"overlap":"1h"}`:    "field_invalid",
		`{"other":1}`:         "field_unknown",
		`[]`:                  "body_invalid",
	} {
		rotate(token, lastID, body).problem(400, code)
	}
	rotate(h.token("vera", ""), lastID, "").problem(404, "not_found")
	rotate(token, "none", "").problem(404, "not_found")
	_, other := h.keyWith(`"application":"sallyport"`)
	rotate(other, lastID, "").problem(403, "key_cannot")
	rotate(lastKey, lastID, "").problem(403, "key_read_only")
	b := h.signedIn("lena")
	b.asProgram = true
	r := b.request(http.MethodPost, "/api/auth/api-keys/"+lastID+"/rotate", nil)
	b.do(r).problem(403, "csrf")
	if works(lastKey) != 200 {
		t.Error("a refusal ended the key")
	}
}

// keyMails are the codes for keys that went out.
type keyMails struct{ sent []broker.CodeMail }

func (m *keyMails) SendCode(_ context.Context, mail broker.CodeMail) error {
	m.sent = append(m.sent, mail)
	return nil
}

// confirming makes the house one whose new keys wait for a code from an e-mail.
func (h *house) confirming() *keyMails {
	h.t.Helper()
	mails, log, doors := &keyMails{}, slog.New(slog.DiscardHandler), h.broker.Current().Providers
	h.broker = broker.New(broker.Options{Store: h.store, Log: log, Now: h.clock.now, Node: "test", Mailer: mails})
	s := snapshot(h.t, issuer, doors)
	s.Generation, s.Keys.ConfirmByEmail = 2, true
	if _, err := h.broker.Load(h.t.Context(), s); err != nil {
		h.t.Fatal(err)
	}
	h.poll()
	h.mount(log, loopback())
	return mails
}

func TestKEY03_AKeyThatWaitsForItsCodeIsDead(t *testing.T) {
	h := newHouse(t)
	mails := h.confirming()
	token := h.token("lena", "")
	made := h.program().with(token, "POST", "/api/auth/api-keys", `{"name":"k"}`).want(202, "").object()
	key, _ := made["key"].(string)
	id, _ := made["id"].(string)
	verification, _ := made["verification_id"].(string)
	if made["state"] != "pending" || verification == "" || len(mails.sent) != 1 || mails.sent[0].To != "lena@house.example" {
		t.Fatalf("the answer is %v, %d mails", made, len(mails.sent))
	}
	h.program().with(key, "GET", "/api/auth/me", "").problem(401, "expired")
	h.program().with(token, "POST", "/api/auth/api-keys/"+id+"/rotate", "").problem(409, "key_inactive")
	h.program().with(key, "POST", "/api/auth/confirm",
		`{"verification_id":"`+verification+`","code":"`+mails.sent[0].Code+`"}`).problem(403, "key_cannot")
	h.program().with(token, "POST", "/api/auth/confirm",
		`{"verification_id":"`+verification+`","code":"`+mails.sent[0].Code+`"}`).want(200, "")
	h.program().with(key, "GET", "/api/auth/me", "").want(200, "")
}
