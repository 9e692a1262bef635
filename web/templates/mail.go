package templates

import (
	"strings"
	"unicode"
)

// CodeMail is an e-mail that brings a code.
type CodeMail struct {
	// Code is what is to be typed in.
	Code string
	// Name is what the person is called, Address where the request came from; empty leaves either out.
	Name, Address string
	// Application is the title of what the code opens.
	Application string
	// Key says that it is for an API key rather than for a sign-in.
	Key bool
	// Minutes is how long the code is good.
	Minutes int
}

// CodeMail writes the subject and the plain text of an e-mail; an unknown language means the default. Values from outside
// are put on one line each, so that nobody's name adds a paragraph of its own.
func (r *Renderer) CodeMail(lang string, m CodeMail) (subject, text string, err error) {
	pr, ok := r.printers[lang]
	if !ok {
		pr = r.printers[r.languages[0]]
	}
	application := oneLine(m.Application)
	if subject, err = pr.plain(say("mail.subject", "application", application)); err != nil {
		return "", "", err
	}
	hello, about := say("mail.hello_bare"), say("mail.sign_in", "application", application)
	if name := oneLine(m.Name); name != "" {
		hello = say("mail.hello", "name", name)
	}
	if m.Key {
		about = say("mail.key", "application", application)
	}
	after := []Message{say("mail.life", "count", m.Minutes)}
	if m.Address != "" {
		after = append(after, say("mail.address", "address", oneLine(m.Address)))
	}
	after = append(after, say("mail.not_you"))
	var b strings.Builder
	if err := pr.paragraphs(&b, hello, about); err != nil {
		return "", "", err
	}
	b.WriteString("    " + m.Code + "\n\n")
	if err := pr.paragraphs(&b, after...); err != nil {
		return "", "", err
	}
	return subject, strings.TrimSuffix(b.String(), "\n"), nil
}

func (p *printer) paragraphs(b *strings.Builder, all ...Message) error {
	for _, m := range all {
		said, err := p.plain(m)
		if err != nil {
			return err
		}
		b.WriteString(said + "\n\n")
	}
	return nil
}

// oneLine bounds a value and takes every line end out of it.
func oneLine(s string) string {
	const longest = 100
	kept := strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp)
	}), " ")
	if runes := []rune(kept); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return kept
}
