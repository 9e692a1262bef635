// Package op owns what relying parties read of us as an OpenID provider: for now the JWK set that lets applications
// verify our tokens without asking.
package op

import (
	"net/http"

	"sallyport/web/wire"
)

// JWKS answers GET /.well-known/jwks.json (RFC 7517 section 5). Keys are published long before they sign, so that
// caches of five minutes never miss one.
func JWKS(h *wire.House) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		set, err := h.Broker.JWKS(r.Context())
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Access-Control-Allow-Origin", "*") // public keys, no credential is read
		_, err = w.Write(set)
		return err
	}
}
