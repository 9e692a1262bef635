package ldap

import (
	"errors"
	"fmt"
	"net"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"sallyport/identity"
)

// trouble means that one server gave no answer: another may.
type trouble struct {
	server string
	// hung: it was given the whole time and said nothing, as opposed to being gone.
	hung bool
	err  error
}

func (t *trouble) Error() string   { return fmt.Sprintf("server %s: %v", t.server, t.err) }
func (t *trouble) Unwrap() []error { return []error{identity.ErrUnavailable, t.err} }

func isTrouble(err error) bool {
	var t *trouble
	return errors.As(err, &t)
}

// answer is a server's own negative reply to a request. Another server would say the same.
type answer struct {
	code uint16
	text string
}

func (a *answer) Error() string {
	name := goldap.LDAPResultCodeMap[a.code]
	if a.text == "" {
		return fmt.Sprintf("result %d (%s)", a.code, name)
	}
	return fmt.Sprintf("result %d (%s): %s", a.code, name, a.text)
}

// Unwrap: whatever a server says instead of what it was asked is no statement about a person.
func (a *answer) Unwrap() error { return identity.ErrUnavailable }

func isAnswer(err error, codes ...uint16) bool {
	var a *answer
	if !errors.As(err, &a) {
		return false
	}
	for _, code := range codes {
		if a.code == code {
			return true
		}
	}
	return false
}

// refusal means that the person is not let in. The reason is for the log; the caller sees every refusal alike.
type refusal struct{ reason string }

func (r *refusal) Error() string { return "refused: " + r.reason }
func (r *refusal) Unwrap() error { return identity.ErrBadCredentials }

// classify tells a server's answer from a failure to give one.
func classify(server string, err error) error {
	if err == nil {
		return nil
	}
	var reply *goldap.Error
	if !errors.As(err, &reply) || reply.ResultCode >= goldap.LDAPResultServerDown {
		// Codes from 81 up are the library's own: network, malformed packets, time.
		return &trouble{server: server, err: err}
	}
	switch reply.ResultCode {
	case goldap.LDAPResultBusy, goldap.LDAPResultUnavailable:
		return &trouble{server: server, err: err}
	}
	text := ""
	if reply.Err != nil {
		text = clip(reply.Err.Error())
	}
	return &answer{code: reply.ResultCode, text: text}
}

// clip keeps a foreign text short enough for a log line.
func clip(text string) string {
	const most = 200
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(strings.TrimRight(text, "\x00"), "?")
}

// unavailable is the public form of every failure that says nothing about the person.
func unavailable(err error) error {
	if identity.CodeOf(err) != "" {
		return err
	}
	if !errors.Is(err, identity.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", identity.ErrUnavailable, err)
	}
	return identity.WithCode("provider_unavailable", err)
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
