package tokens

// Algorithm is a JWS algorithm (RFC 7518 section 3.1, RFC 8037) that we sign with. It comes from configuration or from
// a stored key, never from a token.
type Algorithm string

// The algorithms we sign with. HS256 is for single applications only.
const (
	ES256 Algorithm = "ES256"
	RS256 Algorithm = "RS256"
	EdDSA Algorithm = "EdDSA"
	HS256 Algorithm = "HS256"
)
