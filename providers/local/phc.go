package local

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// What a stored hash may ask for. A row that somebody wrote by hand must not be able to take all memory or minutes of
// time at the next sign-in; a weaker row than today's parameters is read once more and hashed anew.
const (
	maxMemoryKiB   = 256 << 10
	maxIterations  = 16
	maxParallelism = 16
	minSaltBytes   = 8
	minKeyBytes    = 16
	maxPartBytes   = 64
	maxPHCBytes    = 256
)

// errPHC is the cause of every refusal of a stored hash. It never holds any part of the hash.
var errPHC = errors.New("stored password hash")

// phc is a stored password: $argon2id$v=19$m=…,t=…,p=…$salt$key.
type phc struct {
	params    Params
	salt, key []byte
}

// parsePHC reads the one spelling that String writes, within the bounds above. Another order, sign, space, leading
// zero or padding is refused rather than repaired.
func parsePHC(s string) (phc, error) {
	if len(s) > maxPHCBytes {
		return phc{}, fmt.Errorf("%w: longer than %d bytes", errPHC, maxPHCBytes)
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" {
		return phc{}, fmt.Errorf("%w: not a PHC string of five parts", errPHC)
	}
	if parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, fmt.Errorf("%w: not argon2id version %d", errPHC, argon2.Version)
	}
	params, err := parseParams(parts[3])
	if err != nil {
		return phc{}, err
	}
	salt, err := parsePart(parts[4], minSaltBytes)
	if err != nil {
		return phc{}, fmt.Errorf("%w: salt", err)
	}
	key, err := parsePart(parts[5], minKeyBytes)
	if err != nil {
		return phc{}, fmt.Errorf("%w: key", err)
	}
	return phc{params: params, salt: salt, key: key}, nil
}

func parseParams(s string) (Params, error) {
	fields := strings.Split(s, ",")
	if len(fields) != 3 {
		return Params{}, fmt.Errorf("%w: parameters are not m, t, p", errPHC)
	}
	m, err1 := parseNumber(fields[0], "m=", maxMemoryKiB)
	t, err2 := parseNumber(fields[1], "t=", maxIterations)
	p, err3 := parseNumber(fields[2], "p=", maxParallelism)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Params{}, err
	}
	if m < 8*p {
		return Params{}, fmt.Errorf("%w: less than 8 KiB of memory for each lane", errPHC) // RFC 9106 section 3.1
	}
	return Params{MemoryKiB: m, Iterations: t, Parallelism: p}, nil
}

// parseNumber reads a decimal number from 1 to limit.
func parseNumber(s, prefix string, limit uint32) (uint32, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || strconv.FormatUint(n, 10) != digits || n < 1 || n > uint64(limit) {
		return 0, fmt.Errorf("%w: %s is not a number from 1 to %d", errPHC, prefix, limit)
	}
	return uint32(n), nil
}

func parsePart(s string, least int) ([]byte, error) {
	// DecodeString skips line ends, also when strict.
	if strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%w: line end", errPHC)
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < least || len(b) > maxPartBytes {
		return nil, fmt.Errorf("%w: not %d to %d bytes of unpadded base64", errPHC, least, maxPartBytes)
	}
	return b, nil
}

// String writes the PHC string.
func (r phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		r.params.MemoryKiB, r.params.Iterations, r.params.Parallelism,
		base64.RawStdEncoding.EncodeToString(r.salt), base64.RawStdEncoding.EncodeToString(r.key))
}

// weakerThan reports whether hashing again with p would make anything stronger.
func (r phc) weakerThan(p Params) bool {
	return r.params.MemoryKiB < p.MemoryKiB || r.params.Iterations < p.Iterations ||
		r.params.Parallelism < p.Parallelism || len(r.salt) < saltBytes || len(r.key) < keyBytes
}
