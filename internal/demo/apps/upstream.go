package apps

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/internal/demo/loopback"
)

// UpstreamOptions say how the application behind the gateway looks. The zero value will do.
type UpstreamOptions struct {
	// Title heads its page; empty means "Live view".
	Title string
	// Tick is the time between two events of its stream; zero means a second.
	Tick time.Duration
	// Log may be nil.
	Log *slog.Logger
}

// Upstream is an application on a loopback socket of its own. It believes the identity headers of whoever reaches it, so
// nobody but the gateway may: it knows no cookies, no tokens and no passwords.
type Upstream struct {
	title string
	tick  time.Duration
	url   string
	log   *slog.Logger
	page  *template.Template
	http  *loopback.Server
	// streams bounds the long answers, and is how Close waits for them.
	streams chan struct{}
	once    sync.Once
}

//go:embed pages
var pageFiles embed.FS

const (
	maxStreams   = 64
	streamWrites = 10 * time.Second
)

// StartUpstream listens on a free port of 127.0.0.1 and serves until ctx ends or Close is called.
func StartUpstream(ctx context.Context, o UpstreamOptions) (*Upstream, error) {
	page, err := template.ParseFS(pageFiles, "pages/upstream.html")
	if err != nil {
		return nil, fmt.Errorf("demo application: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo application: %w", err)
	}
	u := &Upstream{
		title: o.Title, tick: o.Tick, log: o.Log, page: page, url: "http://" + listener.Addr().String(),
		streams: make(chan struct{}, maxStreams),
	}
	if u.title == "" {
		u.title = "Live view"
	}
	if u.tick <= 0 {
		u.tick = time.Second
	}
	if u.log == nil {
		u.log = slog.New(slog.DiscardHandler)
	}
	u.http = loopback.Serve(ctx, listener, u.routes(), u.log)
	return u, nil
}

// URL is where the gateway finds it, for instance http://127.0.0.1:40123.
func (u *Upstream) URL() string { return u.url }

// Close ends every stream, stops serving and waits for it. It may be called twice.
func (u *Upstream) Close() error {
	err := u.http.Close()
	u.once.Do(func() {
		for range maxStreams {
			u.streams <- struct{}{}
		}
	})
	return err
}

func (u *Upstream) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", u.home)
	mux.HandleFunc("GET /api/", u.api)
	mux.HandleFunc("GET /time", u.stream(u.clock))
	mux.HandleFunc("GET /echo", u.stream(u.echo))
	mux.HandleFunc("GET /app.css", asset("text/css; charset=utf-8", "upstream.css"))
	mux.HandleFunc("GET /app.js", asset("text/javascript; charset=utf-8", "upstream.js"))
	return known(mux)
}

// known refuses requests without an identity: they did not come through the gateway.
func known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		// Who may frame it is the gateway's to say.
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'")
		if r.Header.Get("X-Auth-User") == "" {
			http.Error(w, "this application is reached through the gateway", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// visitorOf believes the gateway.
func visitorOf(h http.Header) visitor {
	return visitor{
		Username: h.Get("X-Auth-User"), Name: unescape(h.Get("X-Auth-Name")), Email: h.Get("X-Auth-Email"),
		Roles: strings.Split(h.Get("X-Auth-Roles"), ","),
	}
}

func (u *Upstream) api(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(visitorOf(r.Header))
}

// line is one header as it arrived.
type line struct{ Name, Value string }

func (u *Upstream) home(w http.ResponseWriter, r *http.Request) {
	var out bytes.Buffer
	err := u.page.Execute(&out, map[string]any{"Title": u.title, "Who": visitorOf(r.Header), "Headers": received(r)})
	if err != nil {
		u.log.Error("demo application: page", "err", err)
		http.Error(w, "no page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes())
}

// received lists the headers of a request by name. Of what would let somebody in, it says only that it is there.
func received(r *http.Request) []line {
	lines := []line{{"Host", r.Host}}
	for name, values := range r.Header {
		for _, value := range values {
			switch name {
			case "Authorization", "X-Api-Key", "X-Auth-Token", "X-Auth-Cookie":
				value = fmt.Sprintf("(%d bytes)", len(value))
			case "Cookie":
				value = "(only names) " + strings.Join(cookieNames(r), ", ")
			}
			lines = append(lines, line{name, value})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return strings.Compare(a.Name, b.Name) })
	return lines
}

func cookieNames(r *http.Request) []string {
	var names []string
	for _, c := range r.Cookies() {
		names = append(names, c.Name)
	}
	return names
}

// stream runs a long answer if there is room for one more.
func (u *Upstream) stream(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case u.streams <- struct{}{}:
			defer func() { <-u.streams }()
			serve(w, r)
		default:
			http.Error(w, "too many streams are open", http.StatusServiceUnavailable)
		}
	}
}

// clock tells the time as server-sent events until the reader leaves.
func (u *Upstream) clock(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	connection := http.NewResponseController(w)
	ticker := time.NewTicker(u.tick)
	defer ticker.Stop()
	for now := time.Now(); ; {
		if err := connection.SetWriteDeadline(time.Now().Add(streamWrites)); err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", now.UTC().Format(time.RFC3339)); err != nil {
			return
		}
		if err := connection.Flush(); err != nil {
			return
		}
		select {
		case now = <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// asset serves one of the files that the page loads.
func asset(contentType, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		body, err := pageFiles.ReadFile("pages/" + name)
		if err != nil {
			http.Error(w, "no file", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	}
}
