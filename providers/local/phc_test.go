package local

import (
	"errors"
	"strings"
	"testing"
)

const (
	goodSalt = "AAECAwQFBgcICQoLDA0ODw"
	goodKey  = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	goodPHC  = "$argon2id$v=19$m=19456,t=2,p=1$" + goodSalt + "$" + goodKey
)

func TestLOC01_OnlyOneSpellingOfAStoredHashIsRead(t *testing.T) {
	for name, stored := range map[string]string{
		"empty":                     "",
		"no PHC string":             "password",
		"text before it":            "x" + goodPHC,
		"another variant":           strings.Replace(goodPHC, "argon2id", "argon2i", 1),
		"another version":           strings.Replace(goodPHC, "v=19", "v=16", 1),
		"no version":                strings.Replace(goodPHC, "v=19$", "", 1),
		"a part too many":           goodPHC + "$" + goodKey,
		"parameters out of order":   strings.Replace(goodPHC, "m=19456,t=2,p=1", "t=2,m=19456,p=1", 1),
		"a parameter missing":       strings.Replace(goodPHC, ",p=1", "", 1),
		"a parameter twice":         strings.Replace(goodPHC, ",p=1", ",p=1,p=1", 1),
		"a leading zero":            strings.Replace(goodPHC, "t=2", "t=02", 1),
		"a sign":                    strings.Replace(goodPHC, "t=2", "t=+2", 1),
		"a space":                   strings.Replace(goodPHC, "t=2", "t= 2", 1),
		"no iterations":             strings.Replace(goodPHC, "t=2", "t=0", 1),
		"no lanes":                  strings.Replace(goodPHC, "p=1", "p=0", 1),
		"gigabytes of memory":       strings.Replace(goodPHC, "m=19456", "m=4194304", 1),
		"memory past the bound":     strings.Replace(goodPHC, "m=19456", "m=262145", 1),
		"memory that overflows":     strings.Replace(goodPHC, "m=19456", "m=4294986752", 1),
		"minutes of time":           strings.Replace(goodPHC, "t=2", "t=17", 1),
		"too many lanes":            strings.Replace(goodPHC, "p=1", "p=17", 1),
		"lanes that overflow":       strings.Replace(goodPHC, "p=1", "p=257", 1),
		"too little memory a lane":  strings.Replace(goodPHC, "m=19456", "m=7", 1),
		"a short salt":              strings.Replace(goodPHC, goodSalt, "AAECAwQFBg", 1),
		"a short key":               strings.Replace(goodPHC, goodKey, "AAECAwQFBgcICQoLDA0O", 1),
		"an empty key":              strings.Replace(goodPHC, goodKey, "", 1),
		"an endless key":            strings.Replace(goodPHC, goodKey, strings.Repeat("A", 100), 1),
		"padding":                   goodPHC + "=",
		"loose bits at the end":     goodPHC[:len(goodPHC)-1] + "9",
		"a line end in the key":     goodPHC + "\n",
		"a line end in the salt":    strings.Replace(goodPHC, "AAEC", "AA\nEC", 1),
		"more than anybody writes":  goodPHC + strings.Repeat("A", 300),
		"the URL alphabet":          strings.Replace(goodPHC, "AAEC", "__--", 1),
		"text after the parameters": strings.Replace(goodPHC, "p=1", "p=1x", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parsePHC(stored)
			if !errors.Is(err, errPHC) {
				t.Fatalf("read as %+v, error %v", r, err)
			}
			if stored != "" && strings.Contains(err.Error(), goodKey[:12]) {
				t.Errorf("the error holds part of the hash: %v", err)
			}
		})
	}
	if _, err := parsePHC(strings.Repeat("$", 1<<20)); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a megabyte was looked at: %v", err)
	}
	r, err := parsePHC(goodPHC)
	if err != nil || r.String() != goodPHC {
		t.Errorf("the good one: %v, %v", r, err)
	}
}

func TestLOC01_WeakerThan(t *testing.T) {
	now := Params{}.orDefaults()
	good, err := parsePHC(goodPHC)
	if err != nil {
		t.Fatal(err)
	}
	if good.weakerThan(now) {
		t.Error("a hash of today is called weak")
	}
	short := good
	short.salt = good.salt[:8]
	if !short.weakerThan(now) {
		t.Error("a short salt is not called weak")
	}
	short = good
	short.key = good.key[:16]
	if !short.weakerThan(now) {
		t.Error("a short key is not called weak")
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(goodPHC)
	f.Add("$argon2id$v=19$m=262144,t=16,p=16$" + goodSalt + "$" + goodKey)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, stored string) {
		r, err := parsePHC(stored)
		if err != nil {
			return
		}
		if r.String() != stored {
			t.Errorf("%q is read as %q: two spellings of one hash", stored, r)
		}
		p := r.params
		if p.MemoryKiB > maxMemoryKiB || p.Iterations > maxIterations || p.Parallelism > maxParallelism ||
			p.MemoryKiB < 8*p.Parallelism || p.Iterations < 1 || p.Parallelism < 1 {
			t.Errorf("%q asks for %+v", stored, p)
		}
		if len(r.key) < minKeyBytes || len(r.key) > maxPartBytes || len(r.salt) < minSaltBytes {
			t.Errorf("%q has a salt of %d and a key of %d bytes", stored, len(r.salt), len(r.key))
		}
	})
}
