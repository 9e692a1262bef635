package sessions

import (
	"context"
	"time"
)

// RevokedToken is an access token that died before its time while its session lives on.
type RevokedToken struct {
	// ID is the jti.
	ID string
	// SessionID is the sid; empty where only the jti is known.
	SessionID string
	// Application is whose token it is; empty where that is not known.
	Application          string
	RevokedAt, ExpiresAt time.Time
}

// Revocation is one entry of the list for applications that verify tokens themselves.
type Revocation struct {
	// Kind is token (ID is a jti), session (a sid) or api_key (a key's id).
	Kind string
	ID   string
	// AccountID is empty for tokens.
	AccountID, Application string
	// At is when it ended, ExpiresAt when it would have ended by itself: after that nobody needs to remember it.
	At, ExpiresAt time.Time
	Reason        string
}

// CutoffKind says what a Cutoff is about.
type CutoffKind string

// The kinds of cut-off.
const (
	CutApplication CutoffKind = "application"
	CutProvider    CutoffKind = "provider"
	CutEverything  CutoffKind = "everything"
)

// Cutoff ends all sessions and keys of an application, of a provider or of the house that began at or before a moment: at
// once, however many there are.
type Cutoff struct {
	Kind CutoffKind
	// Key is the id of the application or provider; empty for CutEverything.
	Key string
	At  time.Time
	// Done: each of them was ended by itself, too.
	Done bool
}

// RevocationStore keeps what ended before its time.
type RevocationStore interface {
	// RevokeToken remembers a token of a session, or of none that is known, until it would have expired:
	// identity.ErrConflict when these two are known, and will be for as long.
	RevokeToken(ctx context.Context, t RevokedToken) error
	// RevokedTokens lists the jti of a session's revoked tokens that have not expired; those of no known session for "".
	RevokedTokens(ctx context.Context, sessionID string, now time.Time) ([]string, error)
	// Revocations lists up to limit entries of each kind at or after since that have not expired at now, oldest first;
	// those of one application, or all for "".
	Revocations(ctx context.Context, application string, since, now time.Time, limit int) ([]Revocation, error)
	// PutCutoff stores one, or moves it forward.
	PutCutoff(ctx context.Context, c Cutoff) error
	// Cutoffs lists all, oldest first.
	Cutoffs(ctx context.Context) ([]Cutoff, error)
	// FinishCutoff marks one as done, unless it was moved meanwhile.
	FinishCutoff(ctx context.Context, c Cutoff) error
	// SessionsCutOff and KeysCutOff list up to limit living ones that a cut-off is about; of keys only ID and AccountID.
	SessionsCutOff(ctx context.Context, c Cutoff, limit int) ([]string, error)
	KeysCutOff(ctx context.Context, c Cutoff, limit int) ([]Key, error)
	// SessionsAhead and KeysAhead list all living ones that a cut-off would be about, had they not begun after it; of keys
	// only ID and AccountID.
	SessionsAhead(ctx context.Context, c Cutoff) ([]string, error)
	KeysAhead(ctx context.Context, c Cutoff) ([]Key, error)
}
