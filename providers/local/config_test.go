package local

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"sallyport/providers"
)

func decode(t *testing.T, text string) (*Config, error) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	c := &Config{}
	return c, d.Decode(c)
}

func TestConfig_Validate(t *testing.T) {
	for name, tc := range map[string]struct{ yaml, refused, warned string }{
		"nothing said":                    {yaml: "{}"},
		"the defaults said aloud":         {yaml: "{password: {min_length: 15}, argon2: {memory_kib: 19456, iterations: 2, parallelism: 1}}"},
		"a minimum of 14":                 {yaml: "{password: {min_length: 14}}", warned: "password.min_length: "},
		"a minimum of 8":                  {yaml: "{password: {min_length: 8}}", warned: "password.min_length: "},
		"a minimum of 7":                  {yaml: "{password: {min_length: 7}}", refused: "password.min_length: "},
		"a negative minimum":              {yaml: "{password: {min_length: -1}}", refused: "password.min_length: "},
		"a minimum of 64":                 {yaml: "{password: {min_length: 64}}"},
		"a minimum of 65":                 {yaml: "{password: {min_length: 65}}", refused: "password.min_length: "},
		"three classes":                   {yaml: "{password: {character_classes: 3}}", warned: "password.character_classes: "},
		"five classes":                    {yaml: "{password: {character_classes: 5}}", refused: "password.character_classes: "},
		"too little memory":               {yaml: "{argon2: {memory_kib: 19455}}", refused: "argon2.memory_kib: "},
		"too much memory":                 {yaml: "{argon2: {memory_kib: 262145}}", refused: "argon2.memory_kib: "},
		"one iteration":                   {yaml: "{argon2: {iterations: 1}}", refused: "argon2.iterations: "},
		"seventeen iterations":            {yaml: "{argon2: {iterations: 17}}", refused: "argon2.iterations: "},
		"seventeen lanes":                 {yaml: "{argon2: {parallelism: 17}}", refused: "argon2.parallelism: "},
		"the most that may be asked for":  {yaml: "{argon2: {memory_kib: 262144, iterations: 16, parallelism: 16}}"},
		"two mistakes are both mentioned": {yaml: "{password: {min_length: 3}, argon2: {iterations: 1}}", refused: "argon2.iterations: "},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := decode(t, tc.yaml)
			if err != nil {
				t.Fatal(err)
			}
			switch err := c.Validate(); {
			case tc.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused)):
				t.Errorf("error is %v, want one about %q", err, tc.refused)
			}
			if tc.refused != "" {
				if _, err := c.Open(t.Context(), "staff", "", providers.Env{}); err == nil {
					t.Error("opened all the same")
				}
				return
			}
			switch w := c.Warnings(); {
			case tc.warned == "" && len(w) > 0:
				t.Errorf("warned: %q", w)
			case tc.warned != "" && (len(w) != 1 || !strings.HasPrefix(w[0], tc.warned)):
				t.Errorf("warnings are %q, want one about %q", w, tc.warned)
			}
		})
	}
}

func TestConfig_UnknownAndWiredFieldsAreNoConfiguration(t *testing.T) {
	for _, text := range []string{
		"{passwords: {}}", "{password: {max_length: 12}}", "{argon2: {time: 1}}", "{people: {}}", "{hasher: {}}",
	} {
		if _, err := decode(t, text); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}

func TestConfig_OpenNeedsItsWiring(t *testing.T) {
	for name, c := range map[string]*Config{
		"nothing":   {},
		"no hasher": {People: newDirectory()},
		"no people": {Hasher: NewHasher(HasherOptions{})},
	} {
		if _, err := c.Open(t.Context(), "staff", "", providers.Env{}); err == nil {
			t.Errorf("opened with %s", name)
		}
	}
}

func TestConfig_TitleIsNeverEmpty(t *testing.T) {
	c := &Config{People: newDirectory(), Hasher: NewHasher(HasherOptions{})}
	p, err := c.Open(t.Context(), "staff", "", providers.Env{})
	if err != nil || p.Info().Title != "staff" {
		t.Errorf("%+v, %v", p, err)
	}
	if !c.TakesPassword() {
		t.Error("this kind takes passwords")
	}
}
