// Package mail hands short plain-text messages to the one mail server of the house (RFC 5321). It keeps no queue: a
// message is taken by the server while the caller waits, or it is not. What is said in a message, and to whom, is the
// caller's.
package mail

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strings"
	"unicode"

	gomail "github.com/wneessen/go-mail"
)

// TLS says how the connection is protected.
type TLS string

// The ways. There is no falling back: a server, or whoever stands before it, that does not offer STARTTLS gets nothing.
const (
	// StartTLS begins in the clear and must turn to TLS before anything is said (RFC 3207).
	StartTLS TLS = "starttls"
	// ImplicitTLS is TLS from the first byte (RFC 8314).
	ImplicitTLS TLS = "tls"
	// NoTLS is for a relay on the same machine. A password is not sent over it to any other host.
	NoTLS TLS = "none"
)

// Options are what a Sender is made of.
type Options struct {
	// Host and Port of the server that takes our mail.
	Host string
	Port int
	// TLS; zero: StartTLS.
	TLS TLS
	// Roots are the authorities its certificate may come from, in PEM; empty: the system's.
	Roots []byte
	// Username and Password sign in there; both empty: nobody does.
	Username, Password string
	// From is the sender, "address" or "Name <address>".
	From string
}

// Message is plain text for one person.
type Message struct {
	// To is one address, without a name.
	To string
	// Subject is one line; control characters in it become blanks.
	Subject string
	// Text has lines that end in "\n".
	Text string
}

// Sender sends. It is safe for concurrent use.
type Sender struct {
	options Options
	from    *netmail.Address
	tls     *tls.Config
}

// New checks the options; it does not connect.
func New(o Options) (*Sender, error) {
	if o.TLS == "" {
		o.TLS = StartTLS
	}
	if o.TLS != StartTLS && o.TLS != ImplicitTLS && o.TLS != NoTLS {
		return nil, fmt.Errorf("mail: tls %q", o.TLS)
	}
	from, err := netmail.ParseAddress(o.From)
	if err != nil {
		return nil, fmt.Errorf("mail: from: %w", err)
	}
	config := &tls.Config{ServerName: o.Host, MinVersion: tls.VersionTLS12}
	if len(o.Roots) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(o.Roots) {
			return nil, errors.New("mail: no certificate among the authorities")
		}
	}
	return &Sender{options: o, from: from, tls: config}, nil
}

// Send hands a message to the server and returns once that has taken it, or when ctx ends. Errors may quote what the
// server said; they are for logs.
func (s *Sender) Send(ctx context.Context, m Message) error {
	written, err := s.write(m)
	if err != nil {
		return err
	}
	line := &line{sender: s}
	defer line.close()
	client, err := gomail.NewClient(s.options.Host, s.settings(ctx, line)...)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	stop := context.AfterFunc(ctx, line.close) // the library's own deadline begins anew with each step
	defer stop()
	if err := client.DialAndSendWithContext(ctx, written); err != nil && !written.IsDelivered() {
		return fmt.Errorf("mail to %s: %w", s.options.Host, errors.Join(ctx.Err(), err))
	}
	return nil // one that was taken is on its way, however the goodbye went
}

func (s *Sender) settings(ctx context.Context, l *line) []gomail.Option {
	policy := gomail.TLSMandatory
	if s.options.TLS != StartTLS {
		policy = gomail.NoTLS // for ImplicitTLS there is nothing left to start: the line itself is TLS
	}
	settings := []gomail.Option{
		gomail.WithPort(s.options.Port), gomail.WithTLSPolicy(policy), gomail.WithTLSConfig(s.tls), gomail.WithoutNoop(),
		gomail.WithDialContextFunc(func(context.Context, string, string) (net.Conn, error) { return l.dial(ctx) }),
	}
	if s.options.Username == "" {
		return settings
	}
	return append(settings, gomail.WithUsername(s.options.Username), gomail.WithPassword(s.options.Password),
		gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
}

// write spells a message. Nothing that a person calls themselves can end a header or add a recipient.
func (s *Sender) write(m Message) (*gomail.Msg, error) {
	to, err := netmail.ParseAddress(m.To)
	if err != nil || to.Address != m.To || strings.ContainsFunc(m.To, unicode.IsControl) {
		return nil, errors.New("mail: recipient is not one plain address")
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	_, domain, _ := strings.Cut(s.from.Address, "@")
	written := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	written.FromMailAddress(s.from)
	written.ToMailAddress(to)
	written.SetDate()
	written.SetMessageIDWithValue(base64.RawURLEncoding.EncodeToString(id[:]) + "@" + domain)
	written.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's holiday note answers it
	written.Subject(OneLine(m.Subject))
	written.SetBodyString(gomail.TypeTextPlain, m.Text)
	return written, nil
}

// OneLine makes blanks of everything that could end a line or move what stands on it.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
	}), " ")
}
