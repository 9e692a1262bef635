package tokens

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/tokens/jws"
)

func TestGenerateMakesKeysThatSign(t *testing.T) {
	for _, alg := range []Algorithm{ES256, RS256, EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			k, err := Generate(alg, KeyCurrent, moment())
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm != alg || k.State != KeyCurrent || !k.CreatedAt.Equal(moment()) || !k.CurrentAt.Equal(moment()) {
				t.Errorf("state %s, created %v, current %v", k.State, k.CreatedAt, k.CurrentAt)
			}
			ring, err := NewKeyring([]StoredKey{k})
			if err != nil {
				t.Fatal(err)
			}
			out, err := NewIssuer(testIssuer, ring, fixedClock(moment())).Issue(alg, fullSpec())
			if err != nil {
				t.Fatal(err)
			}
			if c, err := NewVerifier(testIssuer, ring, fixedClock(moment())).Verify(out.Token, testAudience); err != nil || c.KeyID != k.ID {
				t.Errorf("key %s, %v", c.KeyID, err)
			}
			if p, _ := ring.Lookup(k.ID); alg == RS256 && p.Public.(*rsa.PublicKey).N.BitLen() != rsaBits {
				t.Error("wrong size")
			}
		})
	}
}

func TestGenerateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		alg   Algorithm
		state KeyState
	}{
		"a secret":             {HS256, KeyNext},
		"an unknown algorithm": {"none", KeyNext},
		"a retired key":        {ES256, KeyRetired},
		"no state":             {ES256, ""},
	} {
		if _, err := Generate(c.alg, c.state, moment()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	next, err := Generate(EdDSA, KeyNext, moment())
	if err != nil || !next.CurrentAt.IsZero() {
		t.Errorf("a next key has been current: %v, %v", next.CurrentAt, err)
	}
}

func TestNewKeyringRefuses(t *testing.T) {
	good := fixedKey(t, "es256", ES256, KeyCurrent, 0)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weakDER, err := x509.MarshalPKCS8PrivateKey(weak)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*StoredKey)) []StoredKey {
		k := good
		f(&k)
		return []StoredKey{k}
	}
	for name, keys := range map[string][]StoredKey{
		"an id that is not the thumbprint": change(func(k *StoredKey) { k.ID = "k1" }),
		"another key's id":                 change(func(k *StoredKey) { k.ID = fixedKey(t, "eddsa", EdDSA, KeyNext, 0).ID }),
		"an unknown state":                 change(func(k *StoredKey) { k.State = "lost" }),
		"another algorithm":                change(func(k *StoredKey) { k.Algorithm = RS256 }),
		"an HMAC algorithm":                change(func(k *StoredKey) { k.Algorithm = HS256 }),
		"bytes that are no key":            change(func(k *StoredKey) { k.Private = []byte("secret bytes") }),
		"a weak RSA key":                   change(func(k *StoredKey) { k.Algorithm, k.Private = RS256, weakDER }),
		"a key that occurs twice":          {good, good},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewKeyring(keys)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "secret bytes") {
				t.Error("the error shows the key")
			}
		})
	}
}

func TestJWKSIsStableAndPublic(t *testing.T) {
	keys := fixedKeys(t)
	ring, err := NewKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(keys)
	reversed, err := NewKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ring.JWKS(), reversed.JWKS()) {
		t.Error("the order of the store changes the set")
	}
	ring.JWKS()[0] = 'x'
	var indented bytes.Buffer
	if err := json.Indent(&indented, ring.JWKS(), "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "jwks.golden.json", append(indented.Bytes(), '\n'))
	// Our own reader refuses private members.
	set, err := jws.ParseSet(ring.JWKS())
	if err != nil || set.Len() != len(keys) {
		t.Errorf("%d keys, %v", set.Len(), err)
	}
	empty, err := NewKeyring(nil)
	if err != nil || string(empty.JWKS()) != `{"keys":[]}` {
		t.Errorf("%s, %v", empty.JWKS(), err)
	}
}

func TestPEMAndLookup(t *testing.T) {
	ring := fixedRing(t)
	for _, stored := range fixedKeys(t) {
		k, ok := ring.Lookup(stored.ID)
		if !ok || k.Algorithm != stored.Algorithm || k.State != stored.State {
			t.Fatalf("found %+v", k)
		}
		data, err := ring.PEM(stored.ID)
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode(data)
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil || block.Type != "PUBLIC KEY" || len(rest) != 0 {
			t.Fatalf("%s: %v", block.Type, err)
		}
		if id, _ := thumbprint(public); id != stored.ID {
			t.Error("another key")
		}
	}
	if _, err := ring.PEM("unknown"); !errors.Is(err, identity.ErrNotFound) {
		t.Error(err)
	}
	if _, ok := ring.Lookup(""); ok {
		t.Error("found a key without kid")
	}
}

func TestTheKeyThatBecameCurrentLastSigns(t *testing.T) {
	a, b := fixedKey(t, "es256", ES256, KeyCurrent, time.Hour), fixedKey(t, "es256-next", ES256, KeyCurrent, 2*time.Hour)
	a.CurrentAt, b.CurrentAt = moment().Add(-time.Minute), moment()
	ring, err := NewKeyring([]StoredKey{a, b})
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := ring.Current(ES256, ""); !ok || k.ID != b.ID {
		t.Errorf("current is %s", k.ID)
	}
	if _, ok := ring.Current(RS256, ""); ok {
		t.Error("a key of an algorithm without keys")
	}
}

func TestSTO03_TokensVerifyThroughoutARotation(t *testing.T) {
	a, b := fixedKey(t, "es256", ES256, KeyCurrent, time.Hour), fixedKey(t, "es256-next", ES256, KeyNext, 0)
	states := [][2]KeyState{{KeyCurrent, KeyNext}, {KeyRetired, KeyCurrent}}
	var rings []*Keyring
	for _, s := range states {
		a.State, b.State = s[0], s[1]
		ring, err := NewKeyring([]StoredKey{a, b})
		if err != nil {
			t.Fatal(err)
		}
		rings = append(rings, ring)
	}
	// Any node verifies any node's tokens, whichever has seen the change already.
	for _, from := range rings {
		out, err := fixedIssuer(t, from).Issue(ES256, fullSpec())
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range rings {
			if _, err := NewVerifier(testIssuer, to, fixedClock(moment())).Verify(out.Token, testAudience); err != nil {
				t.Error(err)
			}
		}
	}
	gone, err := NewKeyring([]StoredKey{b})
	if err != nil {
		t.Fatal(err)
	}
	out, err := fixedIssuer(t, rings[0]).Issue(ES256, fullSpec())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewVerifier(testIssuer, gone, fixedClock(moment())).Verify(out.Token, testAudience); !errors.Is(err, identity.ErrBadCredentials) {
		t.Errorf("a deleted key: %v", err)
	}
}

// pinnedRing holds a shared key, one of the application "legacy" and the next of both.
func pinnedRing(t *testing.T) (ring *Keyring, shared, own StoredKey) {
	t.Helper()
	shared, own = fixedKey(t, "es256", ES256, KeyCurrent, time.Hour), fixedKey(t, "es256-next", ES256, KeyCurrent, 0)
	own.Application = "legacy"
	own.CurrentAt, shared.CurrentAt = moment(), moment().Add(-time.Minute)
	ring, err := NewKeyring([]StoredKey{shared, own})
	if err != nil {
		t.Fatal(err)
	}
	return ring, shared, own
}

func TestAPinnedKeySignsForItsApplicationAlone(t *testing.T) {
	ring, shared, own := pinnedRing(t)
	issuer := fixedIssuer(t, ring)
	kid := func(i *Issuer) string {
		out, err := i.Issue(ES256, fullSpec())
		if err != nil {
			t.Fatal(err)
		}
		m, err := jws.Parse(out.Token)
		if err != nil {
			t.Fatal(err)
		}
		return m.Header.KeyID
	}
	if got := kid(issuer); got != shared.ID {
		t.Errorf("tokens of the others are signed with %s", got)
	}
	if got := kid(issuer.Pinned("legacy")); got != own.ID {
		t.Errorf("its tokens are signed with %s", got)
	}
	if k, ok := ring.Current(ES256, "legacy"); !ok || k.ID != own.ID || k.Application != "legacy" {
		t.Errorf("its current key is %+v", k)
	}
	// No key of its own is a fault: a token signed with the shared key would be refused where only its own is known.
	if _, err := issuer.Pinned("other").Issue(ES256, fullSpec()); err == nil {
		t.Error("an application without a key of its own got a token")
	}
	if _, err := issuer.Pinned("other").Sign(ES256, "JWT", []byte(`{}`)); err == nil {
		t.Error("an application without a key of its own got a signature")
	}
}

func TestAPinnedKeyVerifiesNothingForAnother(t *testing.T) {
	ring, _, _ := pinnedRing(t)
	issuer, verifier := fixedIssuer(t, ring), NewVerifier(testIssuer, ring, fixedClock(moment()))
	token := func(i *Issuer) string {
		out, err := i.Issue(ES256, fullSpec())
		if err != nil {
			t.Fatal(err)
		}
		return out.Token
	}
	signed, err := issuer.Pinned("legacy").Sign(ES256, "JWT", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	own, shared := token(issuer.Pinned("legacy")), token(issuer)
	for name, c := range map[string]struct {
		by          *Verifier
		own, shared bool
	}{
		"the application itself takes both": {verifier.For("legacy"), true, true},
		"another application":               {verifier.For("other"), false, true},
		"nobody in particular":              {verifier, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.by.Verify(own, testAudience); (err == nil) != c.own || err != nil && !errors.Is(err, identity.ErrBadCredentials) {
				t.Errorf("a token of the pinned key: %v", err)
			}
			if _, err := c.by.VerifySigned(signed, "JWT"); (err == nil) != c.own || err != nil && !errors.Is(err, identity.ErrBadCredentials) {
				t.Errorf("a message of the pinned key: %v", err)
			}
			if _, err := c.by.Verify(shared, testAudience); (err == nil) != c.shared {
				t.Errorf("a token of the shared key: %v", err)
			}
		})
	}
	if set, err := jws.ParseSet(ring.JWKS()); err != nil || set.Len() != 2 {
		t.Errorf("%d keys are published, %v", set.Len(), err)
	}
}
