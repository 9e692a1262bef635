package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"sallyport/identity"
)

// Rule says what may be asked of an application below a path. Of all rules whose path fits a request only those with
// the longest path count; one of them must allow it. A request that no rule's path fits needs nothing beyond what the
// application itself requires, which no rule but a public one sets aside.
type Rule struct {
	// Path is a prefix where it ends in "/", and that one path otherwise, as it stands in the address, decoded. Whether the
	// address has a last slash makes no difference, because to many servers it makes none.
	Path string
	// Methods that are allowed, in upper case, GET standing for HEAD too; empty: all.
	Methods []string
	// Carriers that are allowed: Cookie (which stands for all of them), Bearer, APIKey; empty: all.
	Carriers []Carrier
	// Require lists roles of which one is needed, beside those of the application; empty: none.
	Require []string
	// Public lets everybody in, whoever they are: without a credential they are nobody.
	Public bool
	// Requests per Per are what each person or key may make, and each address (of IPv6, each /64) where nobody is known;
	// zero: no limit.
	Requests int
	Per      time.Duration
}

// Request is what somebody wants of an application, as a gateway or a proxy in front of it was asked.
type Request struct {
	Application *Application
	// Credential that the request shows; the zero value where it shows none.
	Credential Credential
	// Method and Path (decoded, canonical). An empty method is one that the proxy did not tell.
	Method, Path string
}

// Access is an allowed request. Principal is the zero value for nobody in particular, at a public path.
type Access struct {
	Principal identity.Principal
	// Token is the application's own, where it wants one.
	Token string
	// NewCookie is what the application's cookie should hold from now on, see CookieSpelling.RefreshBelow; empty: what it
	// holds.
	NewCookie string
}

// Authorize is the one decision in front of an application: whether a request may reach it, and as whom. Errors are those
// of Authenticate, ErrNoCredential where there is none, identity.ErrDenied coded no_role, method_denied or
// carrier_denied, and identity.ErrThrottled coded rate_limited.
func (b *Broker) Authorize(ctx context.Context, v Visit, q Request) (Access, error) {
	app := q.Application
	rules, err := app.rulesFor(q.Path)
	if err != nil {
		return Access{}, err
	}
	known, bound, err := b.who(ctx, v, q)
	if err != nil {
		if open := public(rules, q.Method); open != nil && !errors.Is(err, identity.ErrUnavailable) {
			return Access{}, b.admitted(app, open, "address "+network(v.Address)) // nobody in particular is welcome too
		}
		return Access{}, err
	}
	p := known.principal
	if err := b.act(known, q.Method); err != nil {
		return Access{}, err
	}
	rule, err := app.allows(rules, q, p)
	if err != nil {
		return Access{}, err
	}
	if rule != nil {
		if err := b.admitted(app, rule, cmp.Or(p.KeyID, p.Subject)); err != nil {
			return Access{}, err
		}
		if rule.Public && !app.Admits(p) { // known, and not let in by name: nobody in particular
			return Access{}, nil
		}
	}
	a := Access{Principal: p, NewCookie: b.renewedCookie(ctx, v.Snapshot, q.Credential, bound, p, app)}
	if app.ForwardToken {
		a.Token, err = b.ForwardToken(ctx, v.Snapshot, p, app)
	}
	return a, err
}

// network is what an address is counted by: an IPv6 customer has at least a /64 to choose from.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() {
		return address
	}
	p, _ := a.WithZone("").Prefix(64) // never fails for IPv6
	return p.String()
}

// ErrNoCredential says that a request shows nothing at all.
var ErrNoCredential = identity.WithCode("unauthenticated", fmt.Errorf("no credential: %w", identity.ErrBadCredentials))

func (b *Broker) who(ctx context.Context, v Visit, q Request) (*view, binding, error) {
	if q.Credential.Carrier == 0 {
		return nil, binding{}, ErrNoCredential
	}
	known, bound, err := b.authenticateClient(ctx, v, q.Credential, q.Application)
	if err != nil {
		return nil, binding{}, publicRefusal(err)
	}
	return known, bound, nil
}

// rulesFor returns the rules with the longest path that fits. A path that another spelling of its letters would bring to
// other rules has two readings, since some servers take the two for one: identity.ErrDenied coded path_not_canonical.
func (a *Application) rulesFor(path string) ([]*Rule, error) {
	var best []*Rule
	longest, folded := 0, 0
	lower := ""
	for _, r := range a.Rules {
		n := fit(r.Path, path)
		switch {
		case n == 0 || n < longest:
		case n > longest:
			best, longest = []*Rule{r}, n
		default:
			best = append(best, r)
		}
		if lower == "" {
			lower = strings.ToLower(path)
		}
		folded = max(folded, fit(strings.ToLower(r.Path), lower))
	}
	if folded > longest {
		return nil, denied("path_not_canonical", "another spelling of the path has other rules at %s", a.ID)
	}
	return best, nil
}

// fit returns how long a rule's path is where it fits, and 0 where it does not. The last slash of either makes no
// difference, because to many servers it makes none, unless another rule has the path with the slash as it is.
func fit(rule, path string) int {
	whole := strings.TrimSuffix(rule, "/")
	switch {
	case path == rule, strings.HasSuffix(rule, "/") && strings.HasPrefix(path, rule):
		return 2*len(whole) + 2
	case path == whole, path == rule+"/":
		return 2*len(whole) + 1
	default:
		return 0
	}
}

// takes reports whether the rule is for the method. One that nobody told us could be any.
func (r *Rule) takes(method string) bool {
	return len(r.Methods) == 0 || slices.Contains(r.Methods, method) ||
		method == "HEAD" && slices.Contains(r.Methods, "GET")
}

func (r *Rule) carried(c Carrier) bool {
	if c.IsCookie() {
		c = Cookie
	}
	return len(r.Carriers) == 0 || slices.Contains(r.Carriers, c)
}

// public returns the rule that lets everybody in.
func public(rules []*Rule, method string) *Rule {
	for _, r := range rules {
		if r.Public && r.takes(method) {
			return r
		}
	}
	return nil
}

// allows returns the rule that lets the principal in, nil where none is needed. The refusal is that of the rule that came
// closest.
func (a *Application) allows(rules []*Rule, q Request, p identity.Principal) (*Rule, error) {
	if r := public(rules, q.Method); r != nil {
		return r, nil
	}
	if !a.Admits(p) {
		return nil, denied("no_role", "account %s at %s", p.Subject, a.ID)
	}
	if len(rules) == 0 {
		return nil, nil
	}
	closest, code := 0, "method_denied"
	for _, r := range rules {
		switch {
		case !r.takes(q.Method):
		case !r.carried(q.Credential.stands()):
			if closest < 1 {
				closest, code = 1, "carrier_denied"
			}
		case len(r.Require) > 0 && !slices.ContainsFunc(r.Require, func(role string) bool { return slices.Contains(p.Roles, role) }):
			if closest < 2 {
				closest, code = 2, "no_role"
			}
		default:
			return r, nil
		}
	}
	return nil, denied(code, "account %s at %s", p.Subject, a.ID)
}

// throttle counts requests per rule and caller, and embedders' refused tokens, on this node and in memory.
type throttle struct {
	buckets *otter.Cache[throttleKey, *rate.Limiter]
	now     func() time.Time
	keys    atomic.Pointer[counterKeys] // of failed sign-ins, which are counted in the store
}

// throttleKey is what is counted together. It says what the rule is rather than which, so that a reload does not begin
// anew.
type throttleKey struct {
	application, path, methods, who string
	requests                        int
	per                             time.Duration
}

// throttled bounds how many callers are counted; the one not seen for longest is forgotten first.
const throttled = 100_000

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, buckets: otter.Must(&otter.Options[throttleKey, *rate.Limiter]{MaximumSize: throttled})}
}

// admitted counts a request against the rule's limit: identity.ErrThrottled coded rate_limited past it.
func (b *Broker) admitted(app *Application, r *Rule, who string) error {
	if r.Requests == 0 {
		return nil
	}
	key := throttleKey{app.ID, r.Path, strings.Join(r.Methods, " "), who, r.Requests, r.Per}
	if b.throttle.bucket(key).AllowN(b.throttle.now(), 1) {
		return nil
	}
	return key.exceeded()
}

// bucket is where the requests of a key are counted.
func (t *throttle) bucket(key throttleKey) *rate.Limiter {
	bucket, _ := t.buckets.ComputeIfAbsent(key, func() (*rate.Limiter, bool) {
		return rate.NewLimiter(rate.Every(key.every()), key.requests), false
	})
	return bucket
}

// every is the time from one request to the next at the limit.
func (k throttleKey) every() time.Duration { return k.per / time.Duration(k.requests) }

func (k throttleKey) exceeded() error {
	return identity.WithCode("rate_limited", identity.Throttled(k.every()))
}
