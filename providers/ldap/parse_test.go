package ldap

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

func TestGUIDs(t *testing.T) {
	const text = "00112233-4455-6677-8899-aabbccddeeff"
	stored, err := guidBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	if !bytes.Equal(stored, want) {
		t.Errorf("%x", stored)
	}
	if back, err := guidText(stored); err != nil || back != text {
		t.Errorf("%s, %v", back, err)
	}
	for _, bad := range []string{"", "00112233", "00112233-4455-6677-8899-aabbccddeefg", "0011223344556677-8899-aabbccddeeff----"} {
		if _, err := guidBytes(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzGUID(f *testing.F) {
	f.Add("00112233-4455-6677-8899-aabbccddeeff")
	f.Add("--------------------------------")
	f.Fuzz(func(t *testing.T, text string) {
		stored, err := guidBytes(text)
		if err != nil {
			return
		}
		back, err := guidText(stored)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := guidBytes(back); err != nil || !bytes.Equal(again, stored) {
			t.Errorf("%q became %q", text, back)
		}
	})
}

func TestRanges(t *testing.T) {
	tests := []struct {
		in, name string
		next     int
		ok       bool
	}{
		{"memberOf;range=0-1499", "memberOf", 1500, true},
		{"memberOf;Range=1500-*", "memberOf", 0, true},
		{"memberOf", "", 0, false},
		{"cn;lang-de", "", 0, false},
		{"cn;range=", "", 0, false},
		{"cn;range=5-4", "", 0, false},
		{"cn;range=-1-5", "", 0, false},
		{"cn;range=0-99999999999", "", 0, false},
	}
	for _, tt := range tests {
		if name, next, ok := parseRange(tt.in); name != tt.name || next != tt.next || ok != tt.ok {
			t.Errorf("%s: %s %d %t", tt.in, name, next, ok)
		}
	}
}

func TestSwitchedOff(t *testing.T) {
	tests := []struct {
		name, attribute, value string
		off                    bool
	}{
		{"a normal account", "userAccountControl", "512", false},
		{"a disabled account", "userAccountControl", "514", true},
		{"an account that never expires", "accountExpires", "9223372036854775807", false},
		{"an account without expiry", "accountExpires", "0", false},
		{"an account that expired in 2020", "accountExpires", "132223104000000000", true},
		{"an account that expires in 2030", "accountExpires", "135379296000000000", false},
		{"an account locked in FreeIPA", "nsAccountLock", "TRUE", true},
		{"an account disabled in eDirectory", "loginDisabled", "TRUE", true},
		{"an account locked by an administrator", "pwdAccountLockedTime", "000001010000Z", true},
		{"an account locked by somebody's guesses", "pwdAccountLockedTime", "20260301115900Z", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := switchedOff(goldap.NewEntry("cn=x", map[string][]string{tt.attribute: {tt.value}}), testNow())
			if (got != "") != tt.off {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestNormalDN(t *testing.T) {
	same := []string{`CN=Staff,OU=Groups,DC=x`, `cn=staff,ou=groups,dc=x`, `cn=staff, ou=groups, dc=x`, `cn=\53taff,ou=groups,dc=x`}
	for _, dn := range same {
		if got := normalDN(dn); got != "cn=staff,ou=groups,dc=x" {
			t.Errorf("%s became %s", dn, got)
		}
	}
	if normalDN(`cn=a\,ou=b,dc=x`) == normalDN("cn=a,ou=b,dc=x") {
		t.Error("an escaped comma is a comma")
	}
}

// FuzzFramed: whatever a server sends, the library sees whole messages or an error, and nothing is read past a bound.
func FuzzFramed(f *testing.F) {
	f.Add(message(int64(1), result(goldap.ApplicationBindResponse, reply{}), nil))
	f.Add([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff})
	f.Add(nest(40))
	f.Fuzz(func(t *testing.T, sent []byte) {
		got, _ := io.ReadAll(newFramed(&sender{from: bytes.NewReader(sent)}))
		if !bytes.HasPrefix(sent, got) {
			t.Fatalf("%x became %x", sent, got)
		}
		for rest := got; len(rest) > 0; {
			h, err := readHeader(bytes.NewReader(rest))
			if err != nil || h.tag != tagSequence || h.length > len(rest)-h.size {
				t.Fatalf("%x is handed on", got)
			}
			rest = rest[h.size+h.length:]
		}
	})
}

// FuzzStartTLSResult: no answer but the right one is taken for yes.
func FuzzStartTLSResult(f *testing.F) {
	yes := message(int64(1), result(goldap.ApplicationExtendedResponse, reply{}), nil)
	f.Add(yes[2:])
	f.Fuzz(func(t *testing.T, content []byte) {
		code, err := extendedResult(content)
		if err == nil && code == 0 && !bytes.HasPrefix(content, []byte{2, 1, 1, 0x78}) {
			t.Errorf("%x is taken for yes", content)
		}
	})
}

// sender is a connection that only sends.
type sender struct {
	net.Conn
	from io.Reader
}

func (s *sender) Read(p []byte) (int, error)  { return s.from.Read(p) }
func (s *sender) SetDeadline(time.Time) error { return nil }
func (s *sender) Close() error                { return nil }
