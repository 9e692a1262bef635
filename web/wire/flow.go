package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	gorilla "github.com/gorilla/sessions"

	"sallyport/broker"
	"sallyport/identity"
)

const (
	flowPrefix = "__Host-sallyport_flow_"
	// flowLife is how long a sign-in may take (OID-01).
	flowLife = 10 * time.Minute
	// flowsKept bounds the sign-ins under way in one browser; the oldest makes room.
	flowsKept = 6
	// flowsRoom bounds the values of those kept beside a new one, in bytes: proxies refuse requests whose cookies do not
	// fit into a line of 8 KiB.
	flowsRoom = 4 << 10
	flowValue = "flow"
)

// Flow is a sign-in under way in one tab. It lives in a sealed cookie of its own and nowhere else, so that visitors who
// have not signed in cost the store nothing (DOS-03).
type Flow struct {
	// ID is the cookie's name and the state that a provider must return: 128 random bits.
	ID string `json:"id"`
	// Host it was begun on; it counts nowhere else.
	Host string `json:"host"`
	// BegunAt in milliseconds since 1970.
	BegunAt int64 `json:"at"`
	// Application the person is on the way to; broker.Self for our own pages.
	Application string `json:"app"`
	// Challenge and State are the application host's, to be handed back there.
	Challenge string `json:"challenge,omitempty"`
	State     string `json:"state,omitempty"`
	// Verifier is the other side of Challenge, in the flow on the application's host only.
	Verifier string `json:"verifier,omitempty"`
	// To is where to go at the end: a path of ours, or the application's address.
	To string `json:"to,omitempty"`
	// Hint is the door that the address which began the flow preferred for names that no rule sends elsewhere.
	Hint string `json:"hint,omitempty"`
	// Provider that was chosen, Username that was typed.
	Provider string `json:"provider,omitempty"`
	Username string `json:"username,omitempty"`
	// Pending is the provider's own memory (nonce, PKCE verifier).
	Pending []byte `json:"pending,omitempty"`
	// Choose: the form is wanted although somebody is signed in.
	Choose bool `json:"choose,omitempty"`
	// Parent is the flow whose page led here, to go back to.
	Parent string `json:"parent,omitempty"`
	// CrossSite: the reply is a form posted from the provider's own site, which no SameSite=Lax cookie travels with (SML-06).
	CrossSite bool `json:"cross_site,omitempty"`
	// Replaces is the session that this browser had when it left; its cookie does not travel with such a form either.
	Replaces string `json:"replaces,omitempty"`
	// Remember: the person wants to stay signed in on this device.
	Remember bool `json:"remember,omitempty"`
	// Verification is the id of what a code from an e-mail confirms, Session that of the session that waits for it, and
	// SentTo where it went, as it may be shown. The seal proves that they are this browser's (LOC-07).
	Verification string `json:"verification,omitempty"`
	Session      string `json:"session,omitempty"`
	SentTo       string `json:"sent_to,omitempty"`
	// Ended is how many older sign-ins ended for this one, to be told.
	Ended int `json:"ended,omitempty"`
}

// Flows keeps flows in sealed cookies (AES-256, HMAC-SHA-256).
type Flows struct {
	store *gorilla.CookieStore
	now   func() time.Time
}

// NewFlows returns a keeper with the house's keys.
func NewFlows(keys broker.WebKeys, now func() time.Time) *Flows {
	store := gorilla.NewCookieStore(keys.FlowHash, keys.FlowBlock)
	// The library's defaults (30 days, no HttpOnly, SameSite=None) are not ours: every field is set.
	store.Options = &gorilla.Options{
		Path: "/", MaxAge: int(flowLife.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	for _, c := range store.Codecs {
		if sc, ok := c.(*securecookie.SecureCookie); ok {
			sc.MaxAge(int(flowLife.Seconds()))
		}
	}
	return &Flows{store: store, now: now}
}

// errFlow answers for a flow that is unknown, too old, unreadable or another host's: one and the same.
func errFlow(why string) error {
	return identity.WithCode("flow_unknown", fmt.Errorf("flow: %s: %w", why, identity.ErrExpired))
}

// New starts a flow on the request's host; Save keeps it.
func (f *Flows) New(r *http.Request) Flow {
	return Flow{ID: broker.NewID(), Host: Of(r).Host, BegunAt: f.now().UnixMilli(), Application: broker.Self}
}

// Save writes the flow's cookie, and drops the oldest when there are too many.
func (f *Flows) Save(w http.ResponseWriter, r *http.Request, flow Flow) error {
	f.makeRoom(w, r, flow.ID)
	s := gorilla.NewSession(f.store, flowPrefix+flow.ID)
	options := *f.store.Options
	if flow.CrossSite {
		options.SameSite = http.SameSiteNoneMode
	}
	s.Options = &options
	raw, err := encode(flow)
	if err != nil {
		return err
	}
	s.Values[flowValue] = raw
	return f.store.Save(r, w, s)
}

// encode spells a flow without escapes for HTML, which would only use up the cookie's room.
func encode(flow Flow) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(flow)
	return b.String(), err
}

// Again starts a flow to the same destination in place of one that is over.
func (f *Flows) Again(w http.ResponseWriter, r *http.Request, over Flow) (Flow, error) {
	fresh := f.New(r)
	over.ID, over.BegunAt, over.Pending, over.Parent = fresh.ID, fresh.BegunAt, nil, ""
	over.Verification, over.Session, over.SentTo, over.CrossSite, over.Ended = "", "", "", false, 0
	return over, f.Save(w, r, over)
}

// Load opens the flow's cookie: identity.ErrExpired coded flow_unknown when there is none that counts here.
func (f *Flows) Load(r *http.Request, id string) (Flow, error) {
	if id == "" || len(id) > 64 {
		return Flow{}, errFlow("no id")
	}
	flow, err := f.open(r, flowPrefix+id)
	switch {
	case err != nil:
		return Flow{}, errFlow(err.Error())
	case flow.ID != id || flow.Host != Of(r).Host:
		return Flow{}, errFlow("of another place")
	case f.now().Sub(time.UnixMilli(flow.BegunAt)) > flowLife:
		return Flow{}, errFlow("too old")
	}
	return flow, nil
}

func (f *Flows) open(r *http.Request, name string) (Flow, error) {
	sent := r.CookiesNamed(name)
	if len(sent) != 1 {
		return Flow{}, errors.New("not exactly one cookie")
	}
	return f.unseal(sent[0])
}

// unseal reads a cookie of Save's; the seal binds the value to the cookie's name.
func (f *Flows) unseal(c *http.Cookie) (Flow, error) {
	values := map[any]any{}
	if err := securecookie.DecodeMulti(c.Name, c.Value, &values, f.store.Codecs...); err != nil {
		return Flow{}, errors.New("cookie does not open")
	}
	raw, _ := values[flowValue].(string)
	var flow Flow
	err := json.Unmarshal([]byte(raw), &flow)
	return flow, err
}

// End makes the browser forget a flow.
func (f *Flows) End(w http.ResponseWriter, id string) {
	dropFlow(w, flowPrefix+id)
}

func dropFlow(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: -1, Expires: time.Unix(1, 0),
	})
}

// makeRoom drops what cannot be opened, and the oldest flows beyond the limits. It looks at a bounded number of cookies,
// since anybody can send a thousand; what is left over goes with the next request.
func (f *Flows) makeRoom(w http.ResponseWriter, r *http.Request, saving string) {
	type kept struct {
		flow Flow
		size int
	}
	var open []kept
	looked := 0
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, flowPrefix) || c.Name == flowPrefix+saving {
			continue
		}
		if looked++; looked > 4*flowsKept {
			break
		}
		flow, err := f.unseal(c)
		if err != nil {
			dropFlow(w, c.Name)
			continue
		}
		open = append(open, kept{flow, len(c.Value)})
	}
	sort.Slice(open, func(i, j int) bool { return open[i].flow.BegunAt > open[j].flow.BegunAt }) // newest first
	size := 0
	for i, k := range open {
		if size += k.size; i >= flowsKept-1 || size > flowsRoom {
			f.End(w, k.flow.ID)
		}
	}
}
