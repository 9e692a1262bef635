package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// CaddySite is an application behind Caddy.
type CaddySite struct {
	// Host is its name without port; its port is the server's.
	Host string
	// Upstream is host:port of the application.
	Upstream string
}

// CaddyOptions say what Caddy stands in front of.
type CaddyOptions struct {
	// Port on 127.0.0.1; 0 takes any.
	Port int
	// Issuer is Sallyport's host with port, as its configuration names it; Sallyport is where it is reached.
	Issuer, Sallyport string
	// Sites are the applications.
	Sites []CaddySite
	// AnyHost makes the one site answer for every host, as blocks with several names or a wildcard do.
	AnyHost bool
}

// CaddyServer is a running Caddy with examples/caddy/Caddyfile, once for each site.
type CaddyServer struct {
	// Port on 127.0.0.1.
	Port int
	// Process is the server.
	Process *Process
}

// Caddy starts Caddy until the test ends. Its configuration is the documented example, with the example's values replaced
// and TLS left out.
func Caddy(t testing.TB, o CaddyOptions) *CaddyServer {
	t.Helper()
	program := Need(t, "caddy", "caddy")[0]
	if o.Port == 0 {
		o.Port = Port(t)
	}
	if o.AnyHost && len(o.Sites) != 1 {
		t.Fatal("only a single site can answer for every host")
	}
	example := caddyExample(t)
	dir := Dir(t)
	// Nothing of the machine's: no administration port, no certificates, no ports of its own choice.
	parts := []string{"{\n\tadmin off\n\tauto_https off\n\thttp_port " + fmt.Sprint(o.Port) + "\n\tdefault_bind 127.0.0.1\n}\n"}
	for _, site := range o.Sites {
		parts = append(parts, caddySite(t, example, o, site))
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(strings.Join(parts, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	c := &CaddyServer{Port: o.Port, Process: Start(t, dir, env, program, "run", "--adapter", "caddyfile", "--config", file)}
	c.Process.WaitPort(t, fmt.Sprintf("127.0.0.1:%d", c.Port))
	return c
}

// caddyExample reads the documented configuration, so that what people copy is what is tested.
func caddyExample(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "examples", "caddy", "Caddyfile")) //nolint:gosec // ours
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// caddySite fills the example in. A value that is not there any more fails the test: the documentation has moved.
func caddySite(t testing.TB, example string, o CaddyOptions, site CaddySite) string {
	t.Helper()
	address := fmt.Sprintf("http://%s:%d", site.Host, o.Port)
	if o.AnyHost {
		address = fmt.Sprintf("http://:%d", o.Port)
	}
	values := []string{
		"\napp.example.com {", "\n" + address + " {",
		"Host app.example.com\n", fmt.Sprintf("Host %s:%d\n", site.Host, o.Port),
		"Host sso.example.com\n", "Host " + o.Issuer + "\n",
		"127.0.0.1:8080 {", o.Sallyport + " {",
		"127.0.0.1:3000 {", site.Upstream + " {",
	}
	for i := 0; i < len(values); i += 2 {
		if !strings.Contains(example, values[i]) {
			t.Fatalf("examples/caddy/Caddyfile does not have %q", values[i])
		}
	}
	return strings.NewReplacer(values...).Replace(example)
}
