package wire

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"sallyport/broker"
	"sallyport/identity"
)

// Limits bound the requests of sources that nobody is signed in with, on this process and in memory. A source is an
// address, of IPv6 a /64; behind a proxy it is the client's only if the proxy is trusted.
type Limits struct {
	house   *House
	sources *otter.Cache[source, *rate.Limiter]
}

// source says how much it may ask as well, so that a reload counts anew only when the limit changes.
type source struct {
	network   string
	perMinute int
}

// limitedSources bounds what is remembered (DOS-03); the source not seen for longest is forgotten first.
const limitedSources = 100_000

// NewLimits returns limits that have counted nothing.
func NewLimits(h *House) *Limits {
	return &Limits{h, otter.Must(&otter.Options[source, *rate.Limiter]{MaximumSize: limitedSources})}
}

// Page bounds a page's requests. Who shows a good credential is not counted; everybody else is, whatever they show.
func (l *Limits) Page(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if perMinute(r) == 0 || l.known(r) {
			return next(w, r)
		}
		if err := l.take(r); err != nil {
			return err
		}
		return next(w, r)
	}
}

// API bounds an API's requests. Which application a credential is for is the handler's to know, so what shows one is
// counted when it turns out to be none. Past the limit that is not told any more.
func (l *Limits) API(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if perMinute(r) == 0 {
			return next(w, r)
		}
		if _, err := Credential(r, Of(r).SelfApplication); errors.Is(err, ErrNoCredential) {
			if err := l.take(r); err != nil {
				return err
			}
			return next(w, r)
		}
		return l.unlessKnown(w, r, next)
	}
}

// Shown bounds the requests of a route whose secret stands in the body: those that are refused count.
func (l *Limits) Shown(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if perMinute(r) == 0 {
			return next(w, r)
		}
		return l.unlessKnown(w, r, next)
	}
}

// unlessKnown counts a request that turns out to show nothing good.
func (l *Limits) unlessKnown(w http.ResponseWriter, r *http.Request, next Handler) error {
	err := next(w, r)
	if err == nil {
		return nil
	}
	if status, _ := Status(err); status != http.StatusUnauthorized {
		return err
	}
	if over := l.take(r); over != nil {
		return over
	}
	return err
}

func perMinute(r *http.Request) int { return Of(r).Throttle.RequestsPerMinute }

// take counts one request: identity.ErrThrottled coded rate_limited past the limit.
func (l *Limits) take(r *http.Request) error {
	key := source{Of(r).Network(), perMinute(r)}
	bucket, _ := l.sources.ComputeIfAbsent(key, func() (*rate.Limiter, bool) {
		return rate.NewLimiter(rate.Every(key.every()), key.perMinute), false
	})
	if bucket.AllowN(l.house.Now(), 1) {
		return nil
	}
	return identity.WithCode("rate_limited", identity.Throttled(key.every()))
}

// every is the time from one request to the next at the limit.
func (s source) every() time.Duration { return time.Minute / time.Duration(s.perMinute) }

// known reports whether a request shows a credential that opens what its page belongs to.
func (l *Limits) known(r *http.Request) bool {
	app := pageOwner(r)
	if app == nil {
		return false
	}
	c, err := Credential(r, app)
	if err != nil {
		return false
	}
	_, err = l.house.Broker.Authenticate(r.Context(), Of(r).Visit, c, app)
	return err == nil
}

// pageOwner is the application that a page of ours speaks for: ourselves on the issuer's host, else the one it stands
// below, or leads to, or that has the host's front page.
func pageOwner(r *http.Request) *broker.Application {
	f := Of(r)
	if f.IsIssuer(f.Host) {
		return f.SelfApplication
	}
	if f.Below != nil {
		return f.Below
	}
	if to, err := url.Parse(r.URL.Query().Get("to")); err == nil {
		if app := f.ApplicationAt(f.Host, to.Path); app != nil {
			return app
		}
	}
	return f.ApplicationAt(f.Host, "/")
}
