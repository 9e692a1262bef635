// Verify-go checks an access token of Sallyport offline, with coreos/go-oidc, and prints its claims.
//
//	verify-go ISSUER AUDIENCE [JWKS-URL] < token
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: verify-go ISSUER AUDIENCE [JWKS-URL] < token")
	}
	jwks := append(os.Args, os.Args[1]+"/.well-known/jwks.json")[3]
	raw, err := io.ReadAll(io.LimitReader(os.Stdin, 64<<10))
	if err != nil {
		log.Fatal(err)
	}
	claims, err := verify(context.Background(), os.Args[1], os.Args[2], jwks, strings.TrimSpace(string(raw)))
	if err != nil {
		log.Fatal("refused: ", err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(claims)
}

// verify returns the claims of a token that is meant for this audience, now.
func verify(ctx context.Context, issuer, audience, jwks, raw string) (claims map[string]any, err error) {
	ctx = oidc.ClientContext(ctx, &http.Client{Timeout: 5 * time.Second})
	// In a server, make both of these once: the key set keeps the keys and fetches them again only for a new kid.
	keys := oidc.NewRemoteKeySet(ctx, jwks)
	verifier := oidc.NewVerifier(issuer, keys, &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: []string{"ES256", "RS256", "EdDSA"},
	})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	head, _, _ := strings.Cut(raw, ".")
	var header struct{ Typ string }
	b, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || json.Unmarshal(b, &header) != nil || header.Typ != "at+jwt" {
		return nil, errors.New("not an access token") // what was signed for another purpose opens nothing here
	}
	return claims, token.Claims(&claims)
}
