package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"
)

// The benchmarks measure us against the bare signature in the same run, in turns, and report bare time / our time.

// ratio runs both once per iteration.
func ratio(b *testing.B, ours, bare func()) {
	b.Helper()
	var oursTook, bareTook time.Duration
	for b.Loop() {
		began := time.Now()
		ours()
		middle := time.Now()
		bare()
		oursTook += middle.Sub(began)
		bareTook += time.Since(middle)
	}
	b.ReportMetric(float64(bareTook)/float64(oursTook), "ratio")
	b.ReportMetric(float64(oursTook.Nanoseconds())/float64(b.N), "ours-ns/op")
	b.ReportMetric(0, "ns/op")
}

func usualSpec() Spec {
	s := fullSpec()
	s.Claims = map[string]any{"preferred_username": "ada", "roles": []string{"admin", "viewer"}, "permissions": []string{"*:read"}}
	return s
}

func BenchmarkIssue(b *testing.B) {
	ring := fixedRing(b)
	issuer, spec := NewIssuer(testIssuer, ring, fixedClock(moment())), usualSpec()
	message := make([]byte, 700)
	issue := func(alg Algorithm) func() {
		return func() {
			if _, err := issuer.Issue(alg, spec); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("ES256", func(b *testing.B) {
		key := ring.current[keyUse{algorithm: ES256}].private.(*ecdsa.PrivateKey)
		ratio(b, issue(ES256), func() {
			sum := sha256.Sum256(message)
			if _, err := ecdsa.SignASN1(rand.Reader, key, sum[:]); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("EdDSA", func(b *testing.B) {
		key := ring.current[keyUse{algorithm: EdDSA}].private.(ed25519.PrivateKey)
		ratio(b, issue(EdDSA), func() {
			if _, err := key.Sign(nil, message, crypto.Hash(0)); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func BenchmarkVerify(b *testing.B) {
	ring := fixedRing(b)
	verifier, message := NewVerifier(testIssuer, ring, fixedClock(moment())), make([]byte, 700)
	verify := func(b *testing.B, alg Algorithm) func() {
		b.Helper()
		out, err := NewIssuer(testIssuer, ring, fixedClock(moment())).Issue(alg, usualSpec())
		if err != nil {
			b.Fatal(err)
		}
		return func() {
			if _, err := verifier.Verify(out.Token, testAudience); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("ES256", func(b *testing.B) {
		key := ring.current[keyUse{algorithm: ES256}].private.(*ecdsa.PrivateKey)
		sum := sha256.Sum256(message)
		signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil {
			b.Fatal(err)
		}
		ratio(b, verify(b, ES256), func() {
			sum := sha256.Sum256(message)
			if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) {
				b.Fatal("bare signature")
			}
		})
	})
	b.Run("EdDSA", func(b *testing.B) {
		key := ring.current[keyUse{algorithm: EdDSA}].private.(ed25519.PrivateKey)
		public, signature := key.Public().(ed25519.PublicKey), ed25519.Sign(key, message)
		ratio(b, verify(b, EdDSA), func() {
			if !ed25519.Verify(public, message, signature) {
				b.Fatal("bare signature")
			}
		})
	})
}
