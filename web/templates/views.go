package templates

import (
	"cmp"
	"net/url"
	"time"
)

// Chrome is what stands around every page. Every view embeds it; the zero value works.
type Chrome struct {
	// Lang is the language tag chosen with Pick; anything unknown means the default.
	Lang string
	// Title is the product's name as the administrator gave it; empty: Sallyport.
	Title string
	// Support says in the administrator's words whom to ask; empty leaves the line out.
	Support string
	// Application is the title of the application one is on the way to; empty where there is none.
	Application string
	// SignedInAs is the name of the person the browser's session belongs to; empty when nobody is signed in. It also
	// brings the link to sign out.
	SignedInAs string
	// Languages is the language picker, from Renderer.LanguageLinks; fewer than two leave it out.
	Languages []LanguageLink
	// Problems are told at the top of the page and beside their fields, and mark the title as an error. On the page
	// Error they have no place, it has its own.
	Problems []Problem
	// Zone is the time zone times are written in; nil means UTC. Script rewrites them in the browser's own.
	Zone *time.Location
}

func (c Chrome) chrome() Chrome { return c }

func (c Chrome) in(t time.Time) time.Time {
	if c.Zone == nil {
		return t.UTC()
	}
	return t.In(c.Zone)
}

// Remember is the offer to keep somebody signed in on this device. The zero value makes none.
type Remember struct {
	// Offered shows the box, Ticked is how it stands.
	Offered, Ticked bool
}

// Login asks who somebody is. It posts flow, csrf and username to PathLogin. Where Remember is offered its buttons post
// there as well: flow, csrf, provider and remember.
type Login struct {
	Chrome
	// Flow and CSRF travel as hidden fields.
	Flow, CSRF string
	// Username is what was typed before.
	Username string
	// NoUsername leaves the form out: there is no provider that takes a name typed here.
	NoUsername bool
	// Providers are the buttons, in this order; put the one used last first.
	Providers []ProviderLink
	// Remember is offered beside the buttons; the page for the password has one of its own.
	Remember Remember
	// Notice is a notice code, see Notice; "" for none.
	Notice Notice
}

// ProviderLink is a button that leaves for a provider.
type ProviderLink struct {
	// ID is the provider's.
	ID string
	// Title is the provider's title.
	Title string
	// URL is a path of ours that redirects there.
	URL string
	// LastUsed marks the provider this browser used last.
	LastUsed bool
}

func (Login) heading(*printer, Chrome) Message { return say("login.title") }

// Password asks for the password of the name given before. It posts flow, csrf, username, password and remember to
// PathPassword.
type Password struct {
	Chrome
	Flow, CSRF string
	// Username is shown, and given to password managers.
	Username string
	// Provider is the title of the provider that gets the password; empty where there is only one that takes any.
	Provider string
	// ChangeURL leads back to Login, with this flow.
	ChangeURL string
	// OtherURL leads to the other ways to sign in; empty leaves the link out.
	OtherURL string
	// ForgotURL is where a forgotten password is dealt with; empty leaves the link out.
	ForgotURL string
	Remember  Remember
}

func (Password) heading(*printer, Chrome) Message { return say("password.title") }

// Confirm asks for the code that went out by e-mail. It posts flow, csrf and code to PathConfirm, and flow and csrf to
// PathSendAgain.
type Confirm struct {
	Chrome
	Flow, CSRF string
	// To is the address that the code went to, as far as whoever knows a password only may see it.
	To string
	// RestartURL leads back to the beginning.
	RestartURL string
	// Notice is a notice code, see Notice; "" for none.
	Notice Notice
}

func (Confirm) heading(*printer, Chrome) Message { return say("confirm.title") }

// Continue takes the browser to a provider, with a link for when that does not happen by itself.
type Continue struct {
	Chrome
	// Provider is the provider's title.
	Provider string
	// URL is where to go: http, https or a path of ours; Render refuses anything else.
	URL string
}

func (v Continue) heading(*printer, Chrome) Message {
	return say("continue.title", "provider", v.Provider)
}
func (v Continue) refreshURL() string { return v.URL }

// Text says where the browser is going; a path of ours has no host worth showing.
func (v Continue) Text() Message {
	if host := hostOf(v.URL); host != "" {
		return say("continue.text", "provider", v.Provider, "host", host)
	}
	return say("continue.text_here", "provider", v.Provider)
}

// Next takes the browser on after a POST, where a redirect to another host would be stopped by form-action.
type Next struct {
	Chrome
	// URL is where to go: http, https or a path of ours; Render refuses anything else. It may hold a one-use code; only
	// its host is shown.
	URL string
	// SignedIn says that this is the end of a sign-in.
	SignedIn bool
	// Notice is a notice code, see Notice. With one the page waits until it was read; "" for none.
	Notice Notice
}

func (v Next) heading(*printer, Chrome) Message {
	if v.SignedIn {
		return say("next.title")
	}
	return say("next.title_plain")
}
func (v Next) refreshURL() string { return v.URL }
func (v Next) waits() bool        { return v.Notice.Message() != nil }

// Text says where the browser is going, as far as is known.
func (v Next) Text() Message {
	host := hostOf(v.URL)
	switch {
	case v.Application != "" && host != "":
		return say("next.text", "application", v.Application, "host", host)
	case v.Application != "":
		return say("next.text_here", "application", v.Application)
	default:
		return say("next.text_plain")
	}
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// Denied tells somebody who is signed in that the application needs more than they have.
type Denied struct {
	Chrome
	// Ask is the administrator's text on how to get access; empty names the people who run the application.
	Ask string
	// AskURL is where access is asked for; empty leaves the link out.
	AskURL string
	// SwitchURL leads to signing in with another account.
	SwitchURL string
	// Trace is shown for support.
	Trace Trace
}

// Trace is what support needs to find the cause. Fields that are not set are left out.
type Trace struct {
	// Code is the stable code, snake_case.
	Code string
	// At is when it happened.
	At time.Time
	// ID is the trace number.
	ID string
}

func (Denied) failed() {}

func (v Denied) heading(_ *printer, c Chrome) Message {
	return say("denied.title", "application", v.Where(c.Title))
}

// Where is the application, or the brand where the pages of the house itself are meant.
func (v Denied) Where(brand string) string { return cmp.Or(v.Application, brand) }

// SignOut asks before signing out. It posts csrf and return to PathSignOut.
type SignOut struct {
	Chrome
	CSRF string
	// Return is handed back as it is; empty leaves it out.
	Return string
	// CancelURL is where "Stay signed in" leads; empty leaves it out.
	CancelURL string
}

func (SignOut) heading(*printer, Chrome) Message { return say("sign_out.title") }

// SignedOut tells what was ended. It never leads anywhere by itself.
type SignedOut struct {
	Chrome
	Ended []Ended
	// SignInURL is where "Sign in again" leads.
	SignInURL string
}

func (SignedOut) heading(*printer, Chrome) Message { return say("signed_out.title") }

// Ended is one line of SignedOut.
type Ended struct {
	Kind EndedKind
	// Name of the application or provider; not used for EndedBrowser.
	Name string
}

// EndedKind says what was ended, or was not.
type EndedKind string

// The kinds of Ended.
const (
	EndedBrowser     EndedKind = "browser"
	EndedApplication EndedKind = "application"
	EndedUpstream    EndedKind = "upstream"
	// KeptUpstream: the provider has a session of its own that we could not end.
	KeptUpstream EndedKind = "upstream_kept"
)

// Lines says what was ended.
func (v SignedOut) Lines(brand string) []Message {
	var lines []Message
	for _, e := range v.Ended {
		switch e.Kind {
		case EndedBrowser:
			lines = append(lines, say("signed_out.browser", "brand", brand))
		case EndedApplication:
			lines = append(lines, say("signed_out.application", "name", e.Name))
		case EndedUpstream:
			lines = append(lines, say("signed_out.upstream", "name", e.Name))
		case KeptUpstream:
			lines = append(lines, say("signed_out.upstream_kept", "name", e.Name))
		}
	}
	if len(lines) == 0 {
		return []Message{say("signed_out.nothing")}
	}
	return lines
}

// Setup makes the first administrator. It posts code, csrf, username, name, email and password to PathSetup.
type Setup struct {
	Chrome
	// Code is the one-use code of the set-up link, CSRF the form's token.
	Code, CSRF string
	// Username, Name and Email are what was typed before.
	Username, Name, Email string
	// MinLength is the least number of characters of a password.
	MinLength int
}

func (Setup) heading(_ *printer, c Chrome) Message { return say("setup.title", "brand", c.Title) }

// Error tells what went wrong and what to do. The cause is not on it: support finds that by the trace number.
type Error struct {
	Chrome
	Problem Problem
	Trace   Trace
	// BackURL leads back to the application, or to the sign-in page when Chrome.Application is empty; empty leaves the
	// link out.
	BackURL string
}

func (v Error) heading(p *printer, c Chrome) Message { return v.Problem.title(p, c) }
func (Error) failed()                                {}
