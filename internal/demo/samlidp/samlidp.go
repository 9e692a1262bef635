// Package samlidp owns the demonstration's SAML 2.0 identity provider: a small, correct one on loopback, so that the door
// to SAML providers can be seen at work without anybody's account elsewhere. Web Browser SSO profile with HTTP-Redirect
// in and HTTP-POST out, one registered service provider, signed responses with signed assertions, persistent name ids.
// People, key and sessions live in memory and go with the process. It is no product: it leaves lockout, registration,
// encryption, logout messages and storage to real providers.
package samlidp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/crewjam/saml"

	"sallyport/internal/demo/loopback"
)

// Person is somebody who can sign in here.
type Person struct {
	// Username is typed into the form and is the attribute uid.
	Username string
	// Name is the attribute displayName.
	Name string
	// Email is the attribute mail.
	Email    string
	Password string
	// Groups is the attribute groups, one value each.
	Groups []string
}

// ServiceProvider is the one that may ask: by its metadata, or by entity id and endpoint.
type ServiceProvider struct {
	// MetadataURL is where its metadata is. It is fetched when the first request comes, so the service provider may start
	// later. Names below .localhost are this machine.
	MetadataURL string
	// EntityID and ACSURL stand for metadata where MetadataURL is empty. ACSURL is compared byte for byte.
	EntityID, ACSURL string
}

// Options say who may use the provider and where it is.
type Options struct {
	// Listen is a loopback address with port; "127.0.0.1:0" takes any free port.
	Listen string
	// PublicURL is what everything is below, for instance http://saml.localhost:8445; empty means http:// and the
	// listener's address. It has no path, and its name must lead to the listener.
	PublicURL       string
	People          []Person
	ServiceProvider ServiceProvider
	// Log may be nil.
	Log *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Server is a running provider.
type Server struct {
	url    string
	people map[string]member
	idp    *saml.IdentityProvider
	sp     *registration
	state  *state
	log    *slog.Logger
	now    func() time.Time
	http   *loopback.Server
}

// member is a person with the name that the service provider knows them by for ever.
type member struct {
	Person
	nameID string
}

// Start listens and serves until ctx ends or Close is called.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, fmt.Errorf("demo saml identity provider: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("demo saml identity provider: %w", err)
	}
	if s.url == "" {
		s.url = "http://" + listener.Addr().String()
	}
	if s.idp, err = newIdentityProvider(s.url, s.sp, s.now); err != nil {
		return nil, errors.Join(fmt.Errorf("demo saml identity provider: %w", err), listener.Close())
	}
	s.http = loopback.Serve(ctx, listener, s.routes(), s.log)
	return s, nil
}

func newServer(o Options) (*Server, error) {
	if err := loopback.Check(o.Listen); err != nil {
		return nil, err
	}
	base, err := loopback.PublicURL(o.PublicURL)
	if err != nil {
		return nil, err
	}
	sp, err := newRegistration(o.ServiceProvider)
	if err != nil {
		return nil, err
	}
	s := &Server{
		url: base, people: map[string]member{}, sp: sp, log: o.Log, now: o.Now,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.state = newState(s.now)
	for _, p := range o.People {
		if p.Username == "" || p.Password == "" {
			return nil, fmt.Errorf("person %q has no name or no password", p.Username)
		}
		s.people[p.Username] = member{Person: p, nameID: newSecret()}
	}
	return s, nil
}

// URL is where the provider is for people: a page that says who is signed in here.
func (s *Server) URL() string { return s.url }

// EntityID is the provider's name, which is where its metadata is as well.
func (s *Server) EntityID() string { return s.idp.MetadataURL.String() }

// MetadataURL is where the provider's metadata is.
func (s *Server) MetadataURL() string { return s.idp.MetadataURL.String() }

// Close stops serving and waits for it. It may be called twice.
func (s *Server) Close() error {
	return s.http.Close()
}

// routes lists every page and endpoint. Cross-origin posts from browsers are refused: the sign-in form, too, is only
// ours to send.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /style.css", s.asset("text/css; charset=utf-8", "style.css"))
	mux.HandleFunc("GET /post.js", s.asset("text/javascript; charset=utf-8", "post.js"))
	mux.HandleFunc("GET /metadata", s.metadata)
	mux.HandleFunc("GET /sso", s.sso)
	mux.HandleFunc("POST /login", s.signIn)
	mux.HandleFunc("POST /logout", s.signOut)
	return http.NewCrossOriginProtection().Handler(secured(mux))
}

// maxBody bounds every body.
const maxBody = 64 << 10

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		// The origin alone: with no-referrer the answer's post would name "null" as where it comes from.
		h.Set("Referrer-Policy", "strict-origin")
		// No form-action: the answer is a form to the service provider, and browsers check what follows it as well.
		h.Set("Content-Security-Policy",
			"default-src 'none'; script-src 'self'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	out, err := xml.MarshalIndent(metadataOf(s.idp, s.now()), "", "  ")
	if err != nil {
		s.log.Error("demo saml identity provider: metadata", "err", err)
		http.Error(w, "no metadata", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, _ = w.Write(append([]byte(xml.Header), out...))
}

// newSecret returns 256 random bits.
func newSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}
