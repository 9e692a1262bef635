// Package examples holds what an application needs to believe Sallyport's tokens, in three languages, and a web server's
// configuration. This test runs each verifier against tokens of a real broker, and of keys of its own where a broker
// would not make such a token.
package examples

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"sallyport/internal/testenv"
)

// verifier runs an example: the token on standard input, the claims on standard output.
type verifier func(t *testing.T, issuer, audience, jwks, token string) (map[string]any, error)

// program makes a verifier of a command line. A refusal is exit status 1 with the word on standard error; anything else
// (a crash, a missing module) fails the test, since it would refuse everything.
func program(command ...string) verifier {
	return func(t *testing.T, issuer, audience, jwks, token string) (map[string]any, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, command[0], append(command[1:], issuer, audience, jwks)...)
		var out, said bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(token+"\n"), &out, &said
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.ExitCode() == 1 && strings.HasPrefix(said.String(), "refused: "):
			return nil, errors.New(strings.TrimSpace(said.String()))
		case err != nil:
			t.Fatalf("%v\n%s", err, said.String())
		}
		var claims map[string]any
		if err := json.Unmarshal(out.Bytes(), &claims); err != nil {
			t.Fatalf("no claims on standard output: %v\n%s", err, out.String())
		}
		return claims, nil
	}
}

func inGo(t *testing.T) verifier {
	return program(compile(t, "./verify-go"))
}

func inPython(t *testing.T) verifier {
	// Debian's packages belong to Debian's interpreter; another python3 on the PATH would not see them.
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import jwt, cryptography").Run(); err != nil {
		testenv.Missing(t, "pyjwt", "python3-jwt and python3-cryptography are not installed")
	}
	return program(python, "verify-python/verify.py")
}

func inNode(t *testing.T) verifier {
	node := testenv.Need(t, "jose", "node")[0]
	installed, err := testenv.NPMDir()
	if err != nil {
		testenv.Missing(t, "jose", err.Error())
	}
	modules := filepath.Join(installed, "node_modules")
	if _, err := os.Stat(filepath.Join(modules, "jose", "package.json")); err != nil {
		testenv.Missing(t, "jose", "npm's packages are not installed")
	}
	// Node looks for modules beside the script.
	dir := t.TempDir()
	text, err := os.ReadFile("verify-node/verify.mjs")
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(dir, "verify.mjs"), text, 0o600),
			os.Symlink(modules, filepath.Join(dir, "node_modules")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return program(node, filepath.Join(dir, "verify.mjs"))
}

// compile builds a program of this module.
func compile(t *testing.T, pkg string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-o", file, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return file
}

// house is a running demo.
type house struct {
	Issuer, Dial string
	People       []struct{ Username, Password, Provider string }
	jwks         string // where its keys can be read without name resolution for *.localhost
	client       *http.Client
}

func startDemo(t *testing.T) *house {
	t.Helper()
	binary := compile(t, "sallyport/cmd/sallyport")
	p := testenv.Start(t, t.TempDir(), nil, binary, "demo", "--listen", "127.0.0.1:0", "--json")
	h := &house{}
	p.Wait(t, "the demo's line", func() error {
		for line := range strings.Lines(p.Output()) {
			if strings.HasPrefix(line, `{"issuer"`) && strings.HasSuffix(line, "\n") {
				return json.Unmarshal([]byte(line), h)
			}
		}
		return errors.New("not there yet")
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, h.Dial)
	}}
	h.client = &http.Client{Timeout: 30 * time.Second, Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	h.jwks = serve(t, h.get(t, "/.well-known/jwks.json"))
	return h
}

func (h *house) get(t *testing.T, path string) []byte {
	t.Helper()
	resp, err := h.client.Get(h.Issuer + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v", path, resp.Status, err)
	}
	return body
}

// token signs a local person in to an application.
func (h *house) token(t *testing.T, username, application string) string {
	t.Helper()
	password := ""
	for _, p := range h.People {
		if p.Username == username {
			password = p.Password
		}
	}
	question, err := json.Marshal(map[string]string{"username": username, "password": password, "application": application})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.client.Post(h.Issuer+"/api/auth/login", "application/json", bytes.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("sign-in of %s: %s %v", username, resp.Status, err)
	}
	return answer.Token
}

// serve publishes a JWK set and returns its address.
func serve(t *testing.T, jwks []byte) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(jwks)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// edited returns the token with one of its parts changed, the signature kept.
func edited(t *testing.T, token string, part int, change func(map[string]any)) string {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[part])
	var members map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &members)
	}
	if err != nil {
		t.Fatal(err)
	}
	change(members)
	if raw, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	parts[part] = base64.RawURLEncoding.EncodeToString(raw)
	return strings.Join(parts, ".")
}

const ownIssuer = "https://sso.example.com"

// signer makes tokens that a broker would not make any more, with a key of its own.
type signer struct {
	key  *ecdsa.PrivateKey
	jwks string
}

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, serve(t, set)}
}

// sign makes a good token, as far as change leaves it so.
func (s signer) sign(t *testing.T, change func(header map[string]any, claims jwt.MapClaims)) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": ownIssuer, "sub": "somebody", "aud": "reports", "sid": "a-session", "client_id": "reports",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(15 * time.Minute).Unix(), "jti": "one",
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["typ"], token.Header["kid"] = "at+jwt", "k1"
	change(token.Header, claims)
	raw, err := token.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestExamples_BelieveWhatSallyportSignedForThemAndNothingElse(t *testing.T) {
	h, own := startDemo(t), newSigner(t)
	good := h.token(t, "lena", "reports")
	hour := time.Now().Add(-time.Hour).Unix()
	refused := map[string]struct{ issuer, jwks, token string }{
		"a token for another application": {h.Issuer, h.jwks, h.token(t, "lena", "app")},
		"a token for the broker itself":   {h.Issuer, h.jwks, h.token(t, "lena", "sallyport")},
		"a role added by hand": {h.Issuer, h.jwks, edited(t, good, 1, func(claims map[string]any) {
			claims["roles"] = []string{"admin"}
		})},
		"no signature, alg none": {h.Issuer, h.jwks, edited(t, good, 0, func(header map[string]any) {
			header["alg"] = "none"
		})},
		"its signature cut off":   {h.Issuer, h.jwks, good[:strings.LastIndex(good, ".")+1]},
		"another broker's issuer": {"https://sso.other.example", h.jwks, good},
		"a key nobody published":  {h.Issuer, own.jwks, good},
		"no token at all":         {h.Issuer, h.jwks, "good morning"},
		"expired an hour ago": {ownIssuer, own.jwks, own.sign(t, func(_ map[string]any, claims jwt.MapClaims) {
			claims["iat"], claims["nbf"], claims["exp"] = hour-900, hour-900, hour
		})},
		"never expires": {ownIssuer, own.jwks, own.sign(t, func(_ map[string]any, claims jwt.MapClaims) {
			delete(claims, "exp")
		})},
		"not valid yet": {ownIssuer, own.jwks, own.sign(t, func(_ map[string]any, claims jwt.MapClaims) {
			claims["nbf"] = time.Now().Add(time.Hour).Unix()
		})},
		"of another kind than ours": {ownIssuer, own.jwks, own.sign(t, func(header map[string]any, _ jwt.MapClaims) {
			header["typ"] = "JWT"
		})},
	}
	for language, build := range map[string]func(*testing.T) verifier{"go": inGo, "python": inPython, "node": inNode} {
		t.Run(language, func(t *testing.T) {
			verify := build(t)
			claims, err := verify(t, h.Issuer, "reports", h.jwks, good)
			if err != nil || claims["preferred_username"] != "lena" || claims["idp"] != "local" {
				t.Fatalf("a good token of the broker: claims %v, err %v", claims, err)
			}
			// Else the refusals of our own tokens below would say nothing.
			untouched := own.sign(t, func(map[string]any, jwt.MapClaims) {})
			if _, err := verify(t, ownIssuer, "reports", own.jwks, untouched); err != nil {
				t.Fatalf("a good token of our own: %v", err)
			}
			for name, tc := range refused {
				t.Run(name, func(t *testing.T) {
					if claims, err := verify(t, tc.issuer, "reports", tc.jwks, tc.token); err == nil {
						t.Errorf("believed: %v", claims)
					}
				})
			}
		})
	}
}
