package apps

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/internal/testenv"
)

func startUpstream(t *testing.T) *Upstream {
	t.Helper()
	u, err := StartUpstream(context.Background(), UpstreamOptions{Tick: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

func fetch(t *testing.T, r *http.Request) (int, string) {
	t.Helper()
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// asked is a request as the gateway sends it.
func asked(t *testing.T, u *Upstream, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"X-Auth-User": "lena", "X-Auth-Name": "Lena%20L%C3%B6we", "X-Auth-Email": "lena@demo.example", "X-Auth-Roles": "operator,viewer",
	} {
		r.Header.Set(name, value)
	}
	return r
}

func TestTheUpstreamBelievesTheGatewayAndNobodyElse(t *testing.T) {
	u := startUpstream(t)
	status, body := fetch(t, asked(t, u, "/api/hello"))
	if status != http.StatusOK || strings.TrimSpace(body) !=
		`{"username":"lena","name":"Lena Löwe","email":"lena@demo.example","roles":["operator","viewer"]}` {
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"/", "/api/hello", "/time", "/echo"} {
		r := asked(t, u, path)
		r.Header.Del("X-Auth-User")
		r.Header.Set("Authorization", "Bearer x")
		if status, _ := fetch(t, r); status != http.StatusUnauthorized {
			t.Errorf("%s without identity: %d", path, status)
		}
	}
}

func TestHeadersAreShownEscapedAndSecretsAreNot(t *testing.T) {
	u := startUpstream(t)
	r := asked(t, u, "/")
	r.Header.Set("X-Wish", `<script>alert(1)</script>`)
	r.Header.Set("X-Auth-Token", "eyJ-a-token")
	r.Header.Set("Authorization", "Bearer eyJ-another")
	r.Header.Set("Cookie", "theme=very-dark")
	_, body := fetch(t, r)
	for _, want := range []string{"X-Wish", "&lt;script&gt;alert(1)&lt;/script&gt;", "(only names) theme", "(11 bytes)", "Lena Löwe"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
	for _, unwanted := range []string{"<script>", "eyJ", "very-dark"} {
		if strings.Contains(body, unwanted) {
			t.Errorf("%q in %s", unwanted, body)
		}
	}
}

func TestTheStreamGoesOnUntilTheUpstreamCloses(t *testing.T) {
	u := startUpstream(t)
	answer, err := http.DefaultTransport.RoundTrip(asked(t, u, "/time"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("type %q", got)
	}
	lines := bufio.NewScanner(answer.Body)
	for events := 0; events < 3 && lines.Scan(); {
		if at, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if _, err := time.Parse(time.RFC3339, at); err != nil {
				t.Error(err)
			}
			events++
		}
	}
	s := dial(t, u)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // what was still on its way
	}
	if n, err := s.from.Read(make([]byte, 1)); err == nil {
		t.Errorf("the socket goes on: %d", n)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	u := startUpstream(t)
	for range maxStreams {
		u.streams <- struct{}{}
	}
	if status, _ := fetch(t, asked(t, u, "/time")); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	for range maxStreams {
		<-u.streams
	}
}

func TestBrowser_StreamAndSocketShowOnThePageBehindAGateway(t *testing.T) {
	u := startUpstream(t)
	target, err := url.Parse(u.URL())
	if err != nil {
		t.Fatal(err)
	}
	gateway := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.SetXForwarded()
		p.Out.Header.Set("X-Auth-User", "lena")
		p.Out.Header.Set("X-Auth-Roles", "operator")
	}})
	t.Cleanup(gateway.Close)
	// Last, so that it is gone first: the gateway waits for its streams.
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	b.Open(strings.Replace(gateway.URL, "127.0.0.1", "live.localhost", 1) + "/")
	b.WaitText("connected")
	b.Eval(`document.getElementById("words").value = "hello there"; document.getElementById("say").requestSubmit()`)
	b.WaitText("it said: hello there")
	b.WaitText("as it is sent: 20")
	if v := b.Violations(); len(v) != 0 {
		t.Error(v)
	}
	b.Viewport(320, 800)
	if wide := b.Eval("document.documentElement.scrollWidth"); wide != 320.0 {
		t.Errorf("the page is %v wide in a window of 320", wide)
	}
}
