package ldap

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
)

// fake is a directory server made of functions, on a real socket.
type fake struct {
	t        *testing.T
	listener net.Listener
	// tls, when set, is what StartTLS begins; without it StartTLS is refused.
	tls *tls.Config
	// bind and search answer; nil binds succeed, nil searches find nothing.
	bind   func(dn, password string) reply
	search func(q asked) reply
	// raw, when set, has the connection to itself.
	raw func(net.Conn)

	mu    sync.Mutex
	binds []string
	asks  []asked
	conns map[net.Conn]bool
	done  sync.WaitGroup
}

type asked struct {
	base, filter string
	scope        int64
	attributes   []string
	cookie       string
	paged        bool
}

// reply is a result with what goes before it.
type reply struct {
	code       int
	text       string
	entries    []*goldap.Entry
	references []string
	controls   []*ber.Packet
	// hangUp ends the connection instead.
	hangUp bool
}

// newFake starts a server; change its fields through the function, before it listens.
func newFake(t *testing.T, change func(*fake)) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, listener: l, conns: map[net.Conn]bool{}}
	change(f)
	f.done.Add(1)
	go f.accept()
	t.Cleanup(f.stop)
	return f
}

func (f *fake) url() string { return "ldap://" + f.listener.Addr().String() }

func (f *fake) stop() {
	_ = f.listener.Close()
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.done.Wait()
}

func (f *fake) accept() {
	defer f.done.Done()
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns[c] = true
		f.mu.Unlock()
		f.done.Go(func() {
			defer func() {
				_ = c.Close()
				f.mu.Lock()
				delete(f.conns, c)
				f.mu.Unlock()
			}()
			if f.raw != nil {
				f.raw(c)
				return
			}
			f.serve(c)
		})
	}
}

// bound returns the DNs that were bound as, in order.
func (f *fake) bound() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.binds)
}

func (f *fake) searched() []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asks)
}

func (f *fake) serve(c net.Conn) {
	for {
		p, err := ber.ReadPacket(c)
		if err != nil || len(p.Children) < 2 {
			return
		}
		id, op := p.Children[0].Value, p.Children[1]
		switch op.Tag {
		case goldap.ApplicationBindRequest:
			dn, password := op.Children[1].Data.String(), op.Children[2].Data.String()
			f.mu.Lock()
			f.binds = append(f.binds, dn)
			f.mu.Unlock()
			var r reply
			if f.bind != nil {
				r = f.bind(dn, password)
			}
			if r.hangUp {
				return
			}
			f.send(c, id, result(goldap.ApplicationBindResponse, r), r.controls)
		case goldap.ApplicationSearchRequest:
			r := f.find(p)
			if r.hangUp {
				return
			}
			for _, e := range r.entries {
				f.send(c, id, entryPacket(e), nil)
			}
			for _, ref := range r.references {
				p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, goldap.ApplicationSearchResultReference, nil, "")
				p.AppendChild(octets(ref))
				f.send(c, id, p, nil)
			}
			f.send(c, id, result(goldap.ApplicationSearchResultDone, r), r.controls)
		case goldap.ApplicationExtendedRequest:
			if f.tls == nil {
				f.send(c, id, result(goldap.ApplicationExtendedResponse, reply{code: goldap.LDAPResultUnavailable}), nil)
				continue
			}
			f.send(c, id, result(goldap.ApplicationExtendedResponse, reply{}), nil)
			over := tls.Server(c, f.tls)
			if over.Handshake() != nil {
				return
			}
			c = over
		default:
			return
		}
	}
}

func (f *fake) find(p *ber.Packet) reply {
	op := p.Children[1]
	filter, err := goldap.DecompileFilter(op.Children[6])
	if err != nil {
		return reply{code: goldap.LDAPResultProtocolError, text: err.Error()}
	}
	q := asked{base: op.Children[0].Data.String(), filter: filter, scope: op.Children[1].Value.(int64)}
	for _, a := range op.Children[7].Children {
		q.attributes = append(q.attributes, a.Data.String())
	}
	if len(p.Children) > 2 {
		if c, err := goldap.DecodeControl(p.Children[2].Children[0]); err == nil {
			if paging, ok := c.(*goldap.ControlPaging); ok {
				q.paged, q.cookie = true, string(paging.Cookie)
			}
		}
	}
	f.mu.Lock()
	f.asks = append(f.asks, q)
	f.mu.Unlock()
	if f.search == nil {
		return reply{}
	}
	return f.search(q)
}

func (f *fake) send(c net.Conn, id any, op *ber.Packet, controls []*ber.Packet) {
	_, _ = c.Write(message(id, op, controls))
}

func message(id any, op *ber.Packet, controls []*ber.Packet) []byte {
	p := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	p.AppendChild(op)
	if len(controls) > 0 {
		all := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
		for _, control := range controls {
			all.AppendChild(control)
		}
		p.AppendChild(all)
	}
	return p.Bytes()
}

func result(tag ber.Tag, r reply) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(r.code), ""))
	p.AppendChild(octets(""))
	p.AppendChild(octets(r.text))
	return p
}

func entryPacket(e *goldap.Entry) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, goldap.ApplicationSearchResultEntry, nil, "")
	p.AppendChild(octets(e.DN))
	list := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	for _, a := range e.Attributes {
		one := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		one.AppendChild(octets(a.Name))
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range a.Values {
			set.AppendChild(octets(v))
		}
		one.AppendChild(set)
		list.AppendChild(one)
	}
	p.AppendChild(list)
	return p
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// policyControl is the password policy response control with an error (draft-behera-ldap-password-policy section 6.2).
func policyControl(code byte) *ber.Packet {
	p := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	p.AppendChild(octets(goldap.ControlTypeBeheraPasswordPolicy))
	p.AppendChild(octets("\x30\x03\x81\x01" + string([]byte{code})))
	return p
}

// pageControl is the paged results response control with the cookie for the next page.
func pageControl(cookie string) *ber.Packet {
	c := goldap.NewControlPaging(0)
	c.SetCookie([]byte(cookie))
	return c.Encode()
}

// person is an entry with what every person has.
func person(uid string, more map[string][]string) *goldap.Entry {
	attributes := map[string][]string{
		"uid": {uid}, "cn": {strings.ToUpper(uid)}, "mail": {uid + "@example.test"},
		"entryUUID": {"6d2e4fd0-0000-4000-8000-" + (uid + "000000000000")[:12]},
	}
	for name, values := range more {
		attributes[name] = values
	}
	return goldap.NewEntry("uid="+uid+",ou=people,dc=example,dc=test", attributes)
}
