package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// NginxSite is an application behind nginx.
type NginxSite struct {
	// Host is its name without port; its port is the server's.
	Host string
	// Upstream is host:port of the application.
	Upstream string
}

// NginxOptions say what nginx stands in front of.
type NginxOptions struct {
	// Port on 127.0.0.1; 0 takes any.
	Port int
	// Issuer is Sallyport's host with port, as its configuration names it; Sallyport is where it is reached.
	Issuer, Sallyport string
	// Sites are the applications.
	Sites []NginxSite
	// AnyHost leaves out the server for unknown hosts that the example asks for: the first site answers them too.
	AnyHost bool
}

// NginxServer is a running nginx with examples/nginx/sallyport.conf, once for each site.
type NginxServer struct {
	// Port on 127.0.0.1.
	Port int
	// AccessLog is a file with each request line and referrer as nginx's usual format has them.
	AccessLog string
	// ErrorLog is a file with what nginx complained about.
	ErrorLog string
	// Process is the server.
	Process *Process
}

// Nginx starts nginx until the test ends. Its configuration is the documented example, with the example's values replaced
// and TLS left out.
func Nginx(t testing.TB, o NginxOptions) *NginxServer {
	t.Helper()
	program := Need(t, "nginx", "nginx")[0]
	if o.Port == 0 {
		o.Port = Port(t)
	}
	dir := Dir(t)
	n := &NginxServer{Port: o.Port, AccessLog: filepath.Join(dir, "access.log"), ErrorLog: filepath.Join(dir, "error.log")}
	example := nginxExample(t)
	sites := make([]string, 0, len(o.Sites)+1)
	if !o.AnyHost {
		sites = append(sites, fmt.Sprintf("server { listen 127.0.0.1:%d default_server; return 421; }", o.Port))
	}
	for _, site := range o.Sites {
		sites = append(sites, nginxSite(t, example, o, site))
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(nginxMain(dir, sites)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Process = Start(t, dir, nil, program, "-p", dir, "-e", n.ErrorLog, "-c", file)
	n.Process.WaitPort(t, fmt.Sprintf("127.0.0.1:%d", n.Port))
	return n
}

// nginxMain is what stands around the sites: everything in the test's folder, nothing of the machine's.
func nginxMain(dir string, sites []string) string {
	return strings.ReplaceAll(`daemon off;
worker_processes 1;
pid DIR/nginx.pid;
error_log DIR/error.log info;
events { worker_connections 256; }
http {
    access_log DIR/access.log combined;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
`, "DIR", dir) + strings.Join(sites, "\n") + "\n}\n"
}

// nginxExample reads the documented configuration, so that what people copy is what is tested.
func nginxExample(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "examples", "nginx", "sallyport.conf")) //nolint:gosec // ours
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// nginxSite fills the example in. A value that is not there any more fails the test: the documentation has moved.
func nginxSite(t testing.TB, example string, o NginxOptions, site NginxSite) string {
	t.Helper()
	values := []string{
		"    ssl_certificate /etc/nginx/tls/app.example.com.pem;\n", "",
		"    ssl_certificate_key /etc/nginx/tls/app.example.com.key;\n", "",
		"listen 443 ssl;", fmt.Sprintf("listen 127.0.0.1:%d;", o.Port),
		"server_name app.example.com;", "server_name " + site.Host + ";",
		"https://app.example.com", fmt.Sprintf("http://%s:%d", site.Host, o.Port),
		"app.example.com;", fmt.Sprintf("%s:%d;", site.Host, o.Port),
		"Proto https;", "Proto http;",
		"sso.example.com", o.Issuer,
		"127.0.0.1:8080", o.Sallyport,
		"127.0.0.1:3000", site.Upstream,
	}
	for i := 0; i < len(values); i += 2 {
		if !strings.Contains(example, values[i]) {
			t.Fatalf("examples/nginx/sallyport.conf does not have %q", values[i])
		}
	}
	return strings.NewReplacer(values...).Replace(example)
}

// moduleRoot is the folder of go.mod above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}
