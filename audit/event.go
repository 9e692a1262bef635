// Package audit owns security events: their types, their fields, and the interface through which a transaction takes
// them. Events are facts for a reader who was not there; logs are for operators and live elsewhere. No event ever holds
// a secret.
package audit

import (
	"context"
	"time"
)

// Type says what happened. The catalogue in docs/security/audit-events.md lists each one; a test holds the two together.
type Type string

// The catalogue.
const (
	SignInSucceeded   Type = "sign_in.succeeded"
	SignInRefused     Type = "sign_in.refused"
	SignedOut         Type = "sign_out"
	SessionCreated    Type = "session.created"
	SessionEnded      Type = "session.ended"
	AccountCreated    Type = "account.created"
	AccountDisabled   Type = "account.disabled"
	AccountEnabled    Type = "account.enabled"
	PasswordSet       Type = "password.set"
	GroupsSet         Type = "groups.set"
	GrantAdded        Type = "grant.added"
	IdentityLinked    Type = "identity.linked"
	KeyCreated        Type = "api_key.created"
	KeyRevoked        Type = "api_key.revoked"
	AccessRefused     Type = "access.refused"
	SetupIssued       Type = "setup.issued"
	SetupCompleted    Type = "setup.completed"
	SigningKeyCreated Type = "signing_key.created"
	SessionMoved      Type = "session.moved"
	ConfirmationSent  Type = "confirmation.sent"
	Confirmed         Type = "confirmation.succeeded"
	NotConfirmed      Type = "confirmation.refused"
	TokenReused       Type = "refresh_token.reused"
	TokenRevoked      Type = "token.revoked"
	CutOff            Type = "access.cut_off"
	KeyRotated        Type = "api_key.rotated"
	KeyActivated      Type = "api_key.activated"
	ServiceRolesSet   Type = "service.roles_set"
	SigningKeyRotated Type = "signing_key.rotated"
	SigningKeyRevoked Type = "signing_key.revoked"
	LockoutBegan      Type = "lockout.began"
	LockoutCleared    Type = "lockout.cleared"
	ConfigLoaded      Type = "config.loaded"
	ConfigRefused     Type = "config.refused"
	StoreBackedUp     Type = "store.backup_made"
	StoreRestored     Type = "store.restored"
	MasterKeyResealed Type = "master_key.resealed"
)

// Types returns the whole catalogue, in the order above.
func Types() []Type {
	return []Type{
		SignInSucceeded, SignInRefused, SignedOut, SessionCreated, SessionEnded, AccountCreated, AccountDisabled,
		AccountEnabled, PasswordSet, GroupsSet, GrantAdded, IdentityLinked, KeyCreated, KeyRevoked,
		AccessRefused, SetupIssued, SetupCompleted, SigningKeyCreated, SessionMoved, ConfirmationSent, Confirmed,
		NotConfirmed, TokenReused, TokenRevoked, CutOff, KeyRotated, KeyActivated, ServiceRolesSet, SigningKeyRotated,
		SigningKeyRevoked, LockoutBegan, LockoutCleared, ConfigLoaded, ConfigRefused, StoreBackedUp,
		StoreRestored, MasterKeyResealed,
	}
}

// Outcome tells success from refusal.
type Outcome string

// The outcomes.
const (
	Success Outcome = "success"
	Refusal Outcome = "refusal"
)

// Event is one security event. Empty fields do not apply.
type Event struct {
	// ID orders events by time (milliseconds in the high bits, random below); given by the store.
	ID   int64     `json:"id"`
	Type Type      `json:"type"`
	At   time.Time `json:"at"`
	// Outcome is Success or Refusal.
	Outcome Outcome `json:"outcome"`
	// Code is the refusal's stable code, as the client saw it or a more precise one.
	Code string `json:"code,omitempty"`
	// Actor is the account that acted, or "system", or "cli".
	Actor string `json:"actor,omitempty"`
	// AccountID is the account it happened to.
	AccountID string `json:"account_id,omitempty"`
	// Username is the account's name, cut to 256 bytes; empty for a typed name that nobody has.
	Username    string `json:"username,omitempty"`
	Provider    string `json:"provider,omitempty"`
	Application string `json:"application,omitempty"`
	SessionID   string `json:"session_id,omitempty"`
	KeyID       string `json:"key_id,omitempty"`
	// Address is the client's network address without port.
	Address string `json:"address,omitempty"`
	// TraceID is the x-error-id of the answer and the request_id of the log lines.
	TraceID string `json:"trace_id,omitempty"`
	// Detail holds what only this type of event has; keys are snake_case, values are never secret.
	Detail map[string]string `json:"detail,omitempty"`
}

// Appender takes events in the transaction of the change they tell of. An event that cannot be written undoes the
// change.
type Appender interface {
	Append(ctx context.Context, e Event) error
}
