package testenv_test

import (
	"net"
	"net/url"
	"os"
	"testing"

	"sallyport/internal/testenv"
)

func TestPostgresKeepsItsDataOverARestart(t *testing.T) {
	pg := testenv.Postgres(t)
	one, two := pg.NewDatabase(t), pg.NewDatabase(t)
	pg.Exec(t, one, "CREATE TABLE kept (x TEXT); INSERT INTO kept VALUES ('a;''b')")
	if got := pg.Exec(t, two, "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'"); got != "0" {
		t.Errorf("the other database has it %s times", got)
	}
	if n := pg.CutConnections(t, one, "true"); n != 0 {
		t.Errorf("%d connections were left", n)
	}
	pg.Stop()
	u, err := url.Parse(one)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", u.Host); err == nil {
		_ = c.Close()
		t.Error("something still listens")
	}
	pg.Start(t)
	if got := pg.Exec(t, one, "SELECT x FROM kept"); got != "a;'b" {
		t.Errorf("kept %q", got)
	}
}

func TestASharedPostgresIsOneServerUntilItIsClosed(t *testing.T) {
	var shared testenv.SharedPostgres
	var dir string
	for range 2 {
		t.Run("a test that ends", func(t *testing.T) {
			pg := shared.Get(t)
			if dir != "" && pg.Dir != dir {
				t.Error("there are two servers")
			}
			dir = pg.Dir
			pg.Exec(t, pg.URL, "SELECT 1")
		})
	}
	if dir == "" {
		t.Skip("no server was started")
	}
	shared.Close()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left (%v)", err)
	}
}
