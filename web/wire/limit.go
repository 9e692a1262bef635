package wire

import (
	"net/http"
	"net/url"
	"slices"
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
	refused   bool // counts refusals, apart from requests
}

// limitedSources bounds what is remembered (DOS-03); the source not seen for longest is forgotten first.
const limitedSources = 100_000

// NewLimits returns limits that have counted nothing.
func NewLimits(h *House) *Limits {
	return &Limits{h, otter.Must(&otter.Options[source, *rate.Limiter]{MaximumSize: limitedSources})}
}

// Bound says which requests of a route count. Where one counts, nothing of it is looked at past the limit.
type Bound byte

// The bounds of routes.
const (
	// UnlessKnown counts requests that show no good credential of the application they are for, or of the broker.
	UnlessKnown Bound = iota
	// Always counts all of them: the credential of somebody means nothing where anybody may ask the same without.
	Always
	// Refusals counts, by itself, what was refused: where the secret stands in the body, only the handler knows a good one,
	// and one server shows those of many people.
	Refusals
	// Never counts nothing: for what costs nothing, and for what proxies ask about everybody.
	Never
)

// Bound bounds a route's requests.
func (l *Limits) Bound(by Bound, next Handler) Handler {
	switch by {
	case Never:
		return next
	case Refusals:
		return l.refusals(next)
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if perMinute(r) > 0 && (by == Always || !l.known(r)) {
			if err := l.take(r); err != nil {
				return err
			}
		}
		return next(w, r)
	}
}

// refusals counts after the handler. What is under way at the same time was let in on one look at the count; so many more
// are looked at, once.
func (l *Limits) refusals(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if perMinute(r) == 0 {
			return next(w, r)
		}
		from := sourceOf(r)
		from.refused = true
		if l.bucket(from).TokensAt(l.house.Now()) < 1 {
			return from.exceeded()
		}
		err := next(w, r)
		if err == nil {
			return nil
		}
		if status, _ := Status(err); status >= 400 && status < 500 {
			l.bucket(from).AllowN(l.house.Now(), 1)
		}
		return err
	}
}

func perMinute(r *http.Request) int { return Of(r).Throttle.RequestsPerMinute }

func sourceOf(r *http.Request) source {
	return source{network: Of(r).Network(), perMinute: perMinute(r)}
}

// take counts one request: identity.ErrThrottled coded rate_limited past the limit.
func (l *Limits) take(r *http.Request) error {
	from := sourceOf(r)
	if l.bucket(from).AllowN(l.house.Now(), 1) {
		return nil
	}
	return from.exceeded()
}

func (l *Limits) bucket(of source) *rate.Limiter {
	bucket, _ := l.sources.ComputeIfAbsent(of, func() (*rate.Limiter, bool) {
		return rate.NewLimiter(rate.Every(of.every()), of.perMinute), false
	})
	return bucket
}

func (s source) exceeded() error {
	return identity.WithCode("rate_limited", identity.Throttled(s.every()))
}

// every is the time from one request to the next at the limit.
func (s source) every() time.Duration { return time.Minute / time.Duration(s.perMinute) }

// known reports whether a request shows a credential that opens what it is for.
func (l *Limits) known(r *http.Request) bool {
	return slices.ContainsFunc(owners(r), func(app *broker.Application) bool {
		c, err := Credential(r, app)
		if err != nil {
			return false
		}
		_, err = l.house.Broker.Authenticate(r.Context(), Of(r).Visit, c, app)
		return err == nil
	})
}

// owners are the applications whose credentials a request may show: on the issuer's host ourselves, and the one that the
// API is told to act for; on another host the one that its page speaks for.
func owners(r *http.Request) []*broker.Application {
	f := Of(r)
	if !f.IsIssuer(f.Host) {
		if app := pageOwner(r); app != nil {
			return []*broker.Application{app}
		}
		return nil
	}
	all := []*broker.Application{f.SelfApplication}
	if named, err := f.Application(r.URL.Query().Get("application")); err == nil && named.ID != broker.Self {
		all = append(all, named)
	}
	return all
}

// pageOwner is the application that a page of ours on an application's host speaks for: the one it stands below, or leads
// to, or that has the host's front page; nil for none.
func pageOwner(r *http.Request) *broker.Application {
	f := Of(r)
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
