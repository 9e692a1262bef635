package testenv

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const (
	postgresPeer     = "postgres"
	postgresUser     = "app"
	postgresPassword = "app-database-pass"
)

// PostgresServer is a running PostgreSQL server on 127.0.0.1 with an empty database. What it stores does not survive a
// power cut, and nothing else about it is different from a server in service.
type PostgresServer struct {
	// URL is the database "app", which its user owns together with the server.
	URL string
	// Dir is the server's folder, where its socket is.
	Dir string
	// Process is the server; Start replaces it.
	Process *Process

	owner   testing.TB
	bin     string
	prefix  []string // runs a command as the server's user
	port    int
	counter int
	mu      sync.Mutex
}

// Postgres starts a server that goes with the test. Where PostgreSQL is not installed the test is skipped, see Missing.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	p := &PostgresServer{owner: t, bin: postgresPrograms(t), Dir: Dir(t), port: Port(t)}
	p.URL = p.database("app")
	p.prefix = asNobody(t, postgresPeer, p.Dir)
	p.initialise(t)
	p.Start(t)
	p.run(t, "postgres", "CREATE DATABASE app")
	return p
}

// SharedPostgres is a server for all tests of a package: started for the first that needs it, ended by Close in TestMain.
// The zero value is ready.
type SharedPostgres struct {
	mu     sync.Mutex
	server *PostgresServer
	keeper keeper
}

// keeper lets what one test started outlive it.
type keeper struct {
	testing.TB
	undo []func()
}

func (k *keeper) Cleanup(f func()) { k.undo = append(k.undo, f) }

// Get returns the server.
func (s *SharedPostgres) Get(t testing.TB) *PostgresServer {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		s.keeper.TB = t
		s.server = Postgres(&s.keeper)
	}
	return s.server
}

// Close ends the server, if there is one.
func (s *SharedPostgres) Close() {
	for _, undo := range slices.Backward(s.keeper.undo) {
		undo()
	}
}

// postgresPrograms finds the folder of the newest server. What is on the PATH is often a wrapper of another version.
func postgresPrograms(t testing.TB) string {
	t.Helper()
	servers, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(servers) == 0 {
		Missing(t, postgresPeer, "there is no server below /usr/lib/postgresql")
	}
	newest := slices.MaxFunc(servers, func(a, b string) int { return postgresVersion(a) - postgresVersion(b) })
	return filepath.Dir(newest)
}

func postgresVersion(program string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(program))))
	return version
}

// initialise makes the server's data.
func (p *PostgresServer) initialise(t testing.TB) {
	t.Helper()
	secret := filepath.Join(p.Dir, "password")
	if err := os.WriteFile(secret, []byte(postgresPassword), 0o644); err != nil { //nolint:gosec // of a test's server
		t.Fatal(err)
	}
	p.command(t, "initdb", "-D", p.data(), "-U", postgresUser, "--pwfile", secret, "-A", "scram-sha-256", "-E", "UTF8",
		"--locale=C", "--no-sync")
	settings := fmt.Sprintf("listen_addresses = '127.0.0.1, 127.0.0.2'\nport = %d\nunix_socket_directories = '%s'\nfsync = off\n"+
		"full_page_writes = off\nshared_buffers = 32MB\nmax_connections = 100\n", p.port, p.Dir)
	f, err := os.OpenFile(filepath.Join(p.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(settings)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Durable has commits wait for the disk from now on, as in service. It is slow, and for measuring.
func (p *PostgresServer) Durable(t testing.TB) {
	t.Helper()
	for _, sql := range []string{
		"ALTER SYSTEM SET fsync = on", "ALTER SYSTEM SET full_page_writes = on", "SELECT pg_reload_conf()",
	} {
		p.run(t, "postgres", sql)
	}
}

// Start starts the server again after Stop: same port, same data.
func (p *PostgresServer) Start(t testing.TB) {
	t.Helper()
	command := append(slices.Clone(p.prefix), filepath.Join(p.bin, "postgres"), "-D", p.data())
	p.Process = Start(p.owner, p.Dir, nil, command[0], command[1:]...)
	p.owner.Cleanup(p.Stop) // before the process's own end, which would wait for its clients
	p.Process.Wait(t, "PostgreSQL", func() error { _, err := p.psql("postgres", "SELECT 1"); return err })
}

// EnableTLS has the server offer TLS from its next start on. It returns the PEM file of the authority that signed it.
func (p *PostgresServer) EnableTLS(t testing.TB) string {
	t.Helper()
	files := NewCA(t).Files(t, p.Dir)
	asNobody(t, postgresPeer, p.Dir) // the files are the server's
	for _, sql := range []string{
		"ALTER SYSTEM SET ssl_cert_file = '" + files.Certificate + "'", "ALTER SYSTEM SET ssl_key_file = '" + files.Key + "'",
		"ALTER SYSTEM SET ssl = on",
	} {
		p.run(t, "postgres", sql)
	}
	return files.CA
}

// Stop ends the server at once, as a crash would: clients see their connections die. Its data stay.
func (p *PostgresServer) Stop() {
	select {
	case <-p.Process.Done():
		return
	default:
	}
	_ = p.Process.Signal(syscall.SIGQUIT)
	<-p.Process.Done()
}

// NewDatabase returns the URL of a new, empty database that goes with the test.
func (p *PostgresServer) NewDatabase(t testing.TB) string {
	t.Helper()
	p.mu.Lock()
	p.counter++
	name := fmt.Sprint("test", p.counter)
	p.mu.Unlock()
	p.run(t, "postgres", "CREATE DATABASE "+name)
	// A server that a test left stopped drops nothing.
	t.Cleanup(func() { _, _ = p.psql("postgres", "DROP DATABASE "+name+" WITH (FORCE)") })
	return p.database(name)
}

// databaseName is the name in a database's URL.
func databaseName(t testing.TB, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// Exec runs SQL in a database, behind the back of whoever uses it, and returns what it prints.
func (p *PostgresServer) Exec(t testing.TB, database, sql string) string {
	t.Helper()
	return p.run(t, databaseName(t, database), sql)
}

// CutConnections ends the connections to a database for which the condition on pg_stat_activity holds, and returns how
// many it were.
func (p *PostgresServer) CutConnections(t testing.TB, database, condition string) int {
	t.Helper()
	n, err := strconv.Atoi(p.run(t, "postgres", fmt.Sprintf(`SET client_min_messages = error; SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE pid <> pg_backend_pid() AND datname = '%s' AND (%s)`, databaseName(t, database), condition)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (p *PostgresServer) data() string { return filepath.Join(p.Dir, "data") }

func (p *PostgresServer) database(name string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", postgresUser, postgresPassword, p.port, name)
}

// command runs one of PostgreSQL's programs as the server's user.
func (p *PostgresServer) command(t testing.TB, program string, args ...string) {
	t.Helper()
	command := append(slices.Clone(p.prefix), filepath.Join(p.bin, program))
	command = append(command, args...)
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // test peers only
	cmd.Dir = p.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

func (p *PostgresServer) run(t testing.TB, database, sql string) string {
	t.Helper()
	out, err := p.psql(database, sql)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// psql runs SQL and returns the rows, columns separated by "|".
func (p *PostgresServer) psql(database, sql string) (string, error) {
	cmd := exec.Command(filepath.Join(p.bin, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", p.Dir, //nolint:gosec // test
		"-p", strconv.Itoa(p.port), "-U", postgresUser, "-d", database, "-c", sql)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+postgresPassword)
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", errors.Join(fmt.Errorf("psql: %w", err), errors.New(text))
	}
	return text, nil
}
