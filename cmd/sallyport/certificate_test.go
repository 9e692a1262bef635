package main

import (
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/testenv"
)

// served is the serial number of the certificate that would be served now.
func served(t *testing.T, c *certificate) string {
	t.Helper()
	pair, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return parsed.SerialNumber.String()
}

func TestCertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	var log strings.Builder
	now := time.Now()
	ca := testenv.NewCA(t)
	files := ca.Files(t, t.TempDir())
	c := &certificate{
		certificate: files.Certificate, key: files.Key,
		log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now },
	}
	first := served(t, c)

	renewed := ca.Files(t, t.TempDir())
	replace(t, renewed.Certificate, files.Certificate, now.Add(time.Minute))
	replace(t, renewed.Key, files.Key, now.Add(time.Minute))
	if got := served(t, c); got != first {
		t.Error("files are looked at within five seconds")
	}
	now = now.Add(lookEvery)
	second := served(t, c)
	if second == first {
		t.Error("the renewed certificate is not served")
	}

	// A broken renewal is reported, and what we have is served on.
	if err := os.WriteFile(files.Certificate, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if err := os.Chtimes(files.Certificate, now, now); err != nil {
		t.Fatal(err)
	}
	if got := served(t, c); got != second {
		t.Error("a broken renewal changed what is served")
	}
	if !strings.Contains(log.String(), "not renewed") {
		t.Errorf("a broken renewal is not reported: %s", log.String())
	}
}

func TestCertificateMissingAtTheStartIsAnError(t *testing.T) {
	c := &certificate{certificate: filepath.Join(t.TempDir(), "none.pem"), now: time.Now, log: slog.New(slog.DiscardHandler)}
	if _, err := c.get(nil); err == nil {
		t.Error("a server without its certificate starts")
	}
}

func replace(t *testing.T, from, to string, modified time.Time) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(to, modified, modified); err != nil {
		t.Fatal(err)
	}
}
