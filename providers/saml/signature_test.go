package saml

import (
	"bytes"
	"crypto/x509"
	"errors"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"

	"sallyport/identity"
	"sallyport/providers"
)

func document(t testing.TB, raw []byte) *etree.Document {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		t.Fatal(err)
	}
	return doc
}

func serialize(t testing.TB, doc *etree.Document) []byte {
	t.Helper()
	raw, err := doc.WriteToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func set(path, attribute, value string) func(*etree.Element) {
	return func(info *etree.Element) { info.FindElement(path).CreateAttr(attribute, value) }
}

// TestSML02_OnlyAllowedAlgorithmsAndShapes has signatures the right key made, over something a verifier should not take.
func TestSML02_OnlyAllowedAlgorithmsAndShapes(t *testing.T) {
	for name, row := range map[string]struct {
		how   signing
		words string
	}{
		"SHA-1":                     {signing{method: dsig.RSASHA1SignatureMethod}, "signature algorithm"},
		"SHA-1 for the digest only": {signing{edit: set(".//DigestMethod", "Algorithm", algSHA1)}, "digest algorithm"},
		"HMAC, keyed by the certificate": {signing{edit: set("./SignatureMethod", "Algorithm",
			"http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")}, "signature algorithm"},
		"MD5": {signing{edit: set("./SignatureMethod", "Algorithm",
			"http://www.w3.org/2001/04/xmldsig-more#rsa-md5")}, "signature algorithm"},
		"ECDSA named, RSA used": {signing{edit: set("./SignatureMethod", "Algorithm",
			dsig.ECDSASHA256SignatureMethod)}, "no configured certificate"},
		"inclusive canonicalization": {signing{edit: set("./CanonicalizationMethod", "Algorithm",
			"http://www.w3.org/TR/2001/REC-xml-c14n-20010315")}, "canonicalization"},
		"XSLT": {signing{edit: func(info *etree.Element) {
			info.FindElements(".//Transform")[1].CreateAttr("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")
		}}, "transforms"},
		"only one transform": {signing{edit: func(info *etree.Element) {
			transforms := info.FindElement(".//Transforms")
			transforms.RemoveChild(transforms.ChildElements()[0])
		}}, "shape"},
		"an XPath inside a transform": {signing{edit: func(info *etree.Element) {
			info.FindElements(".//Transform")[0].CreateElement("XPath")
		}}, "transforms"},
		"two references": {signing{edit: func(info *etree.Element) {
			info.AddChild(info.FindElement("./Reference").Copy())
		}}, "shape"},
		"a reference to the whole document": {signing{edit: set("./Reference", "URI", "")}, "another element"},
		"a reference to another element":    {signing{edit: set("./Reference", "URI", "#_response")}, "another element"},
		"an XPath inside the canonicalization": {signing{edit: func(info *etree.Element) {
			info.FindElement("./CanonicalizationMethod").CreateElement("XPath")
		}}, "canonicalization"},
		"prefixes with something inside": {signing{prefixes: "xs", edit: func(info *etree.Element) {
			info.FindElement(".//InclusiveNamespaces").CreateElement("x")
		}}, "transforms"},
		"two lists of prefixes": {signing{prefixes: "xs", edit: func(info *etree.Element) {
			list := info.FindElement(".//InclusiveNamespaces")
			list.Parent().AddChild(list.Copy())
		}}, "transforms"},
		"a parameter of the digest": {signing{edit: func(info *etree.Element) {
			info.FindElement(".//DigestMethod").CreateElement("x")
		}}, "digest algorithm"},
		"a digest with something inside": {signing{edit: func(info *etree.Element) {
			info.FindElement(".//DigestValue").CreateElement("x")
		}}, "digest algorithm"},
		"an HMAC output length": {signing{edit: func(info *etree.Element) {
			info.FindElement("./SignatureMethod").CreateElement("HMACOutputLength").SetText("0")
		}}, "signature algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			row.how.by, row.how.assertion = ours(t), true
			_, err := finish(t, openProvider(t, nil, row.how.by), row.how.sign(t, message()))
			wantInvalid(t, err, row.words)
		})
	}
}

func TestSML02_SHA1PassesByTheWarnedSwitchOnly(t *testing.T) {
	s := signing{by: ours(t), assertion: true, method: dsig.RSASHA1SignatureMethod}
	p := openProvider(t, func(c *Config) { c.AllowSHA1 = true }, s.by)
	if _, err := finish(t, p, s.sign(t, message())); err != nil {
		t.Fatal(err)
	}
	if got := (&Config{AllowSHA1: true}).Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "allow_sha1: ") {
		t.Errorf("warnings %q", got)
	}
}

func TestSML02_KeysComeFromConfigurationOnly(t *testing.T) {
	right, wrong := ours(t), foreign(t)
	t.Run("a foreign key with its certificate in KeyInfo is refused", func(t *testing.T) {
		raw := signing{by: wrong, assertion: true}.sign(t, message())
		if !bytes.Contains(raw, []byte("X509Certificate")) {
			t.Fatal("the message has no KeyInfo")
		}
		_, err := finish(t, openProvider(t, nil, right), raw)
		wantInvalid(t, err, "no configured certificate")
	})
	t.Run("a foreign key with our certificate in KeyInfo is refused", func(t *testing.T) {
		raw := signing{by: signer{key: wrong.key, certificate: right.certificate}, assertion: true}.sign(t, message())
		_, err := finish(t, openProvider(t, nil, right), raw)
		wantInvalid(t, err, "no configured certificate")
	})
	t.Run("the right key with a foreign certificate in KeyInfo passes", func(t *testing.T) {
		raw := signing{by: signer{key: right.key, certificate: wrong.certificate}, assertion: true}.sign(t, message())
		if _, err := finish(t, openProvider(t, nil, right), raw); err != nil {
			t.Error(err)
		}
	})
	t.Run("SML-10 one of two certificates is enough, without KeyInfo too", func(t *testing.T) {
		doc := document(t, signing{by: right, assertion: true}.sign(t, message()))
		info := doc.FindElement("//KeyInfo")
		info.Parent().RemoveChild(info)
		if _, err := finish(t, openProvider(t, nil, wrong, right), serialize(t, doc)); err != nil {
			t.Error(err)
		}
	})
	t.Run("an assertion by a foreign key in a response by the right one is refused", func(t *testing.T) {
		inner := signing{by: wrong, assertion: true}.sign(t, message())
		raw := signing{by: right, response: true}.sign(t, string(inner))
		_, err := finish(t, openProvider(t, nil, right), raw)
		wantInvalid(t, err, "no configured certificate")
	})
	t.Run("an expired certificate verifies nothing", func(t *testing.T) {
		now := testNow().AddDate(2, 0, 0)
		_, err := expectation{keys: keys{certificates: []*x509.Certificate{right.certificate}, now: now}}.
			verify(document(t, signing{by: right, assertion: true}.sign(t, message())).FindElement("//saml:Assertion"))
		if err == nil || !strings.Contains(err.Error(), "1 of 1 are outside their dates") {
			t.Errorf("got %v", err)
		}
	})
}

// TestSML09_WhatNobodySignedIsNotCopied: only a message with a signature that verifies is worth a copy of its tree.
func TestSML09_WhatNobodySignedIsNotCopied(t *testing.T) {
	const elements = 40_000
	by := ours(t)
	var many []*x509.Certificate
	for range maxCertificates {
		many = append(many, by.certificate)
	}
	k := keys{certificates: many, now: testNow()}
	for name, row := range map[string]struct {
		by     signer
		edit   func(string) string
		words  string
		copies float64 // of the tree, at most
	}{
		"by a key that nobody knows": {foreign(t), func(s string) string { return s }, "no configured certificate", 0},
		"SignedInfo changed": {by, func(s string) string {
			return swap(t, s, "<ds:DigestValue>", "<ds:DigestValue>A")
		}, "no configured certificate", 0},
		"the value changed": {by, func(s string) string {
			return swap(t, s, "<ds:SignatureValue>", "<ds:SignatureValue>AAAA")
		}, "no configured certificate", 0},
		"the value is no base64": {by, func(s string) string {
			return swap(t, s, "<ds:SignatureValue>", "<ds:SignatureValue>*")
		}, "not base64", 0},
		"signed, but something else": {by, func(s string) string {
			return swap(t, s, ">engineers<", ">others<")
		}, "not what was signed", 15},
	} {
		t.Run(name, func(t *testing.T) {
			groups := attribute("groups", "", "engineers", strings.Repeat("<x/>", elements))
			plain := swap(t, message(), attribute("groups", "", "engineers", "cn=ops,dc=example"), groups)
			signed := signing{by: row.by, response: true}.sign(t, plain)
			root, _, err := parse([]byte(row.edit(string(signed))))
			if err != nil {
				t.Fatal(err)
			}
			allocations := testing.AllocsPerRun(1, func() { _, err = k.verify(root) })
			if err == nil || !strings.Contains(err.Error(), row.words) {
				t.Errorf("got %v, want %q", err, row.words)
			}
			if allocations > 5_000+row.copies*elements {
				t.Errorf("%.0f allocations for %d elements", allocations, elements)
			}
		})
	}
}

func TestSML02_OneOfManyCertificatesIsFound(t *testing.T) {
	rsa, curve, other := ours(t), elliptical(t), elliptical(t)
	p := openProvider(t, nil, foreign(t), other, curve, rsa)
	for name, how := range map[string]signing{
		"RSA":                    {by: rsa, assertion: true},
		"RSA with SHA-384":       {by: rsa, assertion: true, method: dsig.RSASHA384SignatureMethod},
		"ECDSA":                  {by: curve, assertion: true, method: dsig.ECDSASHA256SignatureMethod},
		"ECDSA with SHA-512":     {by: curve, response: true, method: dsig.ECDSASHA512SignatureMethod},
		"RSA, prefixes included": {by: rsa, assertion: true, prefixes: "samlp"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := finish(t, p, how.sign(t, message())); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSML01_UnsignedIsRefused(t *testing.T) {
	_, err := finish(t, openProvider(t, nil, ours(t)), []byte(message()))
	wantInvalid(t, err, "neither the Response nor the Assertion is signed")
}

// TestSML01_WrappedAssertionsAreRefused moves what was signed to the eight classical places and lets somebody else stand
// where it was.
func TestSML01_WrappedAssertionsAreRefused(t *testing.T) {
	by := ours(t)
	p := openProvider(t, nil, by)
	evilOf := func(el *etree.Element, id string) *etree.Element {
		evil := el.Copy()
		for _, sig := range evil.FindElements("./Signature") {
			evil.RemoveChild(sig)
		}
		evil.CreateAttr("ID", id)
		evil.FindElement(".//saml:NameID").SetText("admin")
		return evil
	}
	for name, wrap := range map[string]func(doc *etree.Document){
		"1 response inside the signature of an evil response": func(doc *etree.Document) {
			original := doc.Root()
			evil := evilOf(original, "_evil")
			sig := original.FindElement("./Signature").Copy()
			sig.AddChild(original.Copy())
			evil.InsertChildAt(1, sig)
			doc.SetRoot(evil)
		},
		"2 response beside the signature of an evil response": func(doc *etree.Document) {
			original := doc.Root()
			evil := evilOf(original, "_evil")
			evil.InsertChildAt(1, original.FindElement("./Signature").Copy())
			evil.InsertChildAt(2, original.Copy())
			doc.SetRoot(evil)
		},
		"3 evil assertion before the original": func(doc *etree.Document) {
			original := doc.FindElement("//saml:Assertion")
			original.Parent().InsertChildAt(original.Index(), evilOf(original, "_evil"))
		},
		"4 original inside the evil assertion": func(doc *etree.Document) {
			original := doc.FindElement("//saml:Assertion")
			evil, root := evilOf(original, "_evil"), original.Parent()
			evil.AddChild(original.Copy())
			root.RemoveChild(original)
			root.AddChild(evil)
		},
		"5 evil assertion has the signature, original at the end": func(doc *etree.Document) {
			original := doc.FindElement("//saml:Assertion")
			evil := evilOf(original, "_evil")
			sig := original.FindElement("./Signature")
			original.RemoveChild(sig)
			evil.InsertChildAt(1, sig)
			original.Parent().InsertChildAt(original.Index(), evil)
		},
		"6 original inside the signature of the evil assertion": func(doc *etree.Document) {
			original := doc.FindElement("//saml:Assertion")
			evil, root := evilOf(original, "_evil"), original.Parent()
			sig := original.FindElement("./Signature").Copy()
			original.RemoveChild(original.FindElement("./Signature"))
			sig.AddChild(original.Copy())
			evil.InsertChildAt(1, sig)
			root.RemoveChild(original)
			root.AddChild(evil)
		},
		"7 evil assertion in Extensions": func(doc *etree.Document) {
			original := doc.FindElement("//saml:Assertion")
			extensions := etree.NewElement("samlp:Extensions")
			extensions.AddChild(evilOf(original, "_assertion"))
			original.Parent().InsertChildAt(1, extensions)
		},
		"8 original in an Object of the signature": func(doc *etree.Document) {
			original := doc.FindElement("//saml:Assertion")
			evil, root := evilOf(original, "_assertion"), original.Parent()
			sig := original.FindElement("./Signature").Copy()
			original.RemoveChild(original.FindElement("./Signature"))
			sig.CreateElement("ds:Object").AddChild(original.Copy())
			evil.InsertChildAt(1, sig)
			root.RemoveChild(original)
			root.AddChild(evil)
		},
		"the original hidden under another name": func(doc *etree.Document) {
			original := doc.FindElement("//saml:Assertion")
			evil := evilOf(original, "_evil")
			evil.InsertChildAt(1, original.FindElement("./Signature").Copy())
			original.RemoveChild(original.FindElement("./Signature"))
			original.Tag = "Advice"
			original.Parent().AddChild(evil)
		},
		"the signature stands in the Status": func(doc *etree.Document) {
			sig := doc.FindElement("//saml:Assertion/Signature")
			doc.FindElement("//samlp:Status").AddChild(sig)
		},
	} {
		t.Run(name, func(t *testing.T) {
			how := signing{by: by, assertion: true}
			if strings.HasPrefix(name, "1") || strings.HasPrefix(name, "2") {
				how = signing{by: by, response: true}
			}
			doc := document(t, how.sign(t, message()))
			before := serialize(t, doc)
			if _, err := finish(t, p, before); err != nil {
				t.Fatal("the original must sign in:", err)
			}
			wrap(doc)
			after := serialize(t, doc)
			if bytes.Equal(before, after) {
				t.Fatal("nothing was wrapped")
			}
			_, err := finish(t, p, after)
			wantInvalid(t, err, "")
		})
	}
}

// TestSML01_TextThatReadersDisagreeAbout inserts into a signed message what canonicalization drops or parsers expand.
func TestSML01_TextThatReadersDisagreeAbout(t *testing.T) {
	by := ours(t)
	p := openProvider(t, nil, by)
	raw := string(signing{by: by, assertion: true}.sign(t, message()))
	for name, row := range map[string]struct{ old, with, words string }{
		"a comment in the NameID":            {`p-4711<`, `p-<!-- -->4711<`, "comment"},
		"CDATA in the NameID":                {`p-4711<`, `<![CDATA[p-4711]]><`, "CDATA"},
		"SML-09 a processing instruction":    {`p-4711<`, `p-<?x?>4711<`, "processing instruction"},
		"SML-09 a document type":             {`<samlp:Response `, `<!DOCTYPE x><samlp:Response `, "document type"},
		"SML-09 an entity":                   {`p-4711<`, `&x;<`, "not well-formed"},
		"SML-09 a second xml declaration":    {`<samlp:Status>`, `<?xml version="1.0"?><samlp:Status>`, "processing instruction"},
		"a duplicate attribute":              {` ID="_assertion"`, ` ID="_assertion" ID="_x"`, "appears twice"},
		"a duplicate by another prefix":      {` ID="_assertion"`, ` xmlns:a="urn:a" xmlns:b="urn:a" a:x="" b:x="" ID="_assertion"`, "appears twice"},
		"a prefix that is not declared":      {` ID="_assertion"`, ` zz:x="" ID="_assertion"`, "not declared"},
		"an element with two colons":         {`<samlp:Status>`, `<a:b:c/><samlp:Status>`, "not well-formed"},
		"a reserved prefix":                  {` ID="_assertion"`, ` xmlns:xml="urn:x" ID="_assertion"`, "reserved namespace"},
		"text after the end":                 {`</samlp:Response>`, `</samlp:Response>x`, "outside"},
		"a second root":                      {`</samlp:Response>`, `</samlp:Response><x/>`, "more than one root"},
		"an end of another element":          {`</samlp:Response>`, `</samlp:Respons>`, "did not begin"},
		"no end":                             {`</samlp:Response>`, ``, "not one whole element"},
		"a name that is not ASCII":           {`<samlp:Status>`, `<é/><samlp:Status>`, "plain name"},
		"an identifier in another spelling":  {`<samlp:Status>`, `<samlp:Status xml:id="_assertion">`, "appears twice"},
		"SML-09 three signatures":            {`<samlp:Status>`, `<Signature/><Signature/><samlp:Status>`, "more than 2 signatures"},
		"a value changed":                    {`p-4711<`, `p-4712<`, "not what was signed"},
		"an encrypted name beside the other": {`<samlp:Status>`, `<saml:EncryptedID/><samlp:Status>`, "EncryptedID"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := finish(t, p, []byte(swap(t, raw, row.old, row.with)))
			wantInvalid(t, err, row.words)
		})
	}
}

// TestSML01_ChangedBytesChangeNothingOrAreRefused changes real responses at one place after the other. Each place has one
// of the changes; with SALLYPORT_TEST_SWEEP set, every place has all of them, which takes a minute.
func TestSML01_ChangedBytesChangeNothingOrAreRefused(t *testing.T) {
	by, to := ours(t), mine(t)
	p := openProvider(t, decrypting(t, to), by)
	inner := signing{by: by, assertion: true}
	sweep := os.Getenv("SALLYPORT_TEST_SWEEP") != ""
	for name, row := range map[string]struct {
		raw    []byte
		stride int
	}{
		"a signed assertion":             {inner.sign(t, message()), 2},
		"a signed response":              {signing{by: by, response: true}.sign(t, message()), 2},
		"an encrypted, signed assertion": {compose(t, &inner, sealing{to: to}, nil), 8},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := finish(t, p, row.raw)
			if err != nil {
				t.Fatal(err)
			}
			stride := row.stride
			if sweep {
				stride = 1
			}
			random := mathrand.New(mathrand.NewPCG(1, 2)) // the same changes in every run
			refusals := 0
			for at := 0; at < len(row.raw); at += stride {
				all := changes(row.raw, at, random)
				if !sweep {
					all = all[at/stride%len(all):][:1]
				}
				for i, changed := range all {
					got, err := finish(t, p, changed)
					if err != nil {
						wantInvalidOrRefused(t, err)
						refusals++
						continue
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("change %d at %d signs somebody else in:\n%s", i, at, diff)
					}
				}
			}
			if refusals < len(row.raw)/stride/2 {
				t.Errorf("only %d changes were refused", refusals)
			}
		})
	}
}

// changes flips, drops, inserts and replaces the byte at one place.
func changes(raw []byte, at int, random *mathrand.Rand) [][]byte {
	const interesting = "<>/\"'&;:=#! -x0\n"
	b := interesting[random.IntN(len(interesting))]
	flipped, replaced := bytes.Clone(raw), bytes.Clone(raw)
	flipped[at] ^= 1 << random.IntN(8)
	replaced[at] = b
	return [][]byte{
		flipped, slices.Delete(bytes.Clone(raw), at, at+1), slices.Insert(bytes.Clone(raw), at, b), replaced,
	}
}

// wantInvalidOrRefused: a flipped status is upstream's no, everything else does not verify.
func wantInvalidOrRefused(t testing.TB, err error) {
	t.Helper()
	if code := identity.CodeOf(err); code != providers.CodeReplyInvalid && code != providers.CodeRefused ||
		!errors.Is(err, identity.ErrBadCredentials) && !errors.Is(err, identity.ErrDenied) {
		t.Fatalf("got %v", err)
	}
}
