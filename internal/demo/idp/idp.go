// Package idp owns the demonstration's OpenID provider: a small, correct one on loopback, so that the door to OpenID
// providers can be seen at work without anybody's account elsewhere. Code flow with PKCE S256 only, exact redirect URIs,
// one-use codes, rotating refresh tokens, RP-initiated logout. People, keys and sessions live in memory and go with the
// process. It is no product: it leaves lockout, consent, registration and storage to real providers.
package idp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"sallyport/internal/demo/loopback"
)

// Person is somebody who can sign in here.
type Person struct {
	// Username is typed into the form and is the claim preferred_username.
	Username string
	Name     string
	// Email counts as verified when it is not empty.
	Email    string
	Password string
	// Groups are given with the scope "groups".
	Groups []string
}

// Client is a relying party.
type Client struct {
	ID string
	// Secret is empty for a public client.
	Secret string
	// RedirectURIs and PostLogoutRedirectURIs are compared byte for byte.
	RedirectURIs, PostLogoutRedirectURIs []string
}

// Options say who may use the provider and where it is.
type Options struct {
	// Listen is a loopback address with port; "127.0.0.1:0" takes any free port.
	Listen string
	// PublicURL is the issuer, for instance http://idp.localhost:8444; empty means http:// and the listener's address.
	// It has no path, and its name must lead to the listener.
	PublicURL string
	People    []Person
	Clients   []Client
	// Log may be nil.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Server is a running provider.
type Server struct {
	issuer  string
	people  map[string]Person
	clients map[string]Client
	signer  *signer
	state   *state
	log     *slog.Logger
	now     func() time.Time
	http    *loopback.Server
}

// Start listens and serves until ctx ends or Close is called.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, fmt.Errorf("demo identity provider: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("demo identity provider: %w", err)
	}
	if s.issuer == "" {
		s.issuer = "http://" + listener.Addr().String()
	}
	s.http = loopback.Serve(ctx, listener, s.routes(), s.log)
	return s, nil
}

func newServer(o Options) (*Server, error) {
	if err := loopback.Check(o.Listen); err != nil {
		return nil, err
	}
	issuer, err := loopback.PublicURL(o.PublicURL)
	if err != nil {
		return nil, err
	}
	signer, err := newSigner()
	if err != nil {
		return nil, err
	}
	s := &Server{
		issuer: issuer, people: map[string]Person{}, clients: map[string]Client{}, signer: signer,
		log: o.Log, now: o.Now,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.state = newState(s.now)
	return s, s.know(o)
}

// know takes over people and clients. A person without a password, or a client without a redirect URI, is a mistake.
func (s *Server) know(o Options) error {
	for _, p := range o.People {
		if p.Username == "" || p.Password == "" {
			return fmt.Errorf("person %q has no name or no password", p.Username)
		}
		s.people[p.Username] = p
	}
	for _, c := range o.Clients {
		if c.ID == "" || len(c.RedirectURIs) == 0 {
			return fmt.Errorf("client %q has no id or no redirect uri", c.ID)
		}
		s.clients[c.ID] = c
	}
	return nil
}

// Issuer is the provider's name and the URL that everything is below.
func (s *Server) Issuer() string { return s.issuer }

// Close stops serving and waits for it. It may be called twice.
func (s *Server) Close() error {
	return s.http.Close()
}

// routes lists every page and endpoint. Cross-origin posts from browsers are refused: the sign-in form, too, is only
// ours to send.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /style.css", s.style)
	mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET /jwks", s.jwks)
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.HandleFunc("POST /authorize", s.signIn)
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("GET /userinfo", s.userInfo)
	mux.HandleFunc("POST /userinfo", s.userInfo)
	mux.HandleFunc("GET /logout", s.askLogout)
	mux.HandleFunc("POST /logout", s.logout)
	return http.NewCrossOriginProtection().Handler(secured(mux))
}

// maxRequest bounds every body.
const maxRequest = 64 << 10

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		// No form-action: browsers apply it to the redirect back to the application as well.
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		next.ServeHTTP(w, r)
	})
}

// newSecret returns 256 random bits.
func newSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}
