package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestSML05_OurEntityIDStandsBesideTheEndpoint(t *testing.T) {
	for name, row := range map[string]struct{ acs, want string }{
		"at the root":             {"https://sso.example.com/saml/corp/acs", "https://sso.example.com/saml/corp/metadata"},
		"below a path":            {"https://example.com/sso/saml/corp/acs", "https://example.com/sso/saml/corp/metadata"},
		"with a port":             {"https://sso.example.com:8443/saml/corp/acs", "https://sso.example.com:8443/saml/corp/metadata"},
		"http on this machine":    {"http://127.0.0.1:8080/saml/corp/acs", "http://127.0.0.1:8080/saml/corp/metadata"},
		"http elsewhere":          {"http://sso.example.com/saml/corp/acs", ""},
		"of another provider":     {"https://sso.example.com/saml/else/acs", ""},
		"something after":         {"https://sso.example.com/saml/corp/acs/", ""},
		"a query":                 {"https://sso.example.com/saml/corp/acs?x", ""},
		"another kind's callback": {"https://sso.example.com/callback/corp", ""},
		"nothing":                 {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := EntityID("corp", row.acs)
			if got != row.want || (err == nil) != (row.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, row.want)
			}
		})
	}
}

// TestServiceMetadataIsWhatItWas compares with golden files; certificates are cut out, they have dates.
func TestServiceMetadataIsWhatItWas(t *testing.T) {
	mine, next := mine(t), mineNext(t)
	for name, change := range map[string]func(*Config){
		"plain": nil,
		"keys": func(c *Config) {
			pair := mine.files(t)
			c.Signing = &pair
			decrypting(t, mine, next)(c)
		},
		"cbc": func(c *Config) { decrypting(t, mine)(c); c.AllowCBC = true },
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := openProvider(t, change, ours(t)).ServiceMetadata(testOwn, testACS)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := read(raw, maxMetadata, false); err != nil {
				t.Fatal("we would not read it ourselves:", err)
			}
			got := strings.NewReplacer(base64.StdEncoding.EncodeToString(mine.certificate.Raw), "MINE",
				base64.StdEncoding.EncodeToString(next.certificate.Raw), "NEXT").Replace(string(raw))
			file := filepath.Join("testdata", "metadata-"+name+".xml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("metadata differs from %s (-want +got; -update writes it anew):\n%s", file, diff)
			}
		})
	}
}

func TestServiceMetadataIsOfHTTPSAddressesOnly(t *testing.T) {
	p := openProvider(t, nil, ours(t))
	for name, row := range map[string][2]string{
		"an entity id by http": {"http://sso.example.com/", testACS},
		"an endpoint by http":  {testOwn, "http://sso.example.com/saml/corp/acs"},
		"no endpoint":          {testOwn, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if raw, err := p.ServiceMetadata(row[0], row[1]); err == nil {
				t.Errorf("made %s", raw)
			}
		})
	}
}

// TestRequestsAreSignedAsTheBindingHasIt verifies the signature over the query as it was sent (saml-bindings section
// 3.4.4.1).
func TestRequestsAreSignedAsTheBindingHasIt(t *testing.T) {
	for name, by := range map[string]signer{"RSA": mine(t), "ECDSA": elliptical(t)} {
		t.Run(name, func(t *testing.T) {
			pair := by.files(t)
			challenge, err := openProvider(t, func(c *Config) { c.Signing = &pair }, ours(t)).Begin(t.Context(), theFlow())
			if err != nil {
				t.Fatal(err)
			}
			query, ok := strings.CutPrefix(challenge.URL, "https://idp.example.com/sso?tenant=1&")
			signed, encoded, found := strings.Cut(query, "&Signature=")
			if !ok || !found || !strings.HasPrefix(signed, "SAMLRequest=") {
				t.Fatalf("the address is %s", challenge.URL)
			}
			values, err := url.ParseQuery(query)
			if err != nil || values.Get("RelayState") != testFlow {
				t.Fatalf("query %s, err %v", query, err)
			}
			unescaped, err := url.QueryUnescape(encoded)
			if err != nil {
				t.Fatal(err)
			}
			value, err := base64.StdEncoding.DecodeString(unescaped)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256([]byte(signed))
			switch public := by.key.Public().(type) {
			case *rsa.PublicKey:
				if values.Get("SigAlg") != dsig.RSASHA256SignatureMethod ||
					rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], value) != nil {
					t.Errorf("SigAlg %s does not verify", values.Get("SigAlg"))
				}
			case *ecdsa.PublicKey:
				r, s := new(big.Int).SetBytes(value[:32]), new(big.Int).SetBytes(value[32:])
				if values.Get("SigAlg") != dsig.ECDSASHA256SignatureMethod || len(value) != 64 ||
					!ecdsa.Verify(public, sum[:], r, s) {
					t.Errorf("SigAlg %s does not verify", values.Get("SigAlg"))
				}
			}
		})
	}
}
