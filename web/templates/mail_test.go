package templates_test

import (
	"strings"
	"testing"

	"sallyport/web/templates"
)

func TestACodesEmailIsWholeInEveryLanguage(t *testing.T) {
	r := newRenderer(t)
	for _, lang := range r.Languages() {
		for name, m := range map[string]templates.CodeMail{
			"a sign-in": {Code: "01234567", Name: "Ida", Address: "192.0.2.7", Application: "Reports", Minutes: 10},
			"a key":     {Code: "01234567", Application: "Reports", Key: true, Minutes: 1},
		} {
			subject, text, err := r.CodeMail(lang, m)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(subject, "Reports") || strings.ContainsAny(subject, "\r\n") {
				t.Errorf("%s, %s: subject %q", lang, name, subject)
			}
			if !strings.Contains(text, "\n\n    01234567\n\n") || !strings.Contains(text, m.Name) || !strings.Contains(text, m.Address) {
				t.Errorf("%s, %s:\n%s", lang, name, text)
			}
		}
	}
}

// What people and applications are called adds no line to an e-mail of ours.
func TestNothingInACodesEmailAddsALine(t *testing.T) {
	r := newRenderer(t)
	plain, evil := templates.CodeMail{Code: "01234567", Name: "x", Address: "y", Application: "z", Minutes: 10}, templates.CodeMail{
		Code: "01234567", Name: "x\r\n\r\nClick here:\u2028https://evil.example " + strings.Repeat("a", 1000),
		Address: "y\n\ny", Application: "z\r\nBcc: eve@evil.example", Minutes: 10,
	}
	_, want, err := r.CodeMail("en", plain)
	if err != nil {
		t.Fatal(err)
	}
	subject, got, err := r.CodeMail("en", evil)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(subject, "\r\n") || strings.Count(got, "\n") != strings.Count(want, "\n") ||
		strings.ContainsAny(got, "\r\u2028") || len(got) > len(want)+400 {
		t.Errorf("subject %q, text:\n%s", subject, got)
	}
}
