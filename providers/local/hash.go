package local

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"sallyport/identity"
)

// What new hashes are made with, besides Params.
const (
	saltBytes = 16
	keyBytes  = 32
)

// The least that OWASP's password storage guidance accepts for Argon2id, and our defaults.
const (
	minMemoryKiB   = 19456
	minIterations  = 2
	minParallelism = 1
)

// Params are the cost of one hash. A field left at zero takes its default.
type Params struct {
	// MemoryKiB is the memory of one run in KiB: 19456 by default and at least, 262144 at most.
	MemoryKiB uint32 `yaml:"memory_kib"`
	// Iterations are the passes over it: 2 by default and at least, 16 at most.
	Iterations uint32 `yaml:"iterations"`
	// Parallelism is the number of lanes: 1 by default, 16 at most. A run takes as many cores.
	Parallelism uint32 `yaml:"parallelism"`
}

func (p Params) orDefaults() Params {
	if p.MemoryKiB == 0 {
		p.MemoryKiB = minMemoryKiB
	}
	if p.Iterations == 0 {
		p.Iterations = minIterations
	}
	if p.Parallelism == 0 {
		p.Parallelism = minParallelism
	}
	return p
}

func (p Params) validate() error {
	return errors.Join(
		within("argon2.memory_kib", p.MemoryKiB, minMemoryKiB, maxMemoryKiB),
		within("argon2.iterations", p.Iterations, minIterations, maxIterations),
		within("argon2.parallelism", p.Parallelism, minParallelism, maxParallelism),
	)
}

func within(key string, n, least, most uint32) error {
	if n < least || n > most {
		return fmt.Errorf("%s: %d is not between %d and %d", key, n, least, most)
	}
	return nil
}

// HasherOptions bound what password hashing may take from the process. A field left at zero takes its default.
type HasherOptions struct {
	// Slots is how many hashes run at once: GOMAXPROCS by default.
	Slots int
	// Queue is how many may wait for a slot: four for each slot by default. A negative number means none.
	Queue int
	// Wait is how long one waits for a slot at most: 2 s by default.
	Wait time.Duration
}

// Hasher runs Argon2id for every local provider of a process, a bounded number of runs at a time. Without the bound a
// burst of wrong passwords takes all memory (19 MiB each) and starves everything else; without the bound on the queue
// it keeps people waiting for answers that nobody reads any more.
type Hasher struct {
	slots   chan struct{}
	queue   int64
	wait    time.Duration
	waiting atomic.Int64
	runs    atomic.Uint64
	refused atomic.Uint64
	// derive is Argon2id; tests hold it still.
	derive func(password, salt []byte, p Params, keyLen uint32) []byte
}

// NewHasher makes the one hasher of a process.
func NewHasher(o HasherOptions) *Hasher {
	if o.Slots <= 0 {
		o.Slots = runtime.GOMAXPROCS(0)
	}
	if o.Queue == 0 {
		o.Queue = 4 * o.Slots
	}
	if o.Wait <= 0 {
		o.Wait = 2 * time.Second
	}
	return &Hasher{
		slots:  make(chan struct{}, o.Slots),
		queue:  int64(max(o.Queue, 0)),
		wait:   o.Wait,
		derive: argon2id,
	}
}

// Runs counts the hashes begun so far.
func (h *Hasher) Runs() uint64 { return h.runs.Load() }

// Running is how many hashes run now.
func (h *Hasher) Running() int { return len(h.slots) }

// Queued is how many wait for a slot now.
func (h *Hasher) Queued() int { return int(h.waiting.Load()) }

// Refused counts those sent away so far because the queue was full or the wait too long.
func (h *Hasher) Refused() uint64 { return h.refused.Load() }

func argon2id(password, salt []byte, p Params, keyLen uint32) []byte {
	//nolint:gosec // parallelism is at most 16, see parsePHC and validate
	return argon2.IDKey(password, salt, p.Iterations, p.MemoryKiB, uint8(p.Parallelism), keyLen)
}

// hash makes a new PHC string.
func (h *Hasher) hash(ctx context.Context, p Params, password string) (string, error) {
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	return h.create(p, password), nil
}

// tryHash is hash where it need not wait; ok is false when it would have to.
func (h *Hasher) tryHash(p Params, password string) (s string, ok bool) {
	select {
	case h.slots <- struct{}{}:
	default:
		return "", false
	}
	defer h.release()
	return h.create(p, password), true
}

// verify reports whether the password is the stored one.
func (h *Hasher) verify(ctx context.Context, stored phc, password string) (bool, error) {
	if err := h.acquire(ctx); err != nil {
		return false, err
	}
	defer h.release()
	key := h.run(password, stored.salt, stored.params, len(stored.key))
	return subtle.ConstantTimeCompare(key, stored.key) == 1, nil
}

func (h *Hasher) create(p Params, password string) string {
	r := phc{params: p, salt: make([]byte, saltBytes)}
	_, _ = rand.Read(r.salt) // never fails: crypto/rand ends the process instead
	r.key = h.run(password, r.salt, p, keyBytes)
	return r.String()
}

func (h *Hasher) run(password string, salt []byte, p Params, keyLen int) []byte {
	h.runs.Add(1)
	return h.derive([]byte(password), salt, p, uint32(keyLen)) //nolint:gosec // at most maxPartBytes
}

// acquire takes a slot. From then on the context means nothing: the slot is held until the hash is done, also when the
// client has left. Otherwise a client that hangs up at once would start the next run beside one that still goes on.
func (h *Hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	if h.waiting.Add(1) > h.queue {
		h.waiting.Add(-1)
		return h.busy("the queue is full")
	}
	defer h.waiting.Add(-1)
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return h.busy("waited too long for a slot")
	case <-ctx.Done():
		return fmt.Errorf("password hashing: %w: %w", identity.ErrUnavailable, context.Cause(ctx))
	}
}

func (h *Hasher) release() { <-h.slots }

func (h *Hasher) busy(why string) error {
	h.refused.Add(1)
	return identity.WithCode("busy", fmt.Errorf("password hashing: %s: %w", why, identity.ErrUnavailable))
}
