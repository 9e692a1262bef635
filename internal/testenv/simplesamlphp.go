package testenv

import (
	"embed"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// simpleSAMLFiles are its settings. They read what differs between tests from peer.json and sp/*.json.
//
//go:embed simplesamlphp
var simpleSAMLFiles embed.FS

const simpleSAMLPages = "/usr/share/simplesamlphp/www"

// SAMLPerson is somebody SimpleSAMLphp knows. The attributes are uid (Username), displayName, mail, employeeNumber and
// groups.
type SAMLPerson struct {
	Username, Password          string
	Name, Email, EmployeeNumber string
	Groups                      []string
}

// SAMLPeople are the people of SimpleSAMLphp: alice (engineering, everyone), bob (everyone) and carol (visitors). A
// password is the name followed by "-saml-pass".
func SAMLPeople() []SAMLPerson {
	return []SAMLPerson{
		{"alice", "alice-saml-pass", "Alice Example", "alice@example.test", "e-1001", []string{"engineering", "everyone"}},
		{"bob", "bob-saml-pass", "Bob Example", "bob@example.test", "e-1002", []string{"everyone"}},
		{"carol", "carol-saml-pass", "Carol Example", "carol@example.test", "e-1003", []string{"visitors"}},
	}
}

// SimpleSAML is a running SAML 2.0 identity provider (Debian's SimpleSAMLphp on PHP's own web server) on loopback.
//
// It gives the NameID that is asked for: persistent (another one for each service provider), email or transient.
// Encrypted assertions are always AES-128-CBC with the key in RSA-OAEP: this version knows nothing else.
type SimpleSAML struct {
	// EntityID is the provider's entity id, and the URL of its metadata.
	EntityID string
	// SSOURL takes authentication requests over HTTP-Redirect; SLOURL logout requests.
	SSOURL, SLOURL string
	// Key is what it signs with.
	Key SAMLKey

	dir, address string
	process      *Process
}

// SAMLServiceProvider is what an identity provider is told about a service provider. The zero value but for the metadata
// has responses and assertions signed and nothing encrypted, and asks for no signature on requests.
type SAMLServiceProvider struct {
	// Metadata is the service provider's XML.
	Metadata []byte
	// UnsignedResponse and UnsignedAssertion leave the signature of one of them out.
	UnsignedResponse, UnsignedAssertion bool
	// EncryptAssertion encrypts to the certificate in the metadata.
	EncryptAssertion bool
	// ValidateRequests refuses authentication requests that are not signed by a key in the metadata.
	ValidateRequests bool
	// SignatureAlgorithm is the URI of what signs, for example http://www.w3.org/2000/09/xmldsig#rsa-sha1. Default is
	// RSA with SHA-256.
	SignatureAlgorithm string
	// Audiences are named in the assertion besides the service provider itself.
	Audiences []string
}

// SimpleSAMLphp starts the identity provider, and ends it with the test. Where it is not installed the test is skipped,
// see Missing.
func SimpleSAMLphp(t testing.TB) *SimpleSAML {
	t.Helper()
	const peer = "simplesamlphp"
	php := needSimpleSAML(t, peer)
	dir := Dir(t)
	address := fmt.Sprintf("127.0.0.1:%d", Port(t))
	p := &SimpleSAML{
		EntityID: "http://" + address + "/saml2/idp/metadata.php",
		SSOURL:   "http://" + address + "/saml2/idp/SSOService.php",
		SLOURL:   "http://" + address + "/saml2/idp/SingleLogoutService.php",
		Key:      NewSAMLKey(t),
		dir:      dir, address: address,
	}
	p.write(t)
	command := append(asNobody(t, peer, dir),
		php, "-d", "session.save_path="+filepath.Join(dir, "tmp"), "-S", address, "-t", simpleSAMLPages)
	env := []string{"SIMPLESAMLPHP_CONFIG_DIR=" + filepath.Join(dir, "config"), "HOME=" + dir}
	p.process = Start(t, dir, env, command[0], command[1:]...)
	p.process.Wait(t, "metadata of SimpleSAMLphp", p.describesItself)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("SimpleSAMLphp's log:\n%s", p.Log())
		}
	})
	return p
}

// needSimpleSAML returns PHP's path, or says that something is missing.
func needSimpleSAML(t testing.TB, peer string) string {
	t.Helper()
	php := Need(t, peer, "php")[0]
	if _, err := os.Stat(filepath.Join(simpleSAMLPages, "index.php")); err != nil {
		Missing(t, peer, "simplesamlphp is not installed")
	}
	const modules = `exit(extension_loaded("dom") && extension_loaded("mbstring") ? 0 : 1);`
	if err := exec.CommandContext(t.Context(), php, "-r", modules).Run(); err != nil { //nolint:gosec // test peers only
		Missing(t, peer, "php-xml and php-mbstring are not installed")
	}
	return php
}

// write lays out the folder: settings, key, people.
func (p *SimpleSAML) write(t testing.TB) {
	t.Helper()
	settings, err := fs.Sub(simpleSAMLFiles, "simplesamlphp")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(p.dir, settings); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cert", "sp", "tmp"} {
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p.writeFile(t, "cert/idp.key", p.Key.PrivatePEM)
	p.writeFile(t, "cert/idp.pem", p.Key.CertificatePEM)
	people := map[string]any{}
	for _, who := range SAMLPeople() {
		people[who.Username+":"+who.Password] = map[string]any{
			"uid": []string{who.Username}, "displayName": []string{who.Name}, "mail": []string{who.Email},
			"employeeNumber": []string{who.EmployeeNumber}, "groups": who.Groups,
		}
	}
	p.writeJSON(t, "peer.json", map[string]any{
		"url": "http://" + p.address + "/", "salt": "salt-of-a-test-peer", "people": people,
	})
}

// asNobody gives the folder to nobody and returns the beginning of a command that runs as nobody, where we are root: PHP
// has no need of more. Otherwise it does nothing.
func asNobody(t testing.TB, peer, dir string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		Missing(t, peer, err.Error())
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(name, uid, -1)) //nolint:gosec // a folder of the test's own
	})
	if err != nil {
		t.Fatal(err)
	}
	setpriv := Need(t, peer, "setpriv")[0]
	return []string{setpriv, "--reuid=" + nobody.Uid, "--regid=" + nobody.Gid, "--clear-groups"}
}

// describesItself reports whether the metadata is there. A module that PHP lacks shows as text with status 200.
func (p *SimpleSAML) describesItself() error {
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Get(p.EntityID)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var root entityDescriptor
	if err := xml.NewDecoder(resp.Body).Decode(&root); err != nil {
		return err
	}
	if root.EntityID != p.EntityID {
		return fmt.Errorf("the metadata is of %q", root.EntityID)
	}
	return nil
}

// entityDescriptor is as much of SAML metadata as this package reads.
type entityDescriptor struct {
	XMLName  xml.Name `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntityDescriptor"`
	EntityID string   `xml:"entityID,attr"`
}

// Register tells the identity provider about a service provider, or about its change.
func (p *SimpleSAML) Register(t testing.TB, sp SAMLServiceProvider) {
	t.Helper()
	var root entityDescriptor
	if err := xml.Unmarshal(sp.Metadata, &root); err != nil {
		t.Fatalf("metadata of the service provider: %v", err)
	}
	options := map[string]any{
		"saml20.sign.response":  !sp.UnsignedResponse,
		"saml20.sign.assertion": !sp.UnsignedAssertion,
		"assertion.encryption":  sp.EncryptAssertion,
		"validate.authnrequest": sp.ValidateRequests,
		"audience":              append([]string{}, sp.Audiences...),
	}
	if sp.SignatureAlgorithm != "" {
		options["signature.algorithm"] = sp.SignatureAlgorithm
	}
	p.writeJSON(t, filepath.Join("sp", url.QueryEscape(root.EntityID)+".json"),
		map[string]any{"metadata": string(sp.Metadata), "options": options})
}

// Metadata is the identity provider's metadata.
func (p *SimpleSAML) Metadata(t testing.TB) []byte {
	t.Helper()
	return load(t, &http.Client{Timeout: 10 * time.Second}, p.EntityID, nil).body
}

// Stop ends the provider; connections are refused from then on.
func (p *SimpleSAML) Stop() { p.process.Stop() }

// Log is what the provider wrote about its work.
func (p *SimpleSAML) Log() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "simplesamlphp.log")) // there is none before the first request
	return string(text) + p.process.Output()
}

func (p *SimpleSAML) writeJSON(t testing.TB, name string, value any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	p.writeFile(t, name, text)
}

// writeFile writes what the provider reads, whoever it runs as; nothing of it is worth keeping from anybody.
func (p *SimpleSAML) writeFile(t testing.TB, name string, content []byte) {
	t.Helper()
	file := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.WriteFile(file, content, 0o644); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
}
