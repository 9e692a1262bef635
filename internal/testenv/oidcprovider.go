package testenv

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// peerScripts are our own; what they import is installed from npm/package-lock.json, see NPMDir.
//
//go:embed npm/oidc-provider.mjs npm/jose-verify.mjs npm/pyjwt-verify.py
var peerScripts embed.FS

// OIDCPerson is somebody the provider knows. Groups come with the scope "groups".
type OIDCPerson struct {
	Username, Password   string
	Subject, Name, Email string
	EmailVerified        bool
	Groups               []string
}

// OIDCPeople are the people of OIDCProvider: alice (engineering, everyone), bob (everyone; address not verified) and
// carol (visitors). A password is the name followed by "-oidc-pass".
func OIDCPeople() []OIDCPerson {
	groups := []string{"engineering", "everyone"}
	return []OIDCPerson{
		{"alice", "alice-oidc-pass", "u-alice", "Alice Example", "alice@example.test", true, groups},
		{"bob", "bob-oidc-pass", "u-bob", "Bob Example", "bob@example.test", false, []string{"everyone"}},
		{"carol", "carol-oidc-pass", "u-carol", "Carol Example", "carol@example.test", true, []string{"visitors"}},
	}
}

// OIDCOptions say how the provider behaves. The zero value signs RS256 and gives claims from userinfo only.
type OIDCOptions struct {
	// Algorithm signs ID tokens: RS256 (default), PS256, ES256 or EdDSA.
	Algorithm string
	// IDTokenClaims puts the claims into the ID token too.
	IDTokenClaims bool
	// RedirectURIs are registered for every client; at least one.
	RedirectURIs []string
	// PostLogoutRedirectURIs are registered for every client.
	PostLogoutRedirectURIs []string
	// BackchannelLogoutURI, when set, is told when a session of the confidential client ends.
	BackchannelLogoutURI string
	// AccessTTL is the life of an access token; default ten minutes.
	AccessTTL time.Duration
}

// OIDC is a running certified OpenID provider (npm oidc-provider) on loopback. Its sign-in page takes login= and
// password=, or abort=1. A refresh token needs the scope offline_access together with prompt=consent.
type OIDC struct {
	// Issuer is http://127.0.0.1:PORT.
	Issuer string
	// ClientID is confidential, client_secret_basic; PostClientID the same secret with client_secret_post;
	// PublicClientID has no secret.
	ClientID, ClientSecret, PostClientID, PublicClientID string

	config  string
	modules string
	process *Process
}

// OIDCProvider starts the provider, and ends it with the test. Where npm's packages are not installed the test is
// skipped, see Missing.
func OIDCProvider(t testing.TB, o OIDCOptions) *OIDC {
	t.Helper()
	modules := needNPM(t, "oidc-provider")
	port := Port(t)
	p := &OIDC{
		Issuer:   fmt.Sprintf("http://127.0.0.1:%d", port),
		ClientID: "sallyport", ClientSecret: "sallyport-oidc-client-secret",
		PostClientID: "sallyport-post", PublicClientID: "sallyport-public",
		modules: modules,
	}
	p.config = writeOIDCConfig(t, p, o, port)
	p.Start(t)
	return p
}

// Start starts the provider again on its port, with the key it had. Sessions, codes and refresh tokens are gone.
func (p *OIDC) Start(t testing.TB) {
	t.Helper()
	node := Need(t, "oidc-provider", "node")[0]
	script, dir := scriptFile(t, "oidc-provider.mjs"), filepath.Dir(p.config)
	p.process = Start(t, dir, []string{"NODE_NO_WARNINGS=1"}, node, script, p.config)
	p.process.Wait(t, "discovery of oidc-provider", func() error { return discoveryAnswers(p.Issuer) })
}

// Stop ends the provider; connections are refused from then on.
func (p *OIDC) Stop() { p.process.Stop() }

// Output is what the provider printed since it was last started.
func (p *OIDC) Output() string { return p.process.Output() }

func discoveryAnswers(issuer string) error {
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(issuer + "/.well-known/openid-configuration")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// writeOIDCConfig writes what the script reads and returns the file's name.
func writeOIDCConfig(t testing.TB, p *OIDC, o OIDCOptions, port int) string {
	t.Helper()
	if len(o.RedirectURIs) == 0 {
		t.Fatal("the OpenID provider needs at least one redirect URI")
	}
	if o.Algorithm == "" {
		o.Algorithm = "RS256"
	}
	if o.AccessTTL == 0 {
		o.AccessTTL = 10 * time.Minute
	}
	dir := t.TempDir()
	b, err := json.Marshal(map[string]any{
		"modules": p.modules, "port": port, "issuer": p.Issuer, "alg": o.Algorithm, "idTokenClaims": o.IDTokenClaims,
		"accessTTL": int(o.AccessTTL.Seconds()), "keys": filepath.Join(dir, "key.json"),
		"clients": oidcClients(p, o), "people": oidcPeople(),
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func oidcClients(p *OIDC, o OIDCOptions) []map[string]any {
	client := func(id, method string) map[string]any {
		c := map[string]any{
			"client_id": id, "token_endpoint_auth_method": method, "redirect_uris": o.RedirectURIs,
			"grant_types": []string{"authorization_code", "refresh_token"},
		}
		if method != "none" {
			c["client_secret"] = p.ClientSecret
		}
		if len(o.PostLogoutRedirectURIs) > 0 {
			c["post_logout_redirect_uris"] = o.PostLogoutRedirectURIs
		}
		return c
	}
	confidential := client(p.ClientID, "client_secret_basic")
	if o.BackchannelLogoutURI != "" {
		confidential["backchannel_logout_uri"] = o.BackchannelLogoutURI
		confidential["backchannel_logout_session_required"] = true
	}
	return []map[string]any{confidential, client(p.PostClientID, "client_secret_post"), client(p.PublicClientID, "none")}
}

func oidcPeople() []map[string]any {
	var people []map[string]any
	for _, who := range OIDCPeople() {
		people = append(people, map[string]any{
			"username": who.Username, "password": who.Password,
			"claims": map[string]any{
				"sub": who.Subject, "name": who.Name, "preferred_username": who.Username,
				"email": who.Email, "email_verified": who.EmailVerified, "groups": who.Groups,
			},
		})
	}
	return people
}

// NPMDir returns the folder that npm/package.json and its lock file are installed in (npm ci): SALLYPORT_NPM_DIR, or
// build/npm below the module's root.
func NPMDir() (string, error) {
	if dir := os.Getenv("SALLYPORT_NPM_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "build", "npm"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}

// needNPM returns NPMDir when the package is installed there; otherwise the test is skipped or fails, see Missing.
func needNPM(t testing.TB, pkg string) string {
	t.Helper()
	dir, err := NPMDir()
	if err != nil {
		Missing(t, pkg, err.Error())
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", pkg, "package.json")); err != nil {
		Missing(t, pkg, "npm's packages are not installed")
	}
	return dir
}

// scriptFile writes an embedded script into the test's folder.
func scriptFile(t testing.TB, name string) string {
	t.Helper()
	b, err := peerScripts.ReadFile("npm/" + name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// JoseVerify verifies a JWT with npm jose and returns its claims. jwks is an http(s) URL or a file. A token that does
// not verify fails the test.
func JoseVerify(t testing.TB, jwks, token, issuer, audience string) map[string]any {
	t.Helper()
	modules := needNPM(t, "jose")
	node := Need(t, "jose", "node")[0]
	return verifyElsewhere(t, "jose", node, scriptFile(t, "jose-verify.mjs"), modules, jwks, token, issuer, audience)
}

// PyJWTVerify verifies a JWT with PyJWT (Debian's python3-jwt and python3-cryptography), like JoseVerify.
func PyJWTVerify(t testing.TB, jwks, token, issuer, audience string) map[string]any {
	t.Helper()
	// Debian's packages belong to Debian's interpreter; another python3 on the PATH would not see them.
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import jwt, cryptography").Run(); err != nil {
		Missing(t, "pyjwt", "python3-jwt and python3-cryptography are not installed")
	}
	return verifyElsewhere(t, "pyjwt", python, scriptFile(t, "pyjwt-verify.py"), jwks, token, issuer, audience)
}

func verifyElsewhere(t testing.TB, who, program string, args ...string) map[string]any {
	t.Helper()
	claims, err := runVerifier(program, args...)
	if err != nil {
		t.Fatalf("%s does not accept the token: %v", who, err)
	}
	return claims
}

func runVerifier(program string, args ...string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).Output() //nolint:gosec // test peers only
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, err
	}
	var claims map[string]any
	if err := json.Unmarshal(out, &claims); err != nil {
		return nil, err
	}
	return claims, nil
}
