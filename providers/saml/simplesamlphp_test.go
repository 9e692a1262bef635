package saml_test

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sallyport/identity"
	"sallyport/internal/testenv"
	"sallyport/providers"
	"sallyport/providers/saml"
)

// door is one of our doors, as the house would use it.
type door struct {
	*saml.Provider
	flow providers.Flow
}

// open opens a door that reads what SimpleSAMLphp says of people, from its metadata where nothing else is set.
func open(t testing.TB, id string, idp *testenv.SimpleSAML, change func(*saml.Config)) door {
	t.Helper()
	c := saml.Config{
		Metadata:   saml.Metadata{URL: idp.EntityID},
		Attributes: saml.Attributes{Username: "uid", Name: "displayName", Email: "mail", Groups: "groups"},
		Extra:      []string{"employeeNumber"},
	}
	if change != nil {
		change(&c)
	}
	return openConfig(t, id, &c)
}

func openConfig(t testing.TB, id string, c *saml.Config) door {
	t.Helper()
	p, err := c.Open(t.Context(), id, "", providers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return door{
		Provider: p.(*saml.Provider),
		flow:     providers.Flow{ID: "flow-0123456789-0123456789", CallbackURL: "https://sso.example.com/saml/" + id + "/acs"},
	}
}

func (d door) entityID(t testing.TB) string {
	t.Helper()
	own, err := saml.EntityID(d.Info().ID, d.flow.CallbackURL)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// registered tells the identity provider about the door by the door's own metadata, and returns it.
func (d door) registered(t testing.TB, idp *testenv.SimpleSAML, as testenv.SAMLServiceProvider) door {
	t.Helper()
	var err error
	if as.Metadata, err = d.ServiceMetadata(d.entityID(t), d.flow.CallbackURL); err != nil {
		t.Fatal(err)
	}
	idp.Register(t, as)
	return d
}

func (d door) begin(t testing.TB) providers.Challenge {
	t.Helper()
	challenge, err := d.Begin(t.Context(), d.flow)
	if err != nil {
		t.Fatal(err)
	}
	return challenge
}

// reply signs somebody in at the identity provider, in a browser of their own, and returns what comes back.
func (d door) reply(t testing.TB, idp *testenv.SimpleSAML, challenge providers.Challenge, who string) url.Values {
	t.Helper()
	acs, form := idp.SignIn(t, testenv.NewBrowserClient(t), challenge.URL, who, who+"-saml-pass")
	if acs != d.flow.CallbackURL {
		t.Fatalf("the response goes to %s", acs)
	}
	return form
}

func (d door) signIn(t testing.TB, idp *testenv.SimpleSAML, who string) (identity.Assertion, error) {
	t.Helper()
	challenge := d.begin(t)
	return d.Finish(t.Context(), d.flow, challenge.Pending, d.reply(t, idp, challenge, who))
}

// wantAlice expects alice with everything the provider tells; subject is a pattern.
func wantAlice(t testing.TB, a identity.Assertion, err error, subject string) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	want := identity.Identity{
		Provider: "corp", Username: "alice", Name: "Alice Example", Email: "alice@example.test",
		Groups: []string{"engineering", "everyone"}, Attributes: map[string][]string{"employeeNumber": {"e-1001"}},
		AMR: []string{"pwd"},
	}
	if diff := cmp.Diff(want, a.Identity, cmpopts.IgnoreFields(identity.Identity{}, "Subject", "AuthTime")); diff != "" {
		t.Error(diff)
	}
	if !regexp.MustCompile("^(?:" + subject + ")$").MatchString(a.Identity.Subject) {
		t.Errorf("the subject is %q", a.Identity.Subject)
	}
	if age := time.Since(a.Identity.AuthTime); age < 0 || age > time.Minute || a.UpstreamSession == "" {
		t.Errorf("signed in %s ago, upstream session %q", age, a.UpstreamSession)
	}
}

// wantRefused expects a reply that does not verify, for a reason that has these words.
func wantRefused(t testing.TB, a identity.Assertion, err error, words string) {
	t.Helper()
	if !errors.Is(err, identity.ErrBadCredentials) || identity.CodeOf(err) != "provider_reply_invalid" ||
		!strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want a refusal that says %q", err, words)
	}
	if !cmp.Equal(a, identity.Assertion{}) {
		t.Errorf("a refusal speaks of %v", a)
	}
}

// persistent is how SimpleSAMLphp writes a persistent NameID.
const persistent = "[0-9a-f]{40}"

func TestSML01_SimpleSAMLphpSignsPeopleInWhateverItSigns(t *testing.T) {
	idp := testenv.SimpleSAMLphp(t)
	for name, as := range map[string]testenv.SAMLServiceProvider{
		"both":                         {},
		"the response only":            {UnsignedAssertion: true},
		"the assertion only":           {UnsignedResponse: true},
		"with SHA-512":                 {SignatureAlgorithm: "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"},
		"for us and for somebody else": {Audiences: []string{"https://other.example.com/metadata"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := open(t, "corp", idp, nil).registered(t, idp, as).signIn(t, idp, "alice")
			wantAlice(t, a, err, persistent)
		})
	}
	t.Run("a response without any signature is refused", func(t *testing.T) {
		d := open(t, "corp", idp, nil).
			registered(t, idp, testenv.SAMLServiceProvider{UnsignedResponse: true, UnsignedAssertion: true})
		a, err := d.signIn(t, idp, "alice")
		wantRefused(t, a, err, "signed")
	})
}

func TestSimpleSAMLphp_MetadataMayBeAFileOrWrittenByHand(t *testing.T) {
	idp, dir := testenv.SimpleSAMLphp(t), t.TempDir()
	file := filepath.Join(dir, "idp.xml")
	if err := os.WriteFile(file, idp.Metadata(t), 0o600); err != nil {
		t.Fatal(err)
	}
	_, certificate := idp.Key.Files(t, dir, "idp")
	for name, change := range map[string]func(*saml.Config){
		"by url":  nil,
		"by file": func(c *saml.Config) { c.Metadata = saml.Metadata{File: file} },
		"by hand": func(c *saml.Config) {
			c.Metadata = saml.Metadata{}
			c.EntityID, c.SSOURL, c.Certificates = idp.EntityID, idp.SSOURL, []string{certificate}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, "corp", idp, change)
			if err := d.Check(t.Context()); err != nil {
				t.Error(err)
			}
			a, err := d.registered(t, idp, testenv.SAMLServiceProvider{}).signIn(t, idp, "alice")
			wantAlice(t, a, err, persistent)
		})
	}
}

func TestSimpleSAMLphp_TheSubjectIsWhatWasConfigured(t *testing.T) {
	idp := testenv.SimpleSAMLphp(t)
	for name, row := range map[string]struct{ format, subject, want string }{
		"a persistent NameID by default":      {"", "", persistent},
		"a persistent NameID":                 {"persistent", "name_id", persistent},
		"an address":                          {"email", "", "alice@example.test"},
		"an attribute beside a transient one": {"transient", "attribute employeeNumber", "e-1001"},
		"an attribute beside any NameID":      {"", "attribute employeeNumber", "e-1001"},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, "corp", idp, func(c *saml.Config) { c.NameIDFormat, c.Subject = row.format, row.subject })
			a, err := d.registered(t, idp, testenv.SAMLServiceProvider{}).signIn(t, idp, "alice")
			wantAlice(t, a, err, row.want)
		})
	}
	t.Run("persistent means the same person every time, and another one at another door", func(t *testing.T) {
		corp := open(t, "corp", idp, nil).registered(t, idp, testenv.SAMLServiceProvider{})
		staff := open(t, "staff", idp, nil).registered(t, idp, testenv.SAMLServiceProvider{})
		var subjects []string
		for _, visit := range []struct {
			at  door
			who string
		}{{corp, "alice"}, {corp, "alice"}, {corp, "bob"}, {staff, "alice"}} {
			a, err := visit.at.signIn(t, idp, visit.who)
			if err != nil {
				t.Fatal(err)
			}
			subjects = append(subjects, a.Identity.Subject)
		}
		if subjects[0] != subjects[1] || subjects[0] == subjects[2] || subjects[0] == subjects[3] {
			t.Errorf("subjects are %q", subjects)
		}
	})
}

func TestSML02_OnlyTheKeysOfTheMetadataCountAndNoSHA1(t *testing.T) {
	idp := testenv.SimpleSAMLphp(t)
	t.Run("metadata with another certificate", func(t *testing.T) {
		metadata := strings.ReplaceAll(string(idp.Metadata(t)), idp.Key.Base64(), testenv.NewSAMLKey(t).Base64())
		file := filepath.Join(t.TempDir(), "idp.xml")
		if err := os.WriteFile(file, []byte(metadata), 0o600); err != nil {
			t.Fatal(err)
		}
		d := open(t, "corp", idp, func(c *saml.Config) { c.Metadata = saml.Metadata{File: file} })
		a, err := d.registered(t, idp, testenv.SAMLServiceProvider{}).signIn(t, idp, "alice")
		wantRefused(t, a, err, "no configured certificate verifies the signature")
	})
	sha1 := testenv.SAMLServiceProvider{SignatureAlgorithm: "http://www.w3.org/2000/09/xmldsig#rsa-sha1"}
	t.Run("SHA-1", func(t *testing.T) {
		a, err := open(t, "corp", idp, nil).registered(t, idp, sha1).signIn(t, idp, "alice")
		wantRefused(t, a, err, "the signature algorithm is not allowed")
	})
	t.Run("SHA-1 where it is allowed", func(t *testing.T) {
		d := open(t, "corp", idp, func(c *saml.Config) { c.AllowSHA1 = true }).registered(t, idp, sha1)
		a, err := d.signIn(t, idp, "alice")
		wantAlice(t, a, err, persistent)
	})
}

func TestSML04_AnAssertionOfTheSameProviderForAnotherServiceIsRefused(t *testing.T) {
	idp := testenv.SimpleSAMLphp(t)
	d := open(t, "corp", idp, nil)
	const other = "https://other.example.com/metadata"
	metadata, err := d.ServiceMetadata(other, d.flow.CallbackURL)
	if err != nil {
		t.Fatal(err)
	}
	idp.Register(t, testenv.SAMLServiceProvider{Metadata: metadata})
	// Everything but the audience fits: our endpoint, the same browser, an answer to the request of the flow.
	challenge := d.begin(t)
	asked := request(t, challenge.URL)
	asOther := challenge
	asOther.URL = idp.SSOURL + "?" + url.Values{
		"SAMLRequest": {deflated(t, strings.Replace(asked, d.entityID(t), other, 1))}, "RelayState": {d.flow.ID},
	}.Encode()
	a, err := d.Finish(t.Context(), d.flow, challenge.Pending, d.reply(t, idp, asOther, "alice"))
	wantRefused(t, a, err, "the Assertion is for another audience")
}

func TestSML06_AResponseIsForTheRequestOfTheFlowOnly(t *testing.T) {
	idp := testenv.SimpleSAMLphp(t)
	d := open(t, "corp", idp, nil).registered(t, idp, testenv.SAMLServiceProvider{})
	t.Run("an answer to another request", func(t *testing.T) {
		mine, theirs := d.begin(t), d.begin(t)
		a, err := d.Finish(t.Context(), d.flow, mine.Pending, d.reply(t, idp, theirs, "alice"))
		wantRefused(t, a, err, "the Response answers another request")
	})
	t.Run("a sign-in that began at the provider", func(t *testing.T) {
		unasked := providers.Challenge{URL: idp.SSOURL + "?" + url.Values{
			"spentityid": {d.entityID(t)}, "RelayState": {d.flow.ID},
		}.Encode()}
		a, err := d.Finish(t.Context(), d.flow, d.begin(t).Pending, d.reply(t, idp, unasked, "alice"))
		wantRefused(t, a, err, "only sign-ins that begin here are taken")
	})
}

func TestSimpleSAMLphp_TakesOurSignedRequestsWhereItDemandsThem(t *testing.T) {
	idp, dir := testenv.SimpleSAMLphp(t), t.TempDir()
	strict := testenv.SAMLServiceProvider{ValidateRequests: true}
	signing := func(k testenv.SAMLKey, name string) func(*saml.Config) {
		ours := pair(k.Files(t, dir, name))
		return func(c *saml.Config) { c.Signing = &ours }
	}
	d := open(t, "corp", idp, signing(testenv.NewSAMLKey(t), "ours")).registered(t, idp, strict)
	a, err := d.signIn(t, idp, "alice")
	wantAlice(t, a, err, persistent)
	// The other ways show that it does look.
	for name, row := range map[string]struct {
		change func(*saml.Config)
		says   string
	}{
		"a request that is not signed":    {nil, "no signature found on message"},
		"a request signed by another key": {signing(testenv.NewSAMLKey(t), "other"), "Unable to validate signature"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := testenv.NewBrowserClient(t).Get(open(t, "corp", idp, row.change).begin(t).URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if page, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(page), row.says) {
				t.Errorf("it answers %d, err %v\n%s", resp.StatusCode, err, page)
			}
		})
	}
}

func pair(keyFile, certificateFile string) saml.KeyPair {
	return saml.KeyPair{KeyFile: keyFile, CertificateFile: certificateFile}
}

func TestSML08_SimpleSAMLphpEncryptsByCBCWhichNeedsTheSwitchAndASignedResponse(t *testing.T) {
	idp, dir := testenv.SimpleSAMLphp(t), t.TempDir()
	ours, old := pair(testenv.NewSAMLKey(t).Files(t, dir, "ours")), pair(testenv.NewSAMLKey(t).Files(t, dir, "old"))
	allowed := func(keys ...saml.KeyPair) func(*saml.Config) {
		return func(c *saml.Config) { c.Decryption, c.AllowCBC = keys, true }
	}
	encrypted := testenv.SAMLServiceProvider{EncryptAssertion: true}
	responseOnly := testenv.SAMLServiceProvider{EncryptAssertion: true, UnsignedAssertion: true}
	assertionOnly := testenv.SAMLServiceProvider{EncryptAssertion: true, UnsignedResponse: true}
	for name, row := range map[string]struct {
		as     testenv.SAMLServiceProvider
		change func(*saml.Config)
		words  string
	}{
		"both are signed":              {encrypted, allowed(ours), ""},
		"the response is signed":       {responseOnly, allowed(ours), ""},
		"two keys while they change":   {encrypted, allowed(old, ours), ""},
		"only the assertion inside is": {assertionOnly, allowed(ours), "in a Response that is not signed"},
		"the switch is off":            {encrypted, func(c *saml.Config) { c.Decryption = []saml.KeyPair{ours} }, "AES-CBC"},
		"there is no key":              {encrypted, nil, "no decryption key"},
		"the key is another":           {encrypted, allowed(old), "cannot be decrypted"},
		"nothing is signed":            {withoutSignatures(), allowed(ours), "signed"},
	} {
		t.Run(name, func(t *testing.T) {
			// The identity provider learns one key, whichever the door has: that is what a change of keys looks like.
			open(t, "corp", idp, allowed(ours)).registered(t, idp, row.as)
			a, err := open(t, "corp", idp, row.change).signIn(t, idp, "alice")
			if row.words == "" {
				wantAlice(t, a, err, persistent)
			} else {
				wantRefused(t, a, err, row.words)
			}
		})
	}
}

func withoutSignatures() testenv.SAMLServiceProvider {
	return testenv.SAMLServiceProvider{EncryptAssertion: true, UnsignedResponse: true, UnsignedAssertion: true}
}

// request reads the request that travels in the URL (saml-bindings section 3.4.4.1).
func request(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := base64.StdEncoding.DecodeString(u.Query().Get("SAMLRequest"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

// deflated writes a request as it travels.
func deflated(t testing.TB, document string) string {
	t.Helper()
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, document); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes())
}
