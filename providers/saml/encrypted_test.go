package saml

import (
	"bytes"
	"encoding/base64"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"sallyport/providers"
)

func TestSML08_AnEncryptedAssertionSignsIn(t *testing.T) {
	by, to := ours(t), mine(t)
	assertion, response := signing{by: by, assertion: true}, signing{by: by, response: true}
	const sha256, gcm128 = nsEncryption + "sha256", nsEncryption11 + "aes128-gcm"
	for name, row := range map[string]struct {
		inner, outer *signing
		how          sealing
		cbc          bool
	}{
		"the assertion is signed":             {inner: &assertion},
		"the response is signed":              {outer: &response},
		"both are signed":                     {inner: &assertion, outer: &response},
		"AES-128":                             {inner: &assertion, how: sealing{content: gcm128}},
		"AES-192":                             {inner: &assertion, how: sealing{content: nsEncryption11 + "aes192-gcm"}},
		"the key stands beside the data":      {inner: &assertion, how: sealing{beside: true}},
		"OAEP with SHA-256, masked by SHA-1":  {inner: &assertion, how: sealing{digest: sha256}},
		"OAEP with SHA-1, spelled out":        {inner: &assertion, how: sealing{digest: algSHA1}},
		"OAEP of 2009 with its defaults":      {inner: &assertion, how: sealing{transport: algOAEP}},
		"OAEP of 2009 with SHA-256 for both":  {inner: &assertion, how: sealing{transport: algOAEP, digest: sha256, mask: nsEncryption11 + "mgf1sha256"}},
		"OAEP of 2009 with SHA-512 for both":  {inner: &assertion, how: sealing{transport: algOAEP, digest: nsEncryption + "sha512", mask: nsEncryption11 + "mgf1sha512"}},
		"CBC by the switch":                   {outer: &response, how: sealing{content: nsEncryption + "aes256-cbc"}, cbc: true},
		"CBC by the switch, both are signed":  {inner: &assertion, outer: &response, how: sealing{content: nsEncryption + "aes128-cbc"}, cbc: true},
		"GCM where CBC would be taken":        {inner: &assertion, cbc: true},
		"a RetrievalMethod, for what it does": {inner: &assertion, how: sealing{beside: true, edit: retrieval}},
	} {
		t.Run(name, func(t *testing.T) {
			p := openProvider(t, func(c *Config) {
				decrypting(t, mineNext(t), to)(c)
				c.AllowCBC = row.cbc
			}, by)
			want, err := finish(t, p, signing{by: by, assertion: true}.sign(t, message()))
			if err != nil {
				t.Fatal(err)
			}
			row.how.to = to
			got, err := finish(t, p, compose(t, row.inner, row.how, row.outer))
			if err != nil {
				t.Fatal(err)
			}
			if got.Identity.Subject != want.Identity.Subject || !slices.Equal(got.Identity.Groups, want.Identity.Groups) ||
				!bytes.Equal(got.Upstream, want.Upstream) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// compose signs the assertion, encrypts it and signs the response, as far as each is set.
func compose(t testing.TB, inner *signing, how sealing, outer *signing) []byte {
	t.Helper()
	raw := []byte(message())
	if inner != nil {
		raw = inner.sign(t, string(raw))
	}
	raw = how.seal(t, raw)
	if outer != nil {
		raw = outer.sign(t, string(raw))
	}
	return raw
}

// retrieval says where the key stands, as Shibboleth does.
func retrieval(box *etree.Element) {
	box.FindElement("./EncryptedKey").CreateAttr("Id", "_key")
	info := etree.NewElement("ds:KeyInfo")
	info.CreateAttr("xmlns:ds", nsDsig)
	info.CreateElement("ds:RetrievalMethod").CreateAttr("URI", "#_key")
	box.FindElement("./EncryptedData").InsertChildAt(1, info)
}

// TestSML08_PrefixesMayBeDeclaredAroundTheEncryptedOne: Keycloak takes the assertion out of the Response as it stands.
func TestSML08_PrefixesMayBeDeclaredAroundTheEncryptedOne(t *testing.T) {
	by, to := ours(t), mine(t)
	p := openProvider(t, decrypting(t, to), by)
	seal := func(t *testing.T, inner *signing) *etree.Document {
		t.Helper()
		raw := []byte(message())
		if inner != nil {
			raw = inner.sign(t, string(raw))
		}
		doc := document(t, raw)
		assertion := doc.FindElement("//saml:Assertion")
		lone := etree.NewDocument()
		lone.SetRoot(assertion.Copy()) // and nothing of what its ancestors declare
		box := document(t, sealing{to: to}.box(t, serialize(t, lone))).Root()
		box.RemoveAttr("xmlns:saml")
		assertion.Parent().AddChild(box)
		assertion.Parent().RemoveChild(assertion)
		return doc
	}
	inner, outer := &signing{by: by, assertion: true}, signing{by: by, response: true}
	t.Run("the assertion is signed", func(t *testing.T) {
		if _, err := finish(t, p, serialize(t, seal(t, inner))); err != nil {
			t.Error(err)
		}
	})
	t.Run("the response is signed", func(t *testing.T) {
		if _, err := finish(t, p, outer.sign(t, string(serialize(t, seal(t, nil))))); err != nil {
			t.Error(err)
		}
	})
	t.Run("what is around it cannot make it mean something else", func(t *testing.T) {
		doc := seal(t, inner)
		raw := strings.ReplaceAll(string(serialize(t, doc)), `saml:EncryptedAssertion`, `a:EncryptedAssertion`)
		raw = swap(t, raw, `<a:EncryptedAssertion`, `<a:EncryptedAssertion xmlns:a="`+nsAssertion+`" xmlns:saml="urn:x"`)
		_, err := finish(t, p, []byte(raw))
		wantInvalid(t, err, errDecrypt.Error())
	})
}

func damaged(change func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte { return change(bytes.Clone(b)) }
}

// TestSML08_EveryFailureToDecryptLooksTheSame: whatever our keys had to do with it has one text, one code, one sentinel.
func TestSML08_EveryFailureToDecryptLooksTheSame(t *testing.T) {
	by, to := ours(t), mine(t)
	p := openProvider(t, func(c *Config) { decrypting(t, to)(c); c.AllowCBC = true }, by)
	inner := signing{by: by, assertion: true}
	outer := signing{by: by, response: true}
	flip := func(at int) func([]byte) []byte {
		return damaged(func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b })
	}
	const cbc = nsEncryption + "aes256-cbc"
	for name, how := range map[string]sealing{
		"for another key":                      {to: foreign(t)},
		"for another key, CBC":                 {to: foreign(t), content: cbc},
		"the nonce is flipped":                 {damage: flip(0)},
		"the first byte is flipped":            {damage: flip(12)},
		"the tag is flipped":                   {damage: flip(-1)},
		"the tag is gone":                      {damage: damaged(func(b []byte) []byte { return b[:len(b)-16] })},
		"one byte is gone":                     {damage: damaged(func(b []byte) []byte { return b[:len(b)-1] })},
		"one byte too many":                    {damage: damaged(func(b []byte) []byte { return append(b, 0) })},
		"only a nonce":                         {damage: damaged(func(b []byte) []byte { return b[:12] })},
		"nothing":                              {damage: func([]byte) []byte { return nil }},
		"CBC, no whole block":                  {content: cbc, damage: damaged(func(b []byte) []byte { return b[:len(b)-1] })},
		"CBC, one block":                       {content: cbc, damage: damaged(func(b []byte) []byte { return b[:16] })},
		"CBC, nothing":                         {content: cbc, damage: func([]byte) []byte { return nil }},
		"CBC, the last block is flipped":       {content: cbc, damage: flip(-1)},
		"CBC, the padding is flipped":          {content: cbc, damage: flip(-17)},
		"CBC, the first block is flipped":      {content: cbc, damage: flip(0)},
		"a mask that is not the one it says":   {transport: algOAEP, mask: nsEncryption11 + "mgf1sha256", edit: remove("//MGF")},
		"a digest that is not the one it says": {digest: nsEncryption + "sha256", edit: remove("//DigestMethod")},
		"PKCS #1 v1.5 under the name of OAEP":  {pkcs1: true},
		"a content key of another length":      {content: nsEncryption11 + "aes128-gcm", edit: set(".//EncryptedData/EncryptionMethod", "Algorithm", nsEncryption11+"aes256-gcm")},
		"no content key":                       {edit: empty(".//EncryptedKey//CipherValue")},
		"a content key that is too long":       {edit: fill(".//EncryptedKey//CipherValue", 4096)},
	} {
		t.Run(name, func(t *testing.T) {
			if how.to.key == nil {
				how.to = to
			}
			_, err := finish(t, p, compose(t, &inner, how, &outer))
			if want := "provider_reply_invalid: bad credentials: " + errDecrypt.Error(); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func remove(path string) func(*etree.Element) {
	return func(box *etree.Element) {
		el := box.FindElement("." + path)
		el.Parent().RemoveChild(el)
	}
}

func empty(path string) func(*etree.Element) { return fill(path, 0) }

func fill(path string, n int) func(*etree.Element) {
	return func(box *etree.Element) {
		box.FindElement(path).SetText(base64.StdEncoding.EncodeToString(make([]byte, n)))
	}
}

// TestSML08_WhatComesOutIsForeignStill has payloads that nobody but a holder of our certificate could have sent, which is
// everybody.
func TestSML08_WhatComesOutIsForeignStill(t *testing.T) {
	by, to := ours(t), mine(t)
	p := openProvider(t, decrypting(t, to), by)
	lone := func(el *etree.Element) string {
		doc := etree.NewDocument()
		doc.SetRoot(detach(el))
		return string(serialize(t, doc))
	}
	raw := signing{by: by, assertion: true}.sign(t, message())
	good, bare := lone(document(t, raw).FindElement("//saml:Assertion")), lone(document(t, []byte(message())).FindElement("//saml:Assertion"))
	twice := `<saml:EncryptedAssertion xmlns:saml="` + nsAssertion + `"/>`
	for name, row := range map[string]struct{ payload, words string }{
		"nothing":                                 {``, errDecrypt.Error()},
		"text":                                    {`hello`, errDecrypt.Error()},
		"half an assertion":                       {good[:len(good)/2], errDecrypt.Error()},
		"another element":                         {`<x xmlns="` + nsAssertion + `"/>`, errDecrypt.Error()},
		"an Assertion of another namespace":       {`<Assertion xmlns="urn:x"/>`, errDecrypt.Error()},
		"a whole Response":                        {string(raw), errDecrypt.Error()},
		"two assertions":                          {good + good, errDecrypt.Error()},
		"an assertion in a list":                  {`<x>` + good + `</x>`, errDecrypt.Error()},
		"an encrypted assertion":                  {twice, errDecrypt.Error()},
		"an encrypted assertion in it":            {swap(t, good, `<saml:AttributeStatement>`, twice+`<saml:AttributeStatement>`), errDecrypt.Error()},
		"an assertion in it":                      {swap(t, good, `<saml:AttributeStatement>`, `<saml:Advice><saml:Assertion/></saml:Advice><saml:AttributeStatement>`), errDecrypt.Error()},
		"a document type":                         {`<!DOCTYPE x>` + good, errDecrypt.Error()},
		"an entity":                               {`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + good, errDecrypt.Error()},
		"a processing instruction":                {swap(t, good, `p-4711<`, `p-<?x?>4711<`), errDecrypt.Error()},
		"a comment in the NameID":                 {swap(t, good, `p-4711<`, `p-<!-- -->4711<`), errDecrypt.Error()},
		"too deep":                                {swap(t, good, `>engineers<`, `>`+strings.Repeat(`<x>`, 40)+strings.Repeat(`</x>`, 40)+`<`), errDecrypt.Error()},
		"too many elements":                       {swap(t, good, `>engineers<`, `>`+strings.Repeat(`<x/>`, 50_001)+`<`), errDecrypt.Error()},
		"no signature":                            {bare, errUnsigned.Error()},
		"a changed name":                          {swap(t, good, `p-4711`, `p-4712`), "not what was signed"},
		"a signature elsewhere":                   {swap(t, bare, `<saml:Subject>`, `<saml:Subject><Signature/>`), errElsewhere.Error()},
		"an EncryptedID instead of a NameID":      {swap(t, good, `<saml:NameID `, `<saml:EncryptedID/><saml:NameID `), errHidden.Error()},
		"an EncryptedAttribute beside the others": {swap(t, good, `<saml:AttributeStatement>`, `<saml:AttributeStatement><saml:EncryptedAttribute/>`), errHidden.Error()},
		"a prefix that is declared nowhere":       {swap(t, good, `>engineers<`, `><zz:x/><`), errDecrypt.Error()},
		"an end of what is around it":             {good + `</saml:EncryptedAssertion><saml:EncryptedAssertion>`, errDecrypt.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			doc := document(t, []byte(message()))
			assertion := doc.FindElement("//saml:Assertion")
			assertion.Parent().AddChild(document(t, sealing{to: to}.box(t, []byte(row.payload))).Root())
			assertion.Parent().RemoveChild(assertion)
			_, err := finish(t, p, serialize(t, doc))
			wantInvalid(t, err, row.words)
		})
	}
}

// TestSML08_WhatIsRefusedBeforeAnyKeyIsUsed depends on nothing but what the sender wrote.
func TestSML08_WhatIsRefusedBeforeAnyKeyIsUsed(t *testing.T) {
	by, to := ours(t), mine(t)
	inner, outer := signing{by: by, assertion: true}, signing{by: by, response: true}
	const cbc = nsEncryption + "aes256-cbc"
	content := func(a string) func(*etree.Element) { return set("./EncryptedData/EncryptionMethod", "Algorithm", a) }
	transport := func(a string) func(*etree.Element) { return set(".//EncryptedKey/EncryptionMethod", "Algorithm", a) }
	parameter := func(tag, space, algorithm string) func(*etree.Element) {
		return func(box *etree.Element) {
			el := box.FindElement(".//EncryptedKey/EncryptionMethod").CreateElement(tag)
			el.CreateAttr("xmlns", space)
			el.CreateAttr("Algorithm", algorithm)
		}
	}
	for name, row := range map[string]struct {
		how   sealing
		outer *signing
		cbc   bool
		words string
	}{
		"CBC without the switch":                        {how: sealing{content: cbc}, outer: &outer, words: "AES-CBC, which is not allowed"},
		"CBC by the switch in a Response nobody signed": {how: sealing{content: cbc}, cbc: true, words: "in a Response that is not signed"},
		"PKCS #1 v1.5":                                  {how: sealing{pkcs1: true, transport: nsEncryption + "rsa-1_5"}, words: "than RSA-OAEP"},
		"PKCS #1 v1.5, both signed, CBC allowed":        {how: sealing{pkcs1: true, transport: nsEncryption + "rsa-1_5"}, outer: &outer, cbc: true, words: "than RSA-OAEP"},
		"AES key wrap":                                  {how: sealing{edit: transport(nsEncryption + "kw-aes256")}, words: "than RSA-OAEP"},
		"no transport algorithm":                        {how: sealing{edit: transport("")}, words: "than RSA-OAEP"},
		"triple DES":                                    {how: sealing{edit: content(nsEncryption + "tripledes-cbc")}, outer: &outer, cbc: true, words: "algorithm that is not taken"},
		"no content algorithm":                          {how: sealing{edit: content("")}, words: "algorithm that is not taken"},
		"an unknown digest":                             {how: sealing{edit: parameter("DigestMethod", nsDsig, "urn:md5")}, words: "parameters of RSA-OAEP"},
		"two digests":                                   {how: sealing{digest: algSHA1, edit: parameter("DigestMethod", nsDsig, algSHA1)}, words: "parameters of RSA-OAEP"},
		"an unknown mask":                               {how: sealing{transport: algOAEP, edit: parameter("MGF", nsEncryption11, "urn:md5")}, words: "parameters of RSA-OAEP"},
		"a mask where the algorithm has its own":        {how: sealing{edit: parameter("MGF", nsEncryption11, nsEncryption11+"mgf1sha256")}, words: "parameters of RSA-OAEP"},
		"an OAEP label":                                 {how: sealing{edit: parameter("OAEPparams", nsEncryption, "")}, words: "parameters of RSA-OAEP"},
		"another type than an element":                  {how: sealing{edit: set("./EncryptedData", "Type", nsEncryption+"Content")}, words: "not an element"},
		"no EncryptedData":                              {how: sealing{edit: remove("/EncryptedData")}, words: "0 EncryptedData"},
		"two EncryptedData":                             {how: sealing{edit: again("./EncryptedData")}, words: "2 EncryptedData"},
		"two keys":                                      {how: sealing{edit: again(".//EncryptedKey")}, words: "exactly one EncryptedKey"},
		"a key in each place":                           {how: sealing{beside: true, edit: bothPlaces}, words: "exactly one EncryptedKey"},
		"no key":                                        {how: sealing{edit: remove("//EncryptedKey")}, words: "exactly one EncryptedKey"},
		"the bytes stand elsewhere":                     {how: sealing{edit: reference}, words: "0 CipherValue"},
		"bytes that are not base64":                     {how: sealing{edit: func(b *etree.Element) { b.FindElement(".//EncryptedKey//CipherValue").SetText("*") }}, words: "not base64"},
		"an element in the bytes":                       {how: sealing{edit: func(b *etree.Element) { b.FindElement(".//EncryptedKey//CipherValue").CreateElement("x") }}, words: "something else than text"},
	} {
		t.Run(name, func(t *testing.T) {
			p := openProvider(t, func(c *Config) { decrypting(t, to)(c); c.AllowCBC = row.cbc }, by)
			row.how.to = to
			_, err := finish(t, p, compose(t, &inner, row.how, row.outer))
			wantInvalid(t, err, row.words)
		})
	}
}

func again(path string) func(*etree.Element) {
	return func(box *etree.Element) {
		el := box.FindElement(path)
		el.Parent().AddChild(el.Copy())
	}
}

func bothPlaces(box *etree.Element) {
	info := box.FindElement("./EncryptedData").CreateElement("ds:KeyInfo")
	info.CreateAttr("xmlns:ds", nsDsig)
	info.AddChild(box.FindElement("./EncryptedKey").Copy())
}

func reference(box *etree.Element) {
	value := box.FindElement("./EncryptedData/CipherData/CipherValue")
	parent := value.Parent()
	parent.RemoveChild(value)
	parent.CreateElement("xenc:CipherReference").CreateAttr("URI", "https://evil.example.com/")
}

func TestSML08_ExactlyOneAssertionPlainOrEncrypted(t *testing.T) {
	by, to := ours(t), mine(t)
	p := openProvider(t, decrypting(t, to), by)
	outer := signing{by: by, response: true}
	plain := signing{by: by, assertion: true}.sign(t, message())
	for name, edit := range map[string]func(*etree.Document){
		"two encrypted ones": func(doc *etree.Document) {
			doc.Root().AddChild(document(t, sealing{to: to}.box(t, []byte(`<x/>`))).Root())
		},
		"an encrypted one and a plain one": func(doc *etree.Document) {
			doc.Root().AddChild(document(t, plain).FindElement("//saml:Assertion").Copy())
		},
		"a plain one before it": func(doc *etree.Document) {
			doc.Root().InsertChildAt(2, document(t, []byte(message())).FindElement("//saml:Assertion").Copy())
		},
		"none": func(doc *etree.Document) {
			doc.Root().RemoveChild(doc.FindElement("//saml:EncryptedAssertion"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			doc := document(t, sealing{to: to}.seal(t, plain))
			edit(doc)
			_, err := finish(t, p, outer.sign(t, string(serialize(t, doc))))
			wantInvalid(t, err, "exactly one Assertion")
		})
	}
	t.Run("one that stands somewhere else", func(t *testing.T) {
		doc := document(t, sealing{to: to}.seal(t, plain))
		box := doc.FindElement("//saml:EncryptedAssertion")
		doc.FindElement("//samlp:Status").AddChild(box)
		_, err := finish(t, p, serialize(t, doc))
		wantInvalid(t, err, "0 EncryptedAssertion")
	})
	t.Run("a signature beside the encrypted one", func(t *testing.T) {
		doc := document(t, sealing{to: to}.seal(t, plain))
		doc.FindElement("//samlp:Status").CreateElement("Signature")
		_, err := finish(t, p, serialize(t, doc))
		wantInvalid(t, err, "somewhere else")
	})
	t.Run("a foreign signature of the Response around a right assertion", func(t *testing.T) {
		raw := signing{by: foreign(t), response: true}.sign(t, string(sealing{to: to}.seal(t, plain)))
		_, err := finish(t, p, raw)
		wantInvalid(t, err, "no configured certificate")
	})
	t.Run("an assertion that somebody else signed", func(t *testing.T) {
		_, err := finish(t, p, sealing{to: to}.seal(t, signing{by: foreign(t), assertion: true}.sign(t, message())))
		wantInvalid(t, err, "no configured certificate")
	})
	t.Run("nobody signed anything", func(t *testing.T) {
		_, err := finish(t, p, sealing{to: to}.seal(t, []byte(message())))
		wantInvalid(t, err, "neither the Response nor the Assertion")
	})
	t.Run("no key is configured", func(t *testing.T) {
		_, err := finish(t, openProvider(t, nil, by), sealing{to: to}.seal(t, plain))
		wantInvalid(t, err, "no decryption key")
	})
}

func TestSML08_KeyFilesAreReadOrRefused(t *testing.T) {
	open := func(c *Config) error {
		_, err := c.Open(t.Context(), "corp", "", providers.Env{Now: testNow})
		return err
	}
	explicit := func(change func(*Config)) *Config {
		c := &Config{EntityID: testIssuer, SSOURL: "https://idp.example.com/", Certificates: []string{ours(t).files(t).CertificateFile}}
		change(c)
		return c
	}
	good := mine(t).files(t)
	spoil := func(content []byte, mode os.FileMode) KeyPair {
		pair := mine(t).files(t)
		if content != nil {
			if err := os.WriteFile(pair.KeyFile, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(pair.KeyFile, mode); err != nil {
			t.Fatal(err)
		}
		return pair
	}
	for name, row := range map[string]struct {
		pair  KeyPair
		words string
	}{
		"open to everybody":          {spoil(nil, 0o644), "open to everybody (mode 0644"},
		"no file":                    {KeyPair{KeyFile: good.KeyFile + "x", CertificateFile: good.CertificateFile}, "key_file: open"},
		"no certificate":             {KeyPair{KeyFile: good.KeyFile, CertificateFile: good.CertificateFile + "x"}, "certificate_file: open"},
		"a folder":                   {KeyPair{KeyFile: t.TempDir(), CertificateFile: good.CertificateFile}, "not a regular file"},
		"no PEM":                     {spoil([]byte("x"), 0o600), "no PEM block"},
		"a certificate as key":       {spoil(mine(t).pem(), 0o600), "not a private key"},
		"a key that is none":         {spoil([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600), "cannot be read"},
		"two things in one file":     {spoil(slices.Concat(mine(t).pem(), mine(t).pem()), 0o600), "more than a key"},
		"the certificate of another": {KeyPair{KeyFile: good.KeyFile, CertificateFile: mineNext(t).files(t).CertificateFile}, "of another key"},
		"an elliptic key":            {elliptical(t).files(t), "must hold an RSA key"},
		"no certificate named":       {KeyPair{KeyFile: good.KeyFile}, "certificate_file: is required"},
		"no key named":               {KeyPair{CertificateFile: good.CertificateFile}, "key_file: is required"},
	} {
		t.Run(name, func(t *testing.T) {
			err := open(explicit(func(c *Config) { c.Decryption = []KeyPair{good, row.pair} }))
			if err == nil || !strings.Contains(err.Error(), "decryption[1].") || !strings.Contains(err.Error(), row.words) {
				t.Errorf("got %v, want %q", err, row.words)
			}
			if strings.Contains(name, "elliptic") {
				return // which is right for signing
			}
			err = open(explicit(func(c *Config) { c.Signing = &row.pair }))
			if err == nil || !strings.Contains(err.Error(), "signing.") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("readable by our group", func(t *testing.T) {
		if err := open(explicit(func(c *Config) { c.Decryption = []KeyPair{spoil(nil, 0o640)} })); err != nil {
			t.Error(err)
		}
	})
	t.Run("a switch without keys", func(t *testing.T) {
		if err := explicit(func(c *Config) { c.AllowCBC = true }).Validate(); err == nil {
			t.Error("no error")
		}
	})
	t.Run("too many keys", func(t *testing.T) {
		if err := explicit(func(c *Config) { c.Decryption = slices.Repeat([]KeyPair{good}, 5) }).Validate(); err == nil {
			t.Error("no error")
		}
	})
	t.Run("the switch warns", func(t *testing.T) {
		got := (&Config{AllowCBC: true}).Warnings()
		if len(got) != 1 || !strings.HasPrefix(got[0], "allow_cbc: ") {
			t.Errorf("warnings %q", got)
		}
	})
}
