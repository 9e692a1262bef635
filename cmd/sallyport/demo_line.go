package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/internal/demo/guide"
)

// The ids of the demo's providers, and the domains that their people's names end in.
const (
	demoLocal, demoDirectory, demoPartner      = "local", "directory", "partner"
	demoCampus, demoPortalKeys, demoPortal     = "campus", "portal-keys", "portal"
	directoryDomain, partnerDomain, campusName = "corp.example", "partner.example", "campus.example"
)

// demoPerson is somebody to try the demo with.
type demoPerson struct {
	Username string `json:"username"`
	// Password is nil for people whom the embedding page vouches for.
	Password *string `json:"password"`
	Provider string  `json:"provider"`

	name   string
	groups []string
	admin  bool
}

// local is the name without its domain.
func (p demoPerson) local() string {
	name, _, _ := strings.Cut(p.Username, "@")
	return name
}

func (p demoPerson) password() string {
	if p.Password == nil {
		return ""
	}
	return *p.Password
}

type demoProvider struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	// LoginURL is where signing in by it begins: for a jwt provider the page that embeds.
	LoginURL string `json:"login_url"`

	title string
}

type demoApplication struct {
	ID  string `json:"id"`
	URL string `json:"url"`
}

// demoLine is what --json prints.
type demoLine struct {
	Issuer        string            `json:"issuer"`
	Dial          string            `json:"dial"`
	People        []demoPerson      `json:"people"`
	Providers     []demoProvider    `json:"providers"`
	Applications  []demoApplication `json:"applications"`
	EmbeddingPage string            `json:"embedding_page"`
	Admin         *demoAdmin        `json:"admin"`
}

type demoAdmin struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// demoApp is an application of the demo, by the way it is protected (see package guide).
type demoApp struct {
	id, title, host, protection, needs string
}

func demoApps(port string) []demoApp {
	return []demoApp{
		{"app", "Host manager", "app.localhost:" + port, guide.ForwardAuth, "viewer"},
		{"reports", "Reports", "reports.localhost:" + port, guide.OfflineToken, "operator"},
		{"live", "Live view", "live.localhost:" + port, guide.Gateway, "viewer"},
	}
}

func newDemoLine(dial, port string, all []demoApp) demoLine {
	line := demoLine{
		Issuer: "http://sso.localhost:" + port, Dial: dial, People: demoPeople(), EmbeddingPage: "http://portal.localhost:" + port + "/",
	}
	hint := line.Issuer + "/login?idp_hint="
	line.Providers = []demoProvider{
		{demoLocal, "local", hint + demoLocal, "Demo accounts"},
		{demoDirectory, "ldap", hint + demoDirectory, "Corp directory"},
		{demoPartner, "oidc", hint + demoPartner, "Partner login"},
		{demoCampus, "saml", hint + demoCampus, "Campus login"},
		{demoPortalKeys, "jwt", line.EmbeddingPage, "Portal"},
	}
	for _, a := range all {
		line.Applications = append(line.Applications, demoApplication{a.id, "http://" + a.host + "/"})
	}
	for _, p := range line.People {
		if p.admin {
			line.Admin = &demoAdmin{p.Username, p.password()}
		}
	}
	return line
}

// portal is the embedding page's origin.
func (l demoLine) portal() string { return strings.TrimSuffix(l.EmbeddingPage, "/") }

// at returns the people of one provider.
func (l demoLine) at(provider string) []demoPerson {
	var out []demoPerson
	for _, p := range l.People {
		if p.Provider == provider {
			out = append(out, p)
		}
	}
	return out
}

// demoPeople are made anew for each run: there are no default passwords anywhere, not even here.
func demoPeople() []demoPerson {
	people := []demoPerson{
		{Username: "lena", Provider: demoLocal, name: "Lena Local", groups: []string{"operator"}},
		{Username: "root", Provider: demoLocal, name: "Rosa Root", groups: []string{"admin"}, admin: true},
		{Username: "alice@" + directoryDomain, Provider: demoDirectory, name: "Alice Ahlborn", groups: []string{"SOC Admins", "Staff"}},
		{Username: "bob@" + directoryDomain, Provider: demoDirectory, name: "Bob Berger", groups: []string{"Staff"}},
		{Username: "ines@" + partnerDomain, Provider: demoPartner, name: "Inés Ibarra", groups: []string{"soc-administrators", "everyone"}},
		{Username: "omar@" + partnerDomain, Provider: demoPartner, name: "Omar Osman", groups: []string{"everyone"}},
		{Username: "sofia@" + campusName, Provider: demoCampus, name: "Sofia Sandberg", groups: []string{"operations", "staff"}},
		{Username: "theo@" + campusName, Provider: demoCampus, name: "Theo Thorsen", groups: []string{"staff"}},
		{Username: "petra", Provider: demoPortalKeys, name: "Petra Paulsen", groups: []string{"operations", "sales"}},
		{Username: "quinn", Provider: demoPortalKeys, name: "Quinn Quist", groups: []string{"sales"}},
	}
	for i := range people {
		if people[i].Provider != demoPortalKeys {
			made := passphrase()
			people[i].Password = &made
		}
	}
	return people
}

// passphrase is easy to type and new each time.
func passphrase() string {
	words := strings.Fields("amber birch cedar delta ember falcon grove harbor indigo jasper kestrel lagoon maple nectar orchid " +
		"pebble quartz raven saffron tundra umber violet willow yarrow zephyr copper dune fjord glacier heron island juniper")
	pick := func(n int) int {
		i, _ := rand.Int(rand.Reader, big.NewInt(int64(n))) // never fails
		return int(i.Int64())
	}
	return fmt.Sprintf("%s-%s-%s-%02d", words[pick(len(words))], words[pick(len(words))], words[pick(len(words))], pick(100))
}

// guide is what the page at the issuer tells. Roles are those that the rules in force give.
func (d *demo) guide(snap *broker.Snapshot) guide.Data {
	data := guide.Data{Issuer: d.line.Issuer, EmbeddingPage: d.line.EmbeddingPage}
	for _, p := range d.line.Providers {
		shown := guide.Provider{ID: p.ID, Title: p.title, Kind: p.Type}
		if p.Type != "jwt" {
			shown.SignInURL = p.LoginURL
		}
		data.Providers = append(data.Providers, shown)
	}
	for _, p := range d.line.People {
		groups := p.groups
		if p.Provider == demoDirectory {
			groups = nil
			for _, g := range p.groups {
				groups = append(groups, "cn="+g+","+d.directory.GroupsDN)
			}
		}
		grant := snap.Mapper.Map(identity.Identity{Provider: p.Provider, Subject: p.Username, Username: p.Username, Groups: groups})
		data.People = append(data.People, guide.Person{
			Username: p.Username, Name: p.name, Password: p.password(), Provider: p.Provider, Groups: p.groups, Roles: grant.Roles,
		})
	}
	for i, a := range d.apps {
		data.Applications = append(data.Applications, guide.Application{
			ID: a.id, Title: a.title, URL: d.line.Applications[i].URL, Protection: a.protection, Roles: []string{a.needs},
		})
	}
	if d.line.Admin != nil {
		data.AdminUser = d.line.Admin.Username
	}
	return data
}

// tell prints the guide, or one line of JSON.
func (d *demo) tell(c *console, asJSON bool) {
	if asJSON {
		_ = json.NewEncoder(c.out).Encode(d.line)
		return
	}
	_, _ = fmt.Fprintf(c.out, "\nSallyport demo. Everything there is to try stands on one page; Ctrl-C ends it all and leaves nothing behind.\n\n")
	_, _ = fmt.Fprintf(c.out, "  %-16s %s\n", "Start here", d.line.Issuer+"/")
	for i, a := range d.apps {
		_, _ = fmt.Fprintf(c.out, "  %-16s %-36s %s, needs the role %s\n", a.title, d.line.Applications[i].URL, a.protection, a.needs)
	}
	_, _ = fmt.Fprintf(c.out, "  %-16s %-36s shows the %s in a frame\n", "Portal", d.line.EmbeddingPage, d.apps[0].title)
	_, _ = fmt.Fprintf(c.out, "  %-16s %-36s who am I, sessions, API keys\n\n", "Your account", d.line.Issuer+"/me")
	_, _ = fmt.Fprintf(c.out, "  %-22s %-30s %-12s %s\n", "name", "password", "provider", "groups there")
	for _, p := range d.line.People {
		typed := p.password()
		if p.Password == nil {
			typed = "(nothing is typed: the portal)"
		}
		_, _ = fmt.Fprintf(c.out, "  %-22s %-30s %-12s %s\n", p.Username, typed, p.Provider, strings.Join(p.groups, ", "))
	}
	_, _ = fmt.Fprintf(c.out, "\nA token for a program:\n\n  curl -s --resolve %s:127.0.0.1 %s/api/auth/login \\\n"+
		"    -H 'Content-Type: application/json' -d '{\"username\":\"lena\",\"password\":\"%s\",\"application\":\"reports\"}'\n\n",
		strings.TrimPrefix(d.line.Issuer, "http://"), d.line.Issuer, d.line.People[0].password())
}
