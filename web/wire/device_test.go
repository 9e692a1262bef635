package wire

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzDOS05_DeviceCookie holds that nothing but what we wrote makes a browser known, for its name and door only, and that
// whatever a browser sends, the next cookie is one that we can read.
func FuzzDOS05_DeviceCookie(f *testing.F) {
	h := &House{Guard: NewGuard([]byte("0123456789abcdef0123456789abcdef"))}
	kept := func(t testing.TB, sent, door, name string) string {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		r.Header["Cookie"] = []string{deviceCookie + "=" + sent}
		w := httptest.NewRecorder()
		h.KeepDevice(w, r, door, name)
		set := w.Result().Cookies()
		if len(set) != 1 || !set[0].HttpOnly || !set[0].Secure || set[0].SameSite != http.SameSiteLaxMode || set[0].MaxAge != deviceLife ||
			set[0].Path != "/" || set[0].Domain != "" {
			t.Fatalf("set %v", set)
		}
		return set[0].Value
	}
	id := strings.Repeat("A", 22)
	good := kept(f, "", "local", "lena")
	for _, s := range []string{"", good, id, id + "." + strings.Repeat("A", 43), good + good, good[:40], strings.Repeat(".", 100), "\"" + good + "\""} {
		f.Add(s, "local", "lena")
	}
	f.Add(good, "corp", " LENA")
	f.Fuzz(func(t *testing.T, sent, door, name string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		r.Header["Cookie"] = []string{deviceCookie + "=" + sent}
		if known := h.KnownDevice(r, door, name); known != "" && !strings.Contains(sent, h.Guard.deviceProof(known, door, name)) {
			t.Fatalf("%q is known as %q", sent, known)
		}
		next := kept(t, sent, door, name)
		r.Header["Cookie"] = []string{deviceCookie + "=" + next}
		if known := h.KnownDevice(r, door, name); len(known) != 22 {
			t.Fatalf("%q makes %q, which is unknown", sent, next)
		}
		if h.KnownDevice(r, door+"x", name) != "" || h.KnownDevice(r, door, name+"x") != "" {
			t.Fatalf("%q is good for others", next)
		}
		r.Header["Cookie"] = []string{deviceCookie + "=" + next + "; " + deviceCookie + "=" + next}
		if h.KnownDevice(r, door, name) != "" {
			t.Fatal("sent twice, it counts")
		}
		if len(next) > 22+44*deviceNames {
			t.Fatalf("%d bytes", len(next))
		}
	})
}
