package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/internal/testenv"
)

// raw sends a request exactly as written: no library sends these.
func raw(t *testing.T, port int, lines ...string) *http.Response {
	t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestFWD01_AnotherApplicationsHostDoesNotOpenThisOne: nginx serves an unknown or contradicted Host from a server of its
// own choice. Whom the decision is about must be that server's application, never the one the client names.
func TestFWD01_AnotherApplicationsHostDoesNotOpenThisOne(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(local("omar"), "app") // a viewer: app lets him in, vault does not
	if got := w.status(w.app+"/", bearer(token)); got != http.StatusOK {
		t.Fatalf("the token does not open its own application: %d", got)
	}
	only := testenv.Nginx(t, testenv.NginxOptions{
		Issuer: host(w.issuer), Sallyport: "127.0.0.1:" + strings.TrimPrefix(host(w.issuer), "sso.localhost:"),
		AnyHost: true, Sites: []testenv.NginxSite{{Host: "vault.localhost", Upstream: w.echo.address()}},
	})
	for name, answer := range map[string]*http.Response{
		"the request line says vault and the Host header app": raw(t, w.nginx.Port,
			"GET "+w.vault+"/secret HTTP/1.1", "Host: "+host(w.app), "Authorization: Bearer "+token, "Connection: close"),
		"an nginx that has vault only is asked for app": raw(t, only.Port,
			"GET /secret HTTP/1.1", "Host: "+host(w.app), "Authorization: Bearer "+token, "Connection: close"),
	} {
		if answer.StatusCode/100 != 4 {
			t.Errorf("%s: status %d, want a refusal", name, answer.StatusCode)
		}
		_ = answer.Body.Close()
	}
	for _, h := range w.echo.all() {
		if h.URL == "/secret" {
			t.Errorf("vault was reached as %s", h.Host)
		}
	}
}
