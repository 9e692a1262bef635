package local

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"sallyport/identity"
	"sallyport/providers"
)

var signInTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// directory is a People in memory that notes what was stored.
type directory struct {
	mu     sync.Mutex
	people map[string]Person
	// lookUp and store are answered instead of doing it, when set.
	lookUp, store error
}

func newDirectory(people ...Person) *directory {
	d := &directory{people: map[string]Person{}}
	for _, p := range people {
		d.people[p.Username] = p
	}
	return d
}

func (d *directory) LocalPerson(_ context.Context, _, username string) (Person, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lookUp != nil {
		return Person{}, d.lookUp
	}
	p, ok := d.people[username]
	if !ok {
		return Person{}, identity.ErrNotFound
	}
	return p, nil
}

func (d *directory) SetPasswordHash(_ context.Context, _, subject, hash, ifHash string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.store != nil {
		return d.store
	}
	for name, p := range d.people {
		if p.Subject != subject {
			continue
		}
		if p.PasswordHash != ifHash {
			return identity.ErrConflict
		}
		p.PasswordHash = hash
		d.people[name] = p
		return nil
	}
	return identity.ErrNotFound
}

func (d *directory) hashOf(username string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.people[username].PasswordHash
}

func (d *directory) setHash(username, hash string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.people[username]
	p.PasswordHash = hash
	d.people[username] = p
}

// house is an opened provider with everything a test looks at.
type house struct {
	*Provider
	dir *directory
	log *bytes.Buffer
}

func open(t *testing.T, c Config, people ...Person) house {
	t.Helper()
	dir := newDirectory(people...)
	c.People = dir
	if c.Hasher == nil {
		c.Hasher = NewHasher(HasherOptions{})
	}
	log := &bytes.Buffer{}
	opened, err := c.Open(t.Context(), "staff", "Staff", providers.Env{
		Log: slog.New(slog.NewTextHandler(log, nil)),
		Now: func() time.Time { return signInTime },
	})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := opened.(*Provider)
	if !ok {
		t.Fatalf("opened a %T", opened)
	}
	return house{Provider: p, dir: dir, log: log}
}

// hashOf makes a stored hash, past the policy.
func hashOf(t *testing.T, password string) string {
	t.Helper()
	h, err := NewHasher(HasherOptions{}).hash(t.Context(), Params{}.orDefaults(), normalize(password))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustRefuse(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}
