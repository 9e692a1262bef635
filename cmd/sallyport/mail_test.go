package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/identity"
	"sallyport/internal/testenv"
)

func TestAPostmanWritesInTheReadersLanguage(t *testing.T) {
	ca := testenv.NewCA(t)
	cert := ca.Server(t)
	roots := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(roots, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	server := testenv.SMTP(t, testenv.SMTPOptions{Certificate: &cert, Username: "sso", Password: "a secret"})
	p, err := newPostman()
	if err != nil {
		t.Fatal(err)
	}
	sender, err := senderOf(&configs.Config{Mail: configs.Mail{
		Host: server.Host, Port: server.Port, TLS: "starttls", CAFile: roots, Username: "sso",
		Password: identity.NewSecret("a secret"), From: "Sign-in <sso@example.test>",
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.use(sender)
	for language, want := range map[string]string{"en": "Hello Ida,", "de": "Guten Tag Ida,", "xx": "Hello Ida,"} {
		m := broker.CodeMail{
			To: "ida@example.test", Name: "Ida", Code: "01234567", Language: language, Application: "Reports",
			Address: "192.0.2.7", Minutes: 10,
		}
		if err := p.SendCode(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		got := server.Next(t)
		for _, part := range []string{want, "\n\n    01234567\n\n", "192.0.2.7", "Reports", "10 "} {
			if !strings.Contains(got.Text, part) {
				t.Errorf("%s: the text lacks %q:\n%s", language, part, got.Text)
			}
		}
		if !strings.Contains(got.Subject, "Reports") || strings.Contains(got.Subject, "01234567") {
			t.Errorf("%s: subject %q", language, got.Subject)
		}
	}
	p.use(nil)
	if err := p.SendCode(t.Context(), broker.CodeMail{To: "ida@example.test"}); err == nil {
		t.Error("sent without a server")
	}
}

func TestAMailServerThatCannotWorkIsFoundAtTheStart(t *testing.T) {
	if s, err := senderOf(&configs.Config{}); s != nil || err != nil {
		t.Errorf("without mail: %v, %v", s, err)
	}
	for name, m := range map[string]configs.Mail{
		"no such file": {Host: "mail.example.test", From: "sso@example.test", CAFile: filepath.Join(t.TempDir(), "none")},
		"no sender":    {Host: "mail.example.test"},
	} {
		if _, err := senderOf(&configs.Config{Mail: m}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
