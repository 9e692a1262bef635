package saml

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"reflect"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// fixed is a provider's key that is the same in every process, so that what one of them signed is a good start for the
// others.
func fixed(f *testing.F) signer {
	f.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	return newSigner(f, key)
}

// FuzzAccept feeds the reader: it must neither panic past its caller nor take what nobody signed.
func FuzzAccept(f *testing.F) {
	by, to := fixed(f), mine(f)
	p := openProvider(f, func(c *Config) { decrypting(f, to)(c); c.AllowCBC = true }, by)
	inner := signing{by: by, assertion: true, method: dsig.ECDSASHA256SignatureMethod}
	outer := signing{by: by, response: true}
	good := inner.sign(f, message())
	want, err := finish(f, p, good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(outer.sign(f, message()))
	f.Add([]byte(message()))
	f.Add([]byte(`<a xmlns="urn:a"><b/></a>`))
	f.Add([]byte(base64.StdEncoding.EncodeToString(good)))
	for _, encrypted := range [][]byte{
		compose(f, &inner, sealing{to: to}, nil),
		compose(f, nil, sealing{to: to, beside: true, transport: algOAEP, digest: nsEncryption + "sha256"}, &outer),
		compose(f, nil, sealing{to: to, content: nsEncryption + "aes128-cbc"}, &outer),
	} {
		if _, err := finish(f, p, encrypted); err != nil {
			f.Fatal(err)
		}
		f.Add(encrypted)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := finish(t, p, raw)
		if err == nil && !reflect.DeepEqual(got.Identity, want.Identity) {
			t.Fatalf("somebody else signs in: %+v", got.Identity)
		}
	})
}

// FuzzDecrypted feeds what comes out of a decryption: everybody can encrypt for us.
func FuzzDecrypted(f *testing.F) {
	by, to := fixed(f), mine(f)
	p := openProvider(f, decrypting(f, to), by)
	good := signing{by: by, assertion: true}.sign(f, message())
	want, err := finish(f, p, good)
	if err != nil {
		f.Fatal(err)
	}
	lone := etree.NewDocument()
	lone.SetRoot(detach(document(f, good).FindElement("//saml:Assertion")))
	f.Add(serialize(f, lone))
	f.Add(good)
	f.Add([]byte(`<Assertion xmlns="` + nsAssertion + `"/>`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		doc := document(t, []byte(message()))
		assertion := doc.FindElement("//saml:Assertion")
		assertion.Parent().AddChild(document(t, sealing{to: to}.box(t, plain)).Root())
		assertion.Parent().RemoveChild(assertion)
		got, err := finish(t, p, serialize(t, doc))
		if err == nil && !reflect.DeepEqual(got.Identity, want.Identity) {
			t.Fatalf("somebody else signs in: %+v", got.Identity)
		}
	})
}

// FuzzMetadata feeds the reader of other people's metadata.
func FuzzMetadata(f *testing.F) {
	good := describe(fixed(f).descriptor("signing"))
	f.Add([]byte(good))
	f.Add([]byte(list("", good)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := parseMetadata(raw, testIssuer, testNow())
		if (found == nil) != (err != nil) {
			t.Fatalf("found %v, err %v", found, err)
		}
		if found != nil && (found.entityID != testIssuer || found.ssoURL == "" || len(found.keys.certificates) == 0) {
			t.Fatalf("found %+v", found)
		}
		if entity := entityOf(raw); found != nil && entity != testIssuer && entity != "" { // "" is a list
			t.Fatalf("of %q", entity)
		}
	})
}
