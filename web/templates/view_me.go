package templates

import (
	"strconv"
	"strings"
	"time"
)

// Me shows somebody their own account: who they are, why they have which roles, where they are signed in, and their API
// keys. Its forms post csrf together with: session to PathEndSession; nothing to PathEndSessions; key to PathRevokeKey;
// name, application, role (repeated) and days to PathCreateKey; verification and code to PathConfirmKey.
type Me struct {
	Chrome
	CSRF string
	// ID is the account's id, the sub of our tokens.
	ID                    string
	Name, Username, Email string
	// Provider is the title of the provider of this session.
	Provider string
	Roles    []Role
	// Permissions are resource:action, sorted.
	Permissions []string
	Sessions    []Session
	Keys        []Key
	// NewKey is set on the one page that shows a key that was just made.
	NewKey *NewKey
	// Verification is the id of what a code that went by e-mail confirms: a key that opens nothing until then. Empty leaves
	// the form out.
	Verification string
	// Create is the form for a new key; nil leaves it out.
	Create *CreateKey
	// Notice tells what was just done; "" for nothing.
	Notice Notice
}

func (Me) heading(*printer, Chrome) Message { return say("me.title") }

// HasOthers reports whether there is a session besides the one that asks.
func (v Me) HasOthers() bool {
	for _, s := range v.Sessions {
		if !s.Current {
			return true
		}
	}
	return false
}

// Notice is the code of something that went well.
type Notice string

// The notices; any other code shows nothing.
const (
	NoticeSessionEnded  Notice = "session_ended"
	NoticeSessionsEnded Notice = "sessions_ended"
	NoticeKeyRevoked    Notice = "key_revoked"
	NoticeSetupDone     Notice = "setup_done"
	NoticeKeyConfirmed  Notice = "key_confirmed"
	NoticeCodeSent      Notice = "code_sent"
	// NoticeSessionLimit and NoticeAddressChanged say why a browser is signed in no more.
	NoticeSessionLimit   Notice = "session_limit"
	NoticeAddressChanged Notice = "address_changed"
)

// olderEnded begins the notices that have a number behind.
const olderEnded = "older_ended."

// NoticeOlderEnded tells how many older sign-ins ended for this one; "" for none.
func NoticeOlderEnded(n int) Notice {
	if n < 1 {
		return ""
	}
	return Notice(olderEnded + strconv.Itoa(n))
}

// Message is the notice's sentence, or nil.
func (n Notice) Message() *Message {
	var m Message
	switch n {
	case NoticeSessionEnded:
		m = say("notice.session_ended")
	case NoticeSessionsEnded:
		m = say("notice.sessions_ended")
	case NoticeKeyRevoked:
		m = say("notice.key_revoked")
	case NoticeSetupDone:
		m = say("notice.setup_done")
	case NoticeKeyConfirmed:
		m = say("notice.key_confirmed")
	case NoticeCodeSent:
		m = say("notice.code_sent")
	case NoticeSessionLimit:
		m = say("notice.session_limit")
	case NoticeAddressChanged:
		m = say("notice.address_changed")
	default:
		number, ok := strings.CutPrefix(string(n), olderEnded)
		count, err := strconv.Atoi(number)
		if !ok || err != nil || count < 1 || count > 1000 { // it came in an address
			return nil
		}
		m = say("notice.older_ended", "count", count)
	}
	return &m
}

// Role is a role somebody holds, with everything that gave it.
type Role struct {
	Name    string
	Sources []RoleSource
}

// RoleSource is one reason for a role.
type RoleSource struct {
	Kind SourceKind
	// Provider is the title of the provider concerned.
	Provider string
	// Group is the group as upstream spells it (SourceGroup).
	Group string
	// Claim and Value are the attribute and its value (SourceClaim); Value is the name as sent (SourceCopied).
	Claim, Value string
	// Role is the role that includes this one (SourceInherited).
	Role string
	// By is who granted it (SourceManual); empty when that is not known.
	By string
}

// SourceKind says how a role came about.
type SourceKind string

// The kinds of RoleSource.
const (
	SourceGroup     SourceKind = "group"
	SourceClaim     SourceKind = "claim"
	SourceCopied    SourceKind = "copied"
	SourceDefault   SourceKind = "default"
	SourceManual    SourceKind = "manual"
	SourceInherited SourceKind = "inherited"
)

// Sentence says where the role comes from.
func (s RoleSource) Sentence() Message {
	switch s.Kind {
	case SourceGroup:
		return say("role.group", "group", s.Group, "provider", s.Provider)
	case SourceClaim:
		return say("role.claim", "claim", s.Claim, "value", s.Value, "provider", s.Provider)
	case SourceCopied:
		return say("role.copied", "provider", s.Provider, "value", s.Value)
	case SourceInherited:
		return say("role.inherited", "role", s.Role)
	case SourceManual:
		if s.By != "" {
			return say("role.manual_by", "name", s.By)
		}
		return say("role.manual")
	default:
		return say("role.default")
	}
}

// Session is one row of the sessions.
type Session struct {
	// ID is posted back to end it.
	ID string
	// Kind is browser, app, embed or api.
	Kind string
	// Applications are titles.
	Applications []string
	// UserAgent is the header as the browser sent it; it is shown in words.
	UserAgent string
	// Provider is the title of the provider the person came through.
	Provider string
	// Address is the client's IP address.
	Address             string
	FirstSeen, LastSeen time.Time
	// Current marks the session that shows the page.
	Current bool
}

// Device says what program the session belongs to.
func (s Session) Device() Message {
	a := parseAgent(s.UserAgent)
	switch {
	case a.browser != "" && a.system != "":
		return say("session.browser_on_system", "browser", a.browser, "system", a.system)
	case a.browser != "" || a.system != "":
		return say("session.only", "name", a.browser+a.system)
	default:
		return say("session.unknown")
	}
}

// KindName says what kind of session it is.
func (s Session) KindName() Message {
	switch s.Kind {
	case "browser":
		return say("session.kind.browser")
	case "app":
		return say("session.kind.app")
	case "embed":
		return say("session.kind.embed")
	default:
		return say("session.kind.api")
	}
}

// Key is one row of the API keys.
type Key struct {
	// ID is posted back to revoke it.
	ID   string
	Name string
	// Shown is prefix and id as far as they may be shown, "sp_4f6a…".
	Shown string
	// Application is a title; empty leaves it out.
	Application string
	Roles       []string
	ExpiresAt   time.Time
	// Expired says that ExpiresAt is past, Endless that there is none.
	Expired, Endless bool
	// Pending: it opens nothing until it is confirmed. Suspended: until an administrator says so.
	Pending, Suspended bool
	// LastUsedAt is zero for a key never used.
	LastUsedAt time.Time
}

// NewKey is a key that was just made. It is shown once and kept nowhere.
type NewKey struct {
	Name, Key string
	// ExpiresAt is zero for a key without an end.
	ExpiresAt time.Time
}

// CreateKey is the form for a new key, with what was typed before.
type CreateKey struct {
	Name string
	// Applications to choose from; with fewer than two there is no choice to make.
	Applications []Choice
	// Roles to choose from: those the person holds.
	Roles []Choice
	// Days until it expires, and the most that is allowed.
	Days, MaxDays int
}

// Choice is one thing to choose.
type Choice struct {
	// Value is what is posted, Title what is read; an empty Title means Value.
	Value, Title string
	// Chosen is whether it is ticked.
	Chosen bool
}

// Label is what is read.
func (c Choice) Label() string {
	if c.Title == "" {
		return c.Value
	}
	return c.Title
}
