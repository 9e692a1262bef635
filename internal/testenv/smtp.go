package testenv

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"
)

// SMTPOptions say how a mail server for tests behaves.
type SMTPOptions struct {
	// Certificate of it; nil: it knows no TLS.
	Certificate *tls.Certificate
	// Implicit is TLS from the first byte; otherwise the server offers STARTTLS, and takes no mail without.
	Implicit bool
	// Stripped hides STARTTLS, as somebody between the two would.
	Stripped bool
	// Username and Password must be shown (AUTH PLAIN) before mail is taken; empty: nobody needs to.
	Username, Password string
	// Replies answer commands (EHLO, MAIL, RCPT, DATA, or "." for the message) with a line of one's own.
	Replies map[string]string
	// Silent takes the connection and says nothing, ever.
	Silent bool
}

// SMTPServer is a mail server on loopback that keeps what it takes.
type SMTPServer struct {
	Host string
	Port int

	options  SMTPOptions
	taken    chan Mail
	mu       sync.Mutex
	commands []string
	open     map[net.Conn]bool
	closed   bool
}

// Mail is a message that was taken.
type Mail struct {
	// From and To are the envelope's.
	From string
	To   []string
	// Raw is the message as it was sent, Subject and Text are its own, decoded.
	Raw           []byte
	Subject, Text string
	// TLS: it came over TLS. User is who had signed in.
	TLS  bool
	User string
}

// SMTP starts a mail server that ends with the test.
func SMTP(t testing.TB, o SMTPOptions) *SMTPServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, _ := listener.Addr().(*net.TCPAddr)
	s := &SMTPServer{
		Host: "127.0.0.1", Port: address.Port, options: o, taken: make(chan Mail, 1000), open: map[net.Conn]bool{},
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.hangUp()
		serving.Wait()
	})
	return s
}

// Next returns the next message, or fails the test when none comes.
func (s *SMTPServer) Next(t testing.TB) Mail {
	t.Helper()
	select {
	case m := <-s.taken:
		return m
	case <-time.After(10 * time.Second):
		t.Fatalf("no mail came; the server heard %q", s.Commands())
		return Mail{}
	}
}

// None fails the test if a message was taken that nobody looked at.
func (s *SMTPServer) None(t testing.TB) {
	t.Helper()
	select {
	case m := <-s.taken:
		t.Fatalf("a mail that should not be: %s", m.Raw)
	default:
	}
}

// Commands lists what clients said so far, without what follows AUTH.
func (s *SMTPServer) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

func (s *SMTPServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.open {
		_ = conn.Close()
	}
}

// keep remembers a connection so that hangUp can end it; false once that happened.
func (s *SMTPServer) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[conn] = true
	return !s.closed
}

func (s *SMTPServer) heard(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, line)
}

// smtpSession is one conversation.
type smtpSession struct {
	server *SMTPServer
	conn   net.Conn
	in     *bufio.Reader
	tls    bool
	user   string
	mail   Mail
}

func (s *SMTPServer) serve(conn net.Conn) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, conn)
		_ = conn.Close()
	}()
	if !s.keep(conn) {
		return
	}
	if s.options.Silent {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	c := &smtpSession{server: s, conn: conn}
	if s.options.Implicit {
		c.secure()
	}
	c.in = bufio.NewReader(c.conn)
	c.say("220 mail.example.test ESMTP")
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		if err := c.answer(strings.TrimRight(line, "\r\n")); err != nil {
			return
		}
	}
}

func (c *smtpSession) secure() {
	c.conn = tls.Server(c.conn, &tls.Config{Certificates: []tls.Certificate{*c.server.options.Certificate}, MinVersion: tls.VersionTLS12})
	c.in, c.tls = bufio.NewReader(c.conn), true
}

func (c *smtpSession) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.conn, format+"\r\n", args...)
}

var errSMTPQuit = errors.New("quit")

// answer takes one command (RFC 5321 section 4.1).
func (c *smtpSession) answer(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	o := c.server.options
	if verb == "AUTH" {
		c.server.heard(verb)
	} else {
		c.server.heard(line)
	}
	if reply := o.Replies[verb]; reply != "" {
		c.say("%s", reply)
		return nil
	}
	switch verb {
	case "EHLO", "HELO":
		c.greet()
	case "STARTTLS":
		if o.Certificate == nil || o.Stripped || c.tls {
			c.say("502 5.5.1 no")
			return nil
		}
		c.say("220 2.0.0 ready")
		c.secure()
	case "AUTH":
		c.auth(rest)
	case "MAIL", "RCPT", "DATA":
		return c.take(verb, rest)
	case "RSET", "NOOP":
		c.say("250 2.0.0 ok")
	case "QUIT":
		c.say("221 2.0.0 bye")
		return errSMTPQuit
	default:
		c.say("502 5.5.1 unknown")
	}
	return nil
}

func (c *smtpSession) greet() {
	o := c.server.options
	c.say("250-mail.example.test")
	if o.Certificate != nil && !o.Stripped && !c.tls {
		c.say("250-STARTTLS")
	}
	if o.Username != "" && (c.tls || o.Certificate == nil) {
		c.say("250-AUTH PLAIN")
	}
	c.say("250 8BITMIME")
}

// auth takes AUTH PLAIN with its initial response (RFC 4616).
func (c *smtpSession) auth(rest string) {
	o := c.server.options
	_, response, _ := strings.Cut(rest, " ")
	raw, err := base64.StdEncoding.DecodeString(response)
	if err != nil || string(raw) != "\x00"+o.Username+"\x00"+o.Password {
		c.say("535 5.7.8 authentication failed")
		return
	}
	c.user = o.Username
	c.say("235 2.7.0 ok")
}

// take takes a message, from who may send one.
func (c *smtpSession) take(verb, rest string) error {
	o := c.server.options
	switch {
	case o.Certificate != nil && !c.tls:
		c.say("530 5.7.0 must issue STARTTLS first")
	case o.Username != "" && c.user == "":
		c.say("530 5.7.0 authentication required")
	case verb == "MAIL":
		c.mail = Mail{From: smtpPath(rest), TLS: c.tls, User: c.user}
		c.say("250 2.1.0 ok")
	case verb == "RCPT":
		c.mail.To = append(c.mail.To, smtpPath(rest))
		c.say("250 2.1.5 ok")
	default:
		c.say("354 go on")
		return c.data()
	}
	return nil
}

// data reads up to the lone dot.
func (c *smtpSession) data() error {
	var raw bytes.Buffer
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			break
		}
		raw.WriteString(strings.TrimPrefix(line, "."))
	}
	if reply := c.server.options.Replies["."]; reply != "" {
		c.say("%s", reply)
		return nil
	}
	c.mail.Raw = raw.Bytes()
	c.mail.Subject, c.mail.Text = readMail(raw.Bytes())
	c.server.taken <- c.mail
	c.say("250 2.0.0 taken")
	return nil
}

func smtpPath(rest string) string {
	_, path, _ := strings.Cut(rest, "<")
	path, _, _ = strings.Cut(path, ">")
	return path
}

// readMail decodes subject and text; what it cannot read is empty, which no test takes for right.
func readMail(raw []byte) (subject, text string) {
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return "", ""
	}
	subject, _ = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	body := m.Body
	switch m.Header.Get("Content-Transfer-Encoding") {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	decoded, _ := io.ReadAll(body)
	return subject, strings.ReplaceAll(string(decoded), "\r\n", "\n")
}
