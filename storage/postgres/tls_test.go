package postgres

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/identity"
	"sallyport/internal/testenv"
)

func TestTheURLSaysHowTheConnectionIsEncrypted(t *testing.T) {
	pg := testenv.Postgres(t)
	authority := pg.EnableTLS(t)
	pg.Stop()
	pg.Start(t)
	other := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(other, testenv.NewCA(t).PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		mode, authority, host string
		encrypted             string // empty: refused
	}{
		"verified":                      {"verify-full", authority, "127.0.0.1", "t"},
		"of another authority":          {"verify-full", other, "127.0.0.1", ""},
		"of another host":               {"verify-full", authority, "127.0.0.2", ""},
		"required but of any authority": {"require", "", "127.0.0.1", "t"},
		"not wanted":                    {"disable", "", "127.0.0.1", "f"},
	} {
		t.Run(name, func(t *testing.T) {
			database := pg.NewDatabase(t)
			url := strings.Replace(database, "sslmode=disable", "sslmode="+c.mode, 1)
			url = strings.Replace(url, "@127.0.0.1:", "@"+c.host+":", 1)
			if c.authority != "" {
				url += "&sslrootcert=" + c.authority
			}
			s, err := Open(t.Context(), Options{URL: url, MasterKey: newKey(t)})
			if c.encrypted == "" {
				if !errors.Is(err, identity.ErrUnavailable) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			got := pg.Exec(t, database, `SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
				WHERE application_name = 'sallyport' AND datname = current_database()`)
			if got != c.encrypted {
				t.Errorf("encrypted: %s", got)
			}
		})
	}
}
