// Package tokens owns our own JWT (RFC 9068): what it says, how it is signed and verified, and the signing keys as
// values. Applications may import it to verify what we issue.
//
// It decides nothing: who the subject is, which claims a profile adds and whether a session still lives are the
// broker's. It keeps nothing: KeyStore is filled by storage, and when a key moves on is decided above. A key set never
// changes here; rotation means a new Keyring, and with it a new Issuer and Verifier. Reading foreign tokens is
// package jws.
package tokens
