package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"sallyport/broker"
	"sallyport/configs"
	"sallyport/internal/mail"
	"sallyport/web/static"
	"sallyport/web/templates"
)

// postman writes codes in the reader's language and hands them to the mail server of the configuration in force. It is
// safe for concurrent use.
type postman struct {
	words  *templates.Renderer
	sender atomic.Pointer[mail.Sender]
}

// newPostman returns one without a server, see use.
func newPostman() (*postman, error) {
	words, err := templates.New(templates.Options{Static: static.URL})
	if err != nil {
		return nil, err
	}
	return &postman{words: words}, nil
}

// senderOf makes the sender of a configuration; nil where it has no mail server. It does not connect.
func senderOf(c *configs.Config) (*mail.Sender, error) {
	m := c.Mail
	if m.Host == "" {
		return nil, nil
	}
	o := mail.Options{
		Host: m.Host, Port: m.Port, TLS: mail.TLS(m.TLS), Username: m.Username, Password: m.Password.Reveal(), From: m.From,
	}
	if m.CAFile != "" {
		var err error
		if o.Roots, err = os.ReadFile(c.File(m.CAFile)); err != nil {
			return nil, fmt.Errorf("mail.ca_file: %w", err)
		}
	}
	return mail.New(o)
}

// use makes a sender the one in force; nil: there is no mail.
func (p *postman) use(s *mail.Sender) { p.sender.Store(s) }

// SendCode see broker.Mailer.
func (p *postman) SendCode(ctx context.Context, m broker.CodeMail) error {
	sender := p.sender.Load()
	if sender == nil {
		return errors.New("no mail server is configured")
	}
	subject, text, err := p.words.CodeMail(m.Language, templates.CodeMail{
		Code: m.Code, Name: m.Name, Address: m.Address, Application: m.Application, Key: m.Key, Minutes: m.Minutes,
	})
	if err != nil {
		return err
	}
	return sender.Send(ctx, mail.Message{To: m.To, Subject: subject, Text: text})
}
