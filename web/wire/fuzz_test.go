package wire

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/broker"
)

// at gives a request the facts of a host without a house.
func at(r *http.Request, host string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), factsKey{}, &Facts{Host: host}))
}

func flowsForTest() *Flows {
	now := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	keys := broker.WebKeys{FlowHash: []byte(broker.NewSecret()[:32]), FlowBlock: []byte(broker.NewSecret()[:32])}
	return NewFlows(keys, func() time.Time { return now })
}

// FuzzFWD01_XForwardedFor holds that the walk ends at an address, and that what stands left of the first address we do not
// trust changes nothing.
func FuzzFWD01_XForwardedFor(f *testing.F) {
	for _, s := range []string{"", "198.51.100.7", "10.0.0.1, 10.0.0.2", "::1", "fe80::1%eth0", "a,b,c", ",,,", "198.51.100.7:80"} {
		f.Add(s, s)
	}
	h := &House{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	peer := netip.MustParseAddr("10.9.9.9")
	f.Fuzz(func(t *testing.T, one, two string) {
		got := h.client(peer, []string{one, two})
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%q %q: %v", one, two, got)
		}
		if with := h.client(peer, []string{one, two, "198.51.100.7"}); with != netip.MustParseAddr("198.51.100.7") {
			t.Fatalf("%q %q before the real peer gives %v", one, two, with)
		}
		if stranger := netip.MustParseAddr("203.0.113.1"); h.client(stranger, []string{one, two}) != stranger {
			t.Fatalf("an unlisted peer is believed %q %q", one, two)
		}
	})
}

// FuzzFlowCookie holds that only what we sealed under this very name and host opens.
func FuzzFlowCookie(f *testing.F) {
	flows := flowsForTest()
	blank := at(httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/login", nil), "sso.localhost")
	good := flows.New(blank)
	w := httptest.NewRecorder()
	if err := flows.Save(w, blank, good); err != nil {
		f.Fatal(err)
	}
	sealed := w.Result().Cookies()[0].Value
	for _, s := range []string{"", sealed, sealed[1:], strings.ToLower(sealed), sealed + "=", "a", "====", "|||"} {
		f.Add(good.ID, s)
		f.Add("x", s)
	}
	f.Fuzz(func(t *testing.T, id, value string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/login", nil)
		r.Header["Cookie"] = []string{flowPrefix + id + "=" + value}
		flow, err := flows.Load(at(r, "sso.localhost"), id)
		if id == good.ID && value == sealed && err != nil {
			t.Fatalf("our own does not open: %v", err)
		}
		if err == nil && (id != good.ID || !reflect.DeepEqual(flow, good)) { // base64 has spellings more than one
			t.Fatalf("id %q value %q opens as %+v", id, value, flow)
		}
		if _, err := flows.Load(at(r, "app.localhost"), id); err == nil {
			t.Fatal("opens on another host")
		}
	})
}

func TestAFlowFitsIntoItsCookieWhateverItRemembers(t *testing.T) {
	flows := flowsForTest()
	r := at(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/login", nil), strings.Repeat("h", 253))
	for name, change := range map[string]func(*Flow){
		"at the issuer": func(f *Flow) {
			f.Challenge, f.State, f.Username = strings.Repeat("c", 43), strings.Repeat("s", 64), strings.Repeat(`"`, 256)
			f.Application, f.Provider, f.Parent = strings.Repeat("a", 63), strings.Repeat("p", 63), strings.Repeat("x", 22)
			f.Pending, f.To = make([]byte, 512), "/me"
		},
		"on an application's host": func(f *Flow) {
			f.Application, f.Verifier, f.To = strings.Repeat("a", 63), strings.Repeat("v", 43), strings.Repeat("&", 1536)
		},
	} {
		t.Run(name, func(t *testing.T) {
			flow := flows.New(r)
			change(&flow)
			w := httptest.NewRecorder()
			if err := flows.Save(w, r, flow); err != nil {
				t.Fatal(err)
			}
			line := w.Header().Get("Set-Cookie")
			pair, _, _ := strings.Cut(line, ";")
			if len(pair) > 4096 {
				t.Errorf("browsers drop a cookie of %d bytes", len(pair))
			}
			if !strings.Contains(line, "; Path=/; ") || !strings.Contains(line, "; Max-Age=600; HttpOnly; Secure; SameSite=Lax") {
				t.Errorf("Set-Cookie ends %q", line[len(pair):])
			}
		})
	}
}
