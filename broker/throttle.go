package broker

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"sallyport/audit"
	"sallyport/broker/people"
	"sallyport/identity"
)

// ThrottleRules bound guessing. The zero value bounds nothing.
type ThrottleRules struct {
	// Window is how long a failed sign-in counts, and how long nothing more is tried where a limit is reached.
	Window time.Duration
	// PerAccountAndSource, PerAccount and PerSource are how many may fail within it; zero: no limit. A source is an address,
	// or of IPv6 a /64.
	PerAccountAndSource, PerAccount, PerSource int
	// RequestsPerMinute of one source that nobody is signed in with, on this process; zero: no limit.
	RequestsPerMinute int
}

// What failures are counted by. A browser that somebody signed in with by a name before is counted by itself, so that
// whoever locks the name for everybody does not lock it there (DOS-05). All such browsers of a name have one limit together:
// whoever knew its password once may have made any number of them.
const (
	scopeSource  = "source"
	scopePair    = "pair"
	scopeAccount = "account"
	scopeDevice  = "device"
	scopeDevices = "devices"
)

// most is how many failures of a scope are looked at; zero: no limit.
func (r ThrottleRules) most(scope string) int {
	switch scope {
	case scopeSource:
		return r.PerSource
	case scopeAccount, scopeDevices:
		return r.PerAccount
	case scopePair, scopeDevice:
		return r.PerAccountAndSource
	case scopeMail:
		return mailsPerAccount
	case scopeMailPair, scopeMailDevice:
		return mailsPerSource
	case scopeTry, scopeTryDevice:
		return codeTries
	}
	return 0
}

// Network is what the visitor is counted by: the address, or of IPv6 the /64 that one customer has at least.
func (v Visit) Network() string { return network(v.Address) }

// tries is an attempt to sign in that was counted as a failure before anything was looked at. A process that dies
// meanwhile, or a client that leaves, has had its try. A nil one was not counted.
type tries struct{ counters []people.Failure }

// count counts an attempt, in one transaction, before its door is asked: identity.ErrThrottled coded too_many_attempts
// where a limit is reached, whether or not anybody has the name. Then nothing is counted at all: what is not looked at
// tells a guesser nothing, and counting it would let one source close an account for everybody (DOS-05). Where the store
// cannot count, no password is looked at: identity.ErrUnavailable.
func (b *Broker) count(ctx context.Context, v Visit, at Attempt, door, typed string, who people.Account) (*tries, error) {
	if v.Throttle.Window <= 0 {
		return nil, nil
	}
	keys, err := b.counterKeys(ctx)
	if err != nil {
		return nil, uncounted(err)
	}
	now := b.now()
	wanted := slices.DeleteFunc(keys.of(v, at, door, typed, who.Username), func(f people.Failure) bool {
		return v.Throttle.most(f.Scope) == 0
	})
	made := &tries{}
	err = b.store.Update(ctx, func(tx Tx) error {
		made.counters = nil
		for _, f := range wanted {
			f.Since, f.Until = now, now.Add(v.Throttle.Window)
			counted, err := tx.Strike(ctx, f, v.Throttle.most(f.Scope))
			if err != nil {
				return err
			}
			made.counters = append(made.counters, counted)
		}
		return nil
	})
	switch {
	case errors.Is(err, identity.ErrThrottled):
		return nil, identity.WithCode("too_many_attempts", err)
	case err != nil:
		return nil, uncounted(err)
	}
	return made, nil
}

func uncounted(err error) error {
	return fmt.Errorf("sign-in not counted: %w: %w", identity.ErrUnavailable, err)
}

// succeeded takes the attempt back in the transaction of the sign-in, and what this person failed here before. Others
// count into the same source and account, so there it is this one attempt alone: who signs in to an account of their own
// in between guesses no more often (CVE-2024-21662).
func (t *tries) succeeded(ctx context.Context, tx Tx) error {
	if t == nil {
		return nil
	}
	for _, f := range t.counters {
		forget := tx.ForgiveFailure
		if f.Scope == scopePair || f.Scope == scopeDevice {
			forget = tx.ClearFailure
		}
		if err := forget(ctx, f.Key); err != nil && !errors.Is(err, identity.ErrNotFound) {
			return err
		}
	}
	return nil
}

// settle ends an attempt that failed. What is no guess is taken back; what reached a limit is told, once, since only one
// attempt is the last that is looked at. All of it is one transaction with the refusal's event, which SignIn writes itself
// where the password was right (proven). If it cannot be written, the attempt counts on.
func (b *Broker) settle(
	ctx context.Context, v Visit, t *tries, who people.Account, proven bool, cause error, refusal ...audit.Event,
) {
	guess := isGuess(ctx, proven, cause)
	if guess {
		refusal = append(refusal, b.lockouts(v, t, who)...)
	}
	if len(refusal) == 0 && (guess || t == nil) {
		return
	}
	// The client may have gone; what it did is recorded all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := b.store.Update(ctx, func(tx Tx) error {
		if !guess {
			if err := t.takeBack(ctx, tx); err != nil {
				return err
			}
		}
		for _, e := range refusal {
			e.Outcome, e.At, e.Code = audit.Refusal, b.now(), cmp.Or(e.Code, codeOf(cause))
			if err := tx.Append(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.log.ErrorContext(ctx, "refused sign-in not written", "trace_id", v.TraceID, "err", err)
	}
}

// isGuess reports whether a failure counts. A door that did not answer is nobody's fault, and neither is a refusal of
// somebody who gave the right password, unless the account is closed, which must look like a wrong one (LOC-03). A client
// that left may have left because it knew the answer by then.
func isGuess(ctx context.Context, proven bool, cause error) bool {
	switch {
	case ctx.Err() != nil, errors.Is(cause, identity.ErrBadCredentials), identity.CodeOf(cause) == "account_disabled":
		return true
	default:
		return !proven && !errors.Is(cause, identity.ErrUnavailable)
	}
}

// takeBack uncounts the attempt.
func (t *tries) takeBack(ctx context.Context, tx Tx) error {
	if t == nil {
		return nil
	}
	for _, f := range t.counters {
		if err := tx.ForgiveFailure(ctx, f.Key); err != nil {
			return err
		}
	}
	return nil
}

// lockouts are the events of the limits that a failure reached.
func (b *Broker) lockouts(v Visit, t *tries, who people.Account) []audit.Event {
	if t == nil {
		return nil
	}
	var events []audit.Event
	for _, f := range t.counters {
		if f.Count < v.Throttle.most(f.Scope) {
			continue
		}
		e := v.event(audit.LockoutBegan, b.now())
		e.Code = "too_many_attempts"
		e.Detail = map[string]string{"scope": f.Scope, "until": f.Until.UTC().Format(time.RFC3339)}
		if f.Scope != scopeSource {
			e.AccountID, e.Username = who.ID, who.Username
		}
		events = append(events, e)
	}
	return events
}

// counterKeys make the keys of counters.
type counterKeys []byte

// counterKeys returns the keys' secret: people type passwords where their name belongs, and a plain hash of one can be
// guessed by whoever reads the store. All processes share it.
func (b *Broker) counterKeys(ctx context.Context) (counterKeys, error) {
	if made := b.throttle.keys.Load(); made != nil {
		return *made, nil
	}
	web, err := b.WebKeys(ctx)
	if err != nil {
		return nil, err
	}
	derived, err := hkdf.Key(sha256.New, web.CSRF, nil, "sallyport failed sign-ins", sha256.Size)
	if err != nil {
		return nil, err
	}
	made := counterKeys(derived)
	b.throttle.keys.Store(&made)
	return made, nil
}

// of lists what an attempt counts into, in one order for all, so that no two wait for each other.
func (k counterKeys) of(v Visit, at Attempt, door, typed, label string) []people.Failure {
	source := people.Failure{Key: k.source(v.Network()), Scope: scopeSource, Label: v.Network()}
	name := countedName(typed)
	named := func(scope string, parts ...string) people.Failure {
		return people.Failure{Key: k.named(name, scope, parts...), Scope: scope, Label: label}
	}
	if at.Device != "" {
		return []people.Failure{source, named(scopeDevice, door, at.Device), named(scopeDevices)}
	}
	return []people.Failure{source, named(scopePair, door, v.Network()), named(scopeAccount)}
}

func (k counterKeys) source(network string) string { return k.mac(scopeSource, network) }

// named makes the key of what is counted of a countedName. It begins with the name's half, by which ClearLockout finds all
// counters of a name, whatever their scope.
func (k counterKeys) named(name, scope string, parts ...string) string {
	return k.prefix(name) + k.mac(append([]string{scope, name}, parts...)...)[:halfKey]
}

func (k counterKeys) prefix(name string) string { return k.mac("name", name)[:halfKey] }

// halfKey is 128 bits in hexadecimal.
const halfKey = 32

// mac has each part's length before it, so that no two lists of parts look alike.
func (k counterKeys) mac(parts ...string) string {
	h := hmac.New(sha256.New, k)
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p))) // a hash never fails
		_, _ = h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// countedName is what the spellings of a typed name have in common, for counting and for nothing else. Directories compare
// by rules of their own: some do without case, width, accents and what is not seen, so that each such spelling would give a
// guesser tries of its own. Few people share a counter because of it, and nobody's name opens anything else. It must not
// depend on who is on record: what counts together would tell (LOC-03).
func countedName(typed string) string {
	folded := norm.NFKD.String(cases.Fold().String(norm.NFKD.String(typed)))
	bare := strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune(`@._-\`, c) {
			return c
		}
		return -1
	}, folded)
	// Letters with a stroke, and two in one, are letters of their own to Unicode and accents to directories.
	return strings.NewReplacer("æ", "ae", "œ", "oe", "ø", "o", "ł", "l", "đ", "d", "ı", "i").Replace(bare)
}

// Lockout counts failed sign-ins that still count.
type Lockout struct {
	people.Failure
	// Most is the limit in force; zero: none.
	Most int
}

// Locked reports whether nothing further is looked at until the window ends.
func (l Lockout) Locked() bool { return l.Most > 0 && l.Count >= l.Most }

// Lockouts lists what counts, by key, starting after one; at the limit or below it.
func (b *Broker) Lockouts(ctx context.Context, s *Snapshot, after string, limit int) ([]Lockout, error) {
	var list []people.Failure
	err := b.store.View(ctx, func(tx Tx) (err error) {
		list, err = tx.Failures(ctx, b.now(), after, limit)
		return err
	})
	out := make([]Lockout, 0, len(list))
	for _, f := range list {
		out = append(out, Lockout{f, s.Throttle.most(f.Scope)})
	}
	return out, err
}

// ClearLockout forgets what failed for a user name, from everywhere, or from an address, whatever the names. It returns
// how many counters went: identity.ErrNotFound when nothing counted.
func (b *Broker) ClearLockout(ctx context.Context, v Visit, actor, what string) (int, error) {
	keys, err := b.counterKeys(ctx)
	if err != nil {
		return 0, err
	}
	e := v.event(audit.LockoutCleared, b.now())
	e.Actor = actor
	if source := parseNetwork(what); source != "" {
		e.Detail = map[string]string{"scope": scopeSource, "network": source}
		return b.clear(ctx, keys.source(source)[:halfKey], e)
	}
	who := b.onRecord(ctx, what)
	e.AccountID, e.Username, e.Detail = who.ID, who.Username, map[string]string{"scope": scopeAccount}
	return b.clear(ctx, keys.prefix(countedName(what)), e)
}

// clear forgets the counters whose keys begin so.
func (b *Broker) clear(ctx context.Context, prefix string, e audit.Event) (int, error) {
	var found []string
	err := b.store.Update(ctx, func(tx Tx) (err error) {
		if found, err = b.keysOf(ctx, tx, prefix); err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("nothing counts: %w", identity.ErrNotFound)
		}
		for _, key := range found {
			if err := tx.ClearFailure(ctx, key); err != nil && !errors.Is(err, identity.ErrNotFound) {
				return err
			}
		}
		return tx.Append(ctx, e)
	})
	return len(found), err
}

// parseNetwork reads an address, or a network as Lockouts shows it; "" for what is neither.
func parseNetwork(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return network(a.Unmap().String())
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked().String()
	}
	return ""
}

// keysOf lists the counters whose keys begin so.
func (b *Broker) keysOf(ctx context.Context, tx Tx, prefix string) ([]string, error) {
	const page = 200
	var keys []string
	for after := prefix; ; {
		list, err := tx.Failures(ctx, b.now(), after, page)
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			if !strings.HasPrefix(f.Key, prefix) {
				return keys, nil
			}
			keys, after = append(keys, f.Key), f.Key
		}
		if len(list) < page {
			return keys, nil
		}
	}
}

// ClearLockouts forgets all failed sign-ins and returns how many counters went.
func (b *Broker) ClearLockouts(ctx context.Context, v Visit, actor string) (int, error) {
	cleared := 0
	err := b.store.Update(ctx, func(tx Tx) (err error) {
		if cleared, err = tx.ClearFailures(ctx); err != nil {
			return err
		}
		e := v.event(audit.LockoutCleared, b.now())
		e.Actor, e.Detail = actor, map[string]string{"scope": "all"}
		return tx.Append(ctx, e)
	})
	return cleared, err
}
