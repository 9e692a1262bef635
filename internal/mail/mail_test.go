package mail_test

import (
	"context"
	"errors"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ours "sallyport/internal/mail"
	"sallyport/internal/testenv"
)

func sender(t *testing.T, s *testenv.SMTPServer, change func(o *ours.Options)) *ours.Sender {
	t.Helper()
	o := ours.Options{Host: s.Host, Port: s.Port, From: "Sign-in <sso@example.test>"}
	if change != nil {
		change(&o)
	}
	made, err := ours.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func hello() ours.Message {
	return ours.Message{To: "ida@example.test", Subject: "Grüße", Text: "Ihr Code: 1234\n.\nEnde\n"}
}

func TestAMessageIsTakenByTheServer(t *testing.T) {
	ca := testenv.NewCA(t)
	cert := ca.Server(t)
	for name, c := range map[string]struct {
		server testenv.SMTPOptions
		change func(o *ours.Options)
		tls    bool
		user   string
	}{
		"by STARTTLS, which is what there is without a word": {
			server: testenv.SMTPOptions{Certificate: &cert}, tls: true,
			change: func(o *ours.Options) { o.Roots = ca.PEM },
		},
		"by STARTTLS, after signing in": {
			server: testenv.SMTPOptions{Certificate: &cert, Username: "sso", Password: "a secret"}, tls: true, user: "sso",
			change: func(o *ours.Options) { o.Roots, o.Username, o.Password = ca.PEM, "sso", "a secret" },
		},
		"by TLS from the first byte, after signing in": {
			server: testenv.SMTPOptions{Certificate: &cert, Implicit: true, Username: "sso", Password: "a secret"},
			tls:    true, user: "sso",
			change: func(o *ours.Options) {
				o.TLS, o.Roots, o.Username, o.Password = ours.ImplicitTLS, ca.PEM, "sso", "a secret"
			},
		},
		"in the clear, where that was asked for": {
			change: func(o *ours.Options) { o.TLS = ours.NoTLS },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := testenv.SMTP(t, c.server)
			if err := sender(t, s, c.change).Send(soon(t), hello()); err != nil {
				t.Fatal(err)
			}
			got := s.Next(t)
			if got.From != "sso@example.test" || !slices.Equal(got.To, []string{"ida@example.test"}) {
				t.Errorf("envelope: from %q to %q", got.From, got.To)
			}
			if got.Subject != hello().Subject || got.Text != hello().Text {
				t.Errorf("subject %q, text %q", got.Subject, got.Text)
			}
			if got.TLS != c.tls || got.User != c.user {
				t.Errorf("TLS %v, user %q", got.TLS, got.User)
			}
		})
	}
}

func TestAMessageIsPlainAndSaysWhatItIs(t *testing.T) {
	s := testenv.SMTP(t, testenv.SMTPOptions{})
	if err := sender(t, s, func(o *ours.Options) { o.TLS = ours.NoTLS }).Send(soon(t), hello()); err != nil {
		t.Fatal(err)
	}
	raw, err := mail.ReadMessage(strings.NewReader(string(s.Next(t).Raw)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"From": `"Sign-in" <sso@example.test>`, "To": "<ida@example.test>", "Auto-Submitted": "auto-generated",
		"Content-Type": "text/plain; charset=UTF-8", "User-Agent": "", "X-Mailer": "",
	} {
		if got := raw.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, err := raw.Header.Date(); err != nil {
		t.Errorf("date: %v", err)
	}
	if id := raw.Header.Get("Message-ID"); !strings.HasSuffix(id, "@example.test>") || len(id) < 30 {
		t.Errorf("message id %q", id)
	}
}

// A name or a title that holds the end of a line must not become a header, a recipient, or a command.
func TestNothingInAMessageEndsAHeader(t *testing.T) {
	const evil = "x\r\nBcc: eve@example.test\r\n\r\nRCPT TO:<eve@example.test>\u2028y\u202ez"
	s := testenv.SMTP(t, testenv.SMTPOptions{})
	send := sender(t, s, func(o *ours.Options) { o.TLS = ours.NoTLS })
	m := hello()
	m.Subject, m.Text = evil, "text\r\n.\r\nRCPT TO:<eve@example.test>\r\nMAIL FROM:<eve@example.test>\r\n"
	if err := send.Send(soon(t), m); err != nil {
		t.Fatal(err)
	}
	got := s.Next(t)
	if !slices.Equal(got.To, []string{"ida@example.test"}) {
		t.Errorf("went to %q", got.To)
	}
	raw, err := mail.ReadMessage(strings.NewReader(string(got.Raw)))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw.Header["Bcc"]) != 0 {
		t.Error("a header of its own")
	}
	if want := "x Bcc: eve@example.test RCPT TO:<eve@example.test> y z"; got.Subject != want {
		t.Errorf("subject %q, want %q", got.Subject, want)
	}
	s.None(t)
	for name, to := range map[string]string{
		"two addresses":       "ida@example.test, eve@example.test",
		"a line end":          "ida@example.test\r\nRCPT TO:<eve@example.test>",
		"a name":              "Ida <ida@example.test>",
		"a group":             "all: ida@example.test;",
		"none":                "",
		"quoted control byte": "\"i\r\nda\"@example.test",
	} {
		t.Run("a recipient that is not one plain address is refused: "+name, func(t *testing.T) {
			m := hello()
			m.To = to
			if err := send.Send(soon(t), m); err == nil {
				t.Error("sent")
			}
		})
	}
}

func TestNoMailGoesOutUnprotected(t *testing.T) {
	ca, other := testenv.NewCA(t), testenv.NewCA(t)
	cert := ca.Server(t)
	for name, c := range map[string]struct {
		server testenv.SMTPOptions
		change func(o *ours.Options)
	}{
		"STARTTLS was taken out on the way":            {server: testenv.SMTPOptions{Certificate: &cert, Stripped: true}},
		"the server knows no TLS":                      {server: testenv.SMTPOptions{}},
		"STARTTLS is refused":                          {server: testenv.SMTPOptions{Certificate: &cert, Replies: map[string]string{"STARTTLS": "454 4.7.0 not now"}}},
		"the certificate is another authority's":       {server: testenv.SMTPOptions{Certificate: &cert}, change: func(o *ours.Options) { o.Roots = other.PEM }},
		"the certificate is not the system's":          {server: testenv.SMTPOptions{Certificate: &cert}, change: func(o *ours.Options) { o.Roots = nil }},
		"TLS from the first byte, another authority's": {server: testenv.SMTPOptions{Certificate: &cert, Implicit: true}, change: func(o *ours.Options) { o.TLS, o.Roots = ours.ImplicitTLS, other.PEM }},
		"a server in the clear where TLS should be":    {server: testenv.SMTPOptions{}, change: func(o *ours.Options) { o.TLS = ours.ImplicitTLS }},
	} {
		t.Run(name, func(t *testing.T) {
			s := testenv.SMTP(t, c.server)
			err := sender(t, s, func(o *ours.Options) {
				o.Roots, o.Username, o.Password = ca.PEM, "sso", "a secret"
				if c.change != nil {
					c.change(o)
				}
			}).Send(soon(t), hello())
			if err == nil {
				t.Fatal("sent")
			}
			for _, said := range s.Commands() {
				if said == "AUTH" || strings.HasPrefix(said, "MAIL") || strings.HasPrefix(said, "DATA") {
					t.Errorf("said %q", said)
				}
			}
			s.None(t)
		})
	}
}

func TestWhatTheServerDoesNotTakeIsAnError(t *testing.T) {
	for name, replies := range map[string]map[string]string{
		"not now":                {"MAIL": "451 4.3.2 not now"},
		"nobody of that name":    {"RCPT": "550 5.1.1 no such mailbox"},
		"no data":                {"DATA": "554 5.5.1 no"},
		"a full disk at the end": {".": "452 4.3.1 full"},
		"spam at the end":        {".": "554 5.7.1 spam"},
		"no greeting":            {"EHLO": "500 no", "HELO": "500 no"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testenv.SMTP(t, testenv.SMTPOptions{Replies: replies})
			if err := sender(t, s, func(o *ours.Options) { o.TLS = ours.NoTLS }).Send(soon(t), hello()); err == nil {
				t.Error("sent")
			}
			s.None(t)
		})
	}
	t.Run("a wrong password", func(t *testing.T) {
		ca := testenv.NewCA(t)
		cert := ca.Server(t)
		s := testenv.SMTP(t, testenv.SMTPOptions{Certificate: &cert, Username: "sso", Password: "right"})
		err := sender(t, s, func(o *ours.Options) { o.Roots, o.Username, o.Password = ca.PEM, "sso", "wrong horse" }).
			Send(soon(t), hello())
		if err == nil || strings.Contains(err.Error(), "wrong horse") {
			t.Errorf("%v", err)
		}
		s.None(t)
	})
	t.Run("nobody listens", func(t *testing.T) {
		s := testenv.SMTP(t, testenv.SMTPOptions{})
		if err := sender(t, s, func(o *ours.Options) { o.Port = testenv.Port(t) }).Send(soon(t), hello()); err == nil {
			t.Error("sent")
		}
	})
	t.Run("a goodbye that fails is none, the message was taken", func(t *testing.T) {
		s := testenv.SMTP(t, testenv.SMTPOptions{Replies: map[string]string{"QUIT": "421 4.3.0 gone"}})
		if err := sender(t, s, func(o *ours.Options) { o.TLS = ours.NoTLS }).Send(soon(t), hello()); err != nil {
			t.Error(err)
		}
		s.Next(t)
	})
}

func TestAServerThatHangsIsLeftInTime(t *testing.T) {
	cert := testenv.NewCA(t).Server(t)
	for name, o := range map[string]testenv.SMTPOptions{
		"before its greeting":       {Silent: true},
		"in the middle of its TLS":  {Silent: true, Certificate: &cert, Implicit: true},
		"without an end to a reply": {Replies: map[string]string{"EHLO": "250-for ever"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := testenv.SMTP(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			begun := time.Now()
			err := sender(t, s, func(to *ours.Options) {
				if to.TLS = ours.NoTLS; o.Implicit {
					to.TLS = ours.ImplicitTLS
				}
			}).Send(ctx, hello())
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestManySendAtOnce(t *testing.T) {
	s := testenv.SMTP(t, testenv.SMTPOptions{})
	send := sender(t, s, func(o *ours.Options) { o.TLS = ours.NoTLS })
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := send.Send(t.Context(), hello()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for range 20 {
		s.Next(t)
	}
}

func TestOptionsThatCannotWorkAreFoundAtTheStart(t *testing.T) {
	for name, o := range map[string]ours.Options{
		"a sender that is none":     {From: "somebody"},
		"a way that is none":        {From: "sso@example.test", TLS: "perhaps"},
		"authorities that are none": {From: "sso@example.test", Roots: []byte("none")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ours.New(o); err == nil {
				t.Error("taken")
			}
		})
	}
}
