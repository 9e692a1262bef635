package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sallyport/internal/testenv"
)

// demoLine is the one line of sallyport demo --json, read strictly.
type demoLine struct {
	Issuer    string       `json:"issuer"`
	Dial      string       `json:"dial"`
	People    []demoPerson `json:"people"`
	Providers []struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		LoginURL string `json:"login_url"`
	} `json:"providers"`
	Applications []struct {
		ID  string `json:"id"`
		URL string `json:"url"`
	} `json:"applications"`
	Admin *struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"admin"`
}

type demoPerson struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Provider string `json:"provider"`
}

// demo starts the demonstration and reads its line; temp is the only place where it may leave something.
func demo(t *testing.T, temp string) (*program, demoLine) {
	t.Helper()
	p := start(t, t.TempDir(), []string{"TMPDIR=" + temp}, "demo", "--listen", "127.0.0.1:0", "--json")
	p.wait(t, "the line of JSON", func() error {
		if !strings.HasSuffix(p.stdout.String(), "\n") {
			return errors.New("it is not there")
		}
		return nil
	})
	out := p.stdout.String()
	if strings.Count(out, "\n") != 1 {
		t.Errorf("standard output has more than one line:\n%s", out)
	}
	var line demoLine
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&line); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return p, line
}

func TestTheDemoLetsEverybodyInAndLeavesNothingBehind(t *testing.T) {
	b := testenv.Chromium(t, testenv.BrowserOptions{})
	temp := t.TempDir()
	p, line := demo(t, temp)
	w := &world{t: t, issuer: line.Issuer, server: p}
	types := map[string]string{}
	for _, provider := range line.Providers {
		types[provider.ID] = provider.Type
		if !strings.HasPrefix(provider.LoginURL, line.Issuer+"/") {
			t.Errorf("login_url of %s is %s", provider.ID, provider.LoginURL)
		}
	}
	applications := map[string]string{}
	for _, a := range line.Applications {
		applications[a.ID] = a.URL
	}
	if line.Admin == nil || len(line.People) < 6 || applications["app"] == "" || applications["reports"] == "" {
		t.Fatalf("the line is not complete: %+v", line)
	}
	if err := dial(line.Dial); err != nil {
		t.Error(err)
	}
	doors := map[string]int{}
	for _, who := range line.People {
		kind := types[who.Provider]
		doors[kind]++
		t.Run(kind+" "+who.Username, func(t *testing.T) {
			if kind == "oidc" {
				tab := b.NewContext()
				tab.Open(applications["app"] + "deep?x=1")
				tab.WaitURL(line.Issuer + "/login")
				tab.Fill("E-mail or user name", who.Username)
				tab.Click("Continue")
				upstream(t, tab, line.Issuer)
				tab.Fill("[type=password]", who.Password)
				tab.Click("[type=submit]")
				tab.WaitURL(applications["app"] + "deep?x=1")
				tab.WaitText(who.Username)
				return
			}
			token := w.token(person{"", who.Username, who.Password}, "app")
			a := get(t, applications["app"]+"api/me", "Authorization", "Bearer "+token)
			roles, _ := a.json(t)["roles"].([]any)
			if a.status != http.StatusOK || len(roles) == 0 {
				t.Errorf("the application answers %d %s", a.status, a.body)
			}
		})
	}
	if doors["local"] < 2 || doors["ldap"] < 2 || doors["oidc"] < 2 {
		t.Errorf("people by kind of provider: %v", doors)
	}
	if !slices.ContainsFunc(line.People, func(who demoPerson) bool {
		return who.Username == line.Admin.Username && who.Password == line.Admin.Password
	}) {
		t.Error("the administrator is not among the people")
	}

	if err := p.signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d after SIGINT", code)
	}
	p.gone(t)
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	l, err := net.Listen("tcp", line.Dial)
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	l.Close()
}

// upstream waits until the browser has left for the provider's own page.
func upstream(t *testing.T, b *testenv.Browser, issuer string) {
	t.Helper()
	err := testenv.Eventually(patience, nil, func() error {
		if at := b.URL(); strings.HasPrefix(at, issuer) || b.Eval(`!!document.querySelector("[type=password]")`) != true {
			return fmt.Errorf("the browser is at %s", at)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func dial(address string) error {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return err
}

func TestTheDemoListensOnLoopbackOnly(t *testing.T) {
	r := run(t, t.TempDir(), "", []string{"TMPDIR=" + t.TempDir()}, "demo", "--listen", "0.0.0.0:0", "--json")
	if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "loopback") {
		t.Errorf("exit code %d, %q, %q", r.code, r.stdout, r.stderr)
	}
}
