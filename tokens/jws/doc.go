// Package jws owns the strict reading of signed messages that others hand us (and of our own): one compact JWS, one
// JSON object, one set of public keys. It says whether a signature is right; what the claims must say, and whom they
// speak of, is left to its callers.
//
// Three rules hold everywhere. A message that two readers could understand differently is refused, never repaired. The
// algorithm comes from the key, never from the message alone. Nothing inside a message chooses a key, except a kid that
// picks from the set already configured for its issuer.
package jws
