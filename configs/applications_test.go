package configs

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// houses has what profiles, gateway and embedding speak of; tests add lines from line 12 on.
const houses = `server: {issuer: https://sso.example.com, listen: "127.0.0.1:8080"}
providers:
  local: {type: local}
  portal: {type: jwt, issuer: p, audience: https://sso.example.com}
  other: {type: jwt, issuer: o, audience: https://sso.example.com}
  off: {type: jwt, issuer: q, audience: https://sso.example.com, disabled: true}
roles:
  viewer: {permissions: ["hosts:read"]}
  admin: {permissions: ["hosts:*"]}
branding: {title: House}
log: {level: info}
`

// texts are complaints about the lines that a test added, without their places.
func texts(t *testing.T, complaints []string) []string {
	t.Helper()
	out := []string{}
	for _, c := range complaints {
		_, text, ok := strings.Cut(c, "c.yaml:1")
		if !ok {
			t.Errorf("not in the lines of the test: %s", c)
		}
		_, text, _ = strings.Cut(text, ": ")
		out = append(out, text)
	}
	return out
}

func TestREL08_MistakesInProfiles(t *testing.T) {
	for name, c := range map[string]struct {
		block string // of the profile x
		want  []string
	}{
		"a key that would do nothing": {
			"{routes: {login: /x}, csrf_header: X-A}",
			[]string{
				"profiles.x.routes: is the same for every application; a profile changes claims, cookie, api_key, refresh, token_query",
				"profiles.x.csrf_header: is the same for every application; a profile changes claims, cookie, api_key, refresh, token_query",
			},
		},
		"a key that nobody knows": {
			"{claim: {}}", []string{`profiles.x.claim: unknown key; did you mean "claims"?`},
		},
		"core claims, in whatever case": {
			"{claims: {sub: id, Emb: name, azp: null}}",
			[]string{
				"profiles.x.claims.sub: sub is a core claim and means the same for every application",
				"profiles.x.claims.Emb: emb is a core claim and means the same for every application",
				"profiles.x.claims.azp: azp is a core claim and means the same for every application",
			},
		},
		"a name that is none": {
			`{claims: {"a b": id}}`, []string{`profiles.x.claims.a b: "a b" is not a claim name`},
		},
		"unknown sources": {
			"{claims: {a: rolls, b: {from: groups}, c: {shape: list}, d: {from: id, shape: csv}}}",
			[]string{
				`profiles.x.claims.a: unknown source "rolls"; did you mean "roles"?`,
				`profiles.x.claims.b.from: unknown value "groups"; expected one of id, username, name, email, provider, roles, permissions`,
				"profiles.x.claims.c.from: is required, or value; expected one of id, username, name, email, provider, roles, permissions",
				`profiles.x.claims.d.shape: unknown value "csv"; expected one of list, string, comma, space`,
			},
		},
		"a fixed text takes nothing else": {
			"{claims: {a: {value: x, from: id, shape: string}, b: {value: x, shape: list, rename: {p: q}, only: [v], prefer: [v], template: t}}}",
			[]string{
				"profiles.x.claims.a.from: cannot stand beside value, which is all that the claim says",
				"profiles.x.claims.b.shape: cannot stand beside value, which is all that the claim says",
				"profiles.x.claims.b.rename: cannot stand beside value, which is all that the claim says",
				"profiles.x.claims.b.only: cannot stand beside value, which is all that the claim says",
				"profiles.x.claims.b.prefer: cannot stand beside value, which is all that the claim says",
				"profiles.x.claims.b.template: cannot stand beside value, which is all that the claim says",
			},
		},
		"a fixed text of two lines": {
			`{claims: {a: {value: "x\ny"}}}`,
			[]string{"profiles.x.claims.a.value: must be one line without control characters"},
		},
		"single values have one shape": {
			"{claims: {a: {from: email, shape: list, only: [viewer], prefer: [viewer]}}}",
			[]string{
				"profiles.x.claims.a.shape: cannot be list: email is a single value, and a string",
				"profiles.x.claims.a.only: is for roles and permissions; email is a single value",
				"profiles.x.claims.a.prefer: is for roles or permissions in the shape string: it says which one of them",
			},
		},
		"an order where all are shown": {
			"{claims: {a: {from: roles, prefer: [viewer]}}}",
			[]string{"profiles.x.claims.a.prefer: is for roles or permissions in the shape string: it says which one of them"},
		},
		"roles and permissions that nobody has": {
			`{claims: {a: {from: roles, only: [viewr], rename: {root: x}}, b: {from: permissions, shape: string, prefer: ["hosts:reed"]}}}`,
			[]string{
				`profiles.x.claims.a.only[0]: there is no role "viewr"; did you mean "viewer"?`,
				`profiles.x.claims.a.rename.root: there is no role "root"; expected one of admin, viewer`,
				`profiles.x.claims.b.prefer[0]: no role has the permission "hosts:reed"; did you mean "hosts:read"?`,
			},
		},
		"templates": {
			`{claims: {a: {from: roles, template: "{action}"}, b: {from: permissions, template: fixed}, c: {from: id, template: "{valu}"}}}`,
			[]string{
				"profiles.x.claims.a.template: unknown place {action}; expected one of {value}",
				"profiles.x.claims.b.template: has no place for the value, expected one of {value}, {resource}, {action}",
				"profiles.x.claims.c.template: unknown place {valu}; expected one of {value}",
			},
		},
		"one value that would be read as two": {
			`{claims: {a: {from: roles, shape: comma, rename: {viewer: "x,admin"}}, b: {from: roles, shape: space, template: "a {value}"}}}`,
			[]string{
				"profiles.x.claims.a.rename.viewer: has the separator of the shape comma in it: one value would be read as two",
				"profiles.x.claims.b.template: has the separator of the shape space in it: one value would be read as two",
			},
		},
		"a value without a name": {
			`{claims: {a: {from: roles, rename: {viewer: ""}}}}`,
			[]string{"profiles.x.claims.a.rename.viewer: is empty; only says which values the application gets to see"},
		},
		"cookies that browsers refuse": {
			`{cookie: {name: "a b", domain: co.uk}}`,
			[]string{
				`profiles.x.cookie.name: "a b" is not the name of a cookie: 1 to 64 letters, digits and !#$%&'*+-.^_` + "`|~",
				"profiles.x.cookie.domain: everybody may register a name below co.uk, browsers refuse cookies for all of it",
			},
		},
		"a cookie of one host for many": {
			"{cookie: {name: __host-x, domain: example.com}}",
			[]string{"profiles.x.cookie.name: __Host- is for cookies of one host alone, browsers refuse it together with domain"},
		},
		"cookies of ours": {
			"{cookie: {name: __host-sallyport_lang}}",
			[]string{"profiles.x.cookie.name: names that begin with __Host-sallyport are those of cookies of our own"},
		},
		"domains that are none": {
			"{cookie: {domain: .example.com}}",
			[]string{`profiles.x.cookie.domain: ".example.com" is no domain, expected one in lower case (punycode) such as example.com`},
		},
		"an address for a domain": {
			"{cookie: {domain: 10.0.0.1}}",
			[]string{`profiles.x.cookie.domain: "10.0.0.1" is no domain, expected one in lower case (punycode) such as example.com`},
		},
		"this machine for a domain": {
			"{cookie: {domain: localhost}}",
			[]string{"profiles.x.cookie.domain: everybody may register a name below localhost, browsers refuse cookies for all of it"},
		},
		"words that no cookie knows": {
			"{cookie: {value: jwt, same_site: none}}",
			[]string{
				`profiles.x.cookie.value: unknown value "jwt"; expected one of opaque, token`,
				`profiles.x.cookie.same_site: unknown value "none"; expected one of lax, strict`,
			},
		},
		"keys in headers of proxies": {
			"{api_key: {headers: [x-forwarded-for]}}",
			[]string{"profiles.x.api_key.headers[0]: x-forwarded-for already has a meaning"},
		},
		"keys nowhere": {
			"{api_key: {prefix: A, headers: []}}",
			[]string{
				"profiles.x.api_key.prefix: expected 1 to 20 of a-z, 0-9 and, within, _",
				"profiles.x.api_key.headers: expected at least one header",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := texts(t, refusal(t, houses+"profiles: {x: "+c.block+"}"))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestREL08_MistakesInApplications(t *testing.T) {
	for name, c := range map[string]struct {
		add  string // from line 12 on
		want []string
	}{
		"names of profiles": {
			"profiles: {default: {}, Big: {}}",
			[]string{
				"profiles.default: the profile default is built in and stays as it is; give yours another name",
				`profiles.Big: "Big" is no name of a profile: a-z, 0-9 and . _ -, at most 63, beginning with a letter or digit`,
			},
		},
		"claims of its own": {
			"applications: {a: {claims: {exp: id, r: {from: roles, only: [viewr]}}}}",
			[]string{
				"applications.a.claims.exp: exp is a core claim and means the same for every application",
				`applications.a.claims.r.only[0]: there is no role "viewr"; did you mean "viewer"?`,
			},
		},
		"a cookie for hosts elsewhere": {
			"profiles: {p: {cookie: {domain: example.com}}}\n" +
				"applications: {a: {url: 'https://app.example.org', profile: p}, b: {url: 'https://example.com', profile: p}}",
			[]string{
				"applications.a.profile: the cookie of profile p is for hosts below example.com, and app.example.org is none: " +
					"browsers refuse it",
				"applications.b.profile: the cookie of profile p is for hosts below example.com, and example.com is none: " +
					"browsers refuse it",
			},
		},
		"one cookie for two applications of a host": {
			"profiles: {p: {cookie: {name: s}}}\n" +
				"applications: {a: {url: 'https://x.example.com/a', profile: p}, b: {url: 'https://x.example.com/b', profile: p}}",
			[]string{"applications.b.profile: its cookie s is called like that of a, and browsers send both"},
		},
		"one cookie for two applications of a domain": {
			"profiles: {p: {cookie: {name: s, domain: example.com}}, q: {cookie: {name: s}}}\n" +
				"applications: {a: {url: 'https://x.example.com/', profile: p}, b: {url: 'https://y.example.com/', profile: q}}",
			[]string{"applications.b.profile: its cookie s is called like that of a, and browsers send both"},
		},
		"upstreams that lead back": {
			"applications:\n" +
				"  g: {url: 'https://g.example.com', upstream: {url: 'http://localhost:8080'}}\n" +
				"  h: {url: 'https://h.example.com', upstream: {url: 'http://[::1]:9464'}}\n" +
				"  i: {url: 'https://i.example.com', upstream: {url: 'https://g.example.com'}}\n",
			[]string{
				"applications.g.upstream.url: leads back to the gateway, expected the application's own server",
				"applications.h.upstream.url: leads back to the gateway, expected the application's own server",
				"applications.i.upstream.url: leads back to the gateway, expected the application's own server",
			},
		},
		"upstreams": {
			"applications:\n" +
				"  a: {url: 'https://a.example.com', upstream: {}}\n" +
				"  b: {upstream: {url: 'http://127.0.0.1:1', header_timeout: 0s}}\n" +
				"  c: {url: 'https://c.example.com', upstream: {url: 'http://127.0.0.1:1/path', ca_file: x}}\n" +
				"  d: {url: 'https://d.example.com', upstream: {url: 'https://d.example.com'}}\n" +
				"  e: {url: 'https://e.example.com', upstream: {url: 'http://127.0.0.1:8080'}}\n" +
				"  f: {url: 'https://f.example.com', upstream: {url: 'https://u:p@10.0.0.1'}}\n",
			[]string{
				"applications.a.upstream.url: is required, expected the application's own server such as http://127.0.0.1:8081",
				"applications.b.upstream: needs the application's url: the gateway knows an application by its host",
				"applications.b.upstream.header_timeout: 0s is out of bounds, expected 1s to 10m",
				"applications.c.upstream.url: must have no path, since requests keep theirs; expected http://127.0.0.1:1",
				"applications.c.upstream.ca_file: is for https",
				"applications.d.upstream.url: leads back to the gateway, expected the application's own server",
				"applications.e.upstream.url: leads back to the gateway, expected the application's own server",
				"applications.f.upstream.url: must have no user, query or fragment",
			},
		},
		"rules without pages": {
			"applications: {a: {rules: [{path: /}]}}",
			[]string{"applications.a.rules: need the application's url: rules speak of its paths"},
		},
		"paths of rules": {
			"applications: {a: {url: 'https://a.example.com/x', rules: [{}, {path: x}, {path: '/x/%2e'}, {path: '/x/*'},\n" +
				"  {path: '/x//y'}, {path: /x/../y}, {path: /.sallyport/}, {path: /y}, {path: /x}, {path: /x/}, {path: /xy}]}}",
			[]string{
				"applications.a.rules[0].path: is required, expected a path such as /admin/",
				"applications.a.rules[1].path: must begin with /",
				`applications.a.rules[2].path: is compared with decoded paths as it stands: no %, \, ;, query or pattern; one that ends in / is a prefix`,
				`applications.a.rules[3].path: is compared with decoded paths as it stands: no %, \, ;, query or pattern; one that ends in / is a prefix`,
				"applications.a.rules[4].path: has empty or dot segments, which no request that we let through has",
				"applications.a.rules[5].path: has empty or dot segments, which no request that we let through has",
				"applications.a.rules[6].path: the path /.sallyport is this server's own on every application's host",
				"applications.a.rules[7].path: lies outside of the application, which is at /x/",
				"applications.a.rules[10].path: lies outside of the application, which is at /x/",
			},
		},
		"what rules say": {
			"applications: {a: {url: 'https://a.example.com', rules: [{path: /a, methods: [get], carriers: [cookies], require: [viewr]},\n" +
				"  {path: /b, public: true, require: [viewer]}, {path: /c, rate: {}}, {path: /d, rate: {requests: 0, per: 25h}}]}}",
			[]string{
				`applications.a.rules[0].methods[0]: "get" is no method, expected one in capitals such as GET`,
				`applications.a.rules[0].carriers[0]: unknown carrier "cookies"; did you mean "cookie"?`,
				`applications.a.rules[0].require[0]: there is no role "viewr"; did you mean "viewer"?`,
				"applications.a.rules[1].public: lets everybody in and goes with neither carriers nor require",
				"applications.a.rules[2].rate.requests: expected a number from 1 to 1000000",
				"applications.a.rules[2].rate.per: 0s is out of bounds, expected 1s to 24h",
				"applications.a.rules[3].rate.requests: expected a number from 1 to 1000000",
				"applications.a.rules[3].rate.per: 25h is out of bounds, expected 1s to 24h",
			},
		},
		"rules that say the same": {
			"applications: {a: {url: 'https://a.example.com', rules: [{path: /a, methods: [GET, PUT]}, {path: /a, methods: [PUT, GET]}]}}",
			[]string{"applications.a.rules[1]: is the same as rules[0]"},
		},
		"rules without end": {
			"applications: {a: {url: 'https://a.example.com', rules: [" + strings.Repeat("{path: /a}, ", maxAccessRules+1) + "]}}",
			[]string{"applications.a.rules: are more than 500"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, texts(t, refusal(t, houses+c.add))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// framed are applications for embedders: one with pages, one below a path of an embedder's origin, one without pages.
const framed = `
applications:
  reports: {url: "https://reports.example.com/"}
  below: {url: "https://portal.example.org/below/"}
  svc: {}
`

func TestREL08_MistakesInEmbedders(t *testing.T) {
	const good = "origins: ['https://portal.example.org'], applications: [reports], provider: portal"
	for name, c := range map[string]struct {
		block string // of the embedder p
		want  []string
	}{
		"nothing": {
			"{}",
			[]string{
				"applications: is required: which applications its pages may frame",
				"origins: is required: where the embedding pages are, such as https://portal.example.com",
				"provider: is required: the provider of type jwt that verifies its tokens",
				"relation: is required; expected one of proxied, same_site, cross_site",
			},
		},
		"keys that are not there": {
			"{relation: cross_site, " + good + ", handoff: [code], bind_jwt: required}",
			[]string{
				"bind_jwt: unknown key; expected one of display_name, enabled, relation, origins, applications, provider, max_roles, " +
					"session, mount, compat_global, debug",
				"handoff: unknown key; expected one of display_name, enabled, relation, origins, applications, provider, max_roles, " +
					"session, mount, compat_global, debug",
			},
		},
		"an unknown relation": {
			"{relation: cross-site, " + good + "}", []string{`relation: unknown value "cross-site"; did you mean "cross_site"?`},
		},
		"origins that are none": {
			"{relation: cross_site, applications: [reports], provider: portal, origins: ['https://p.example.org/', 'https://p.example.org/x'," +
				" 'https://*.example.org', 'null', 'file://', 'http://p.example.org', 'HTTPS://p.example.org', 'https://p.example.org:443'," +
				" 'capacitor://localhost/', 'ionic://LOCALHOST', 'data:x', p.example.org, 'https://q.example.org', 'https://q.example.org']}",
			[]string{
				"origins[0]: must be written as browsers do, without a path; expected https://p.example.org",
				"origins[10]: \"data:x\" is no origin that one application alone can have",
				"origins[11]: expected an absolute URL such as https://sso.example.com",
				"origins[13]: https://q.example.org stands twice",
				"origins[1]: must be written as browsers do, without a path; expected https://p.example.org",
				"origins[2]: no pattern is possible, each origin must be named",
				`origins[3]: "null" is no origin that one application alone can have`,
				`origins[4]: "file://" is no origin that one application alone can have`,
				"origins[5]: must be https; http is for localhost, names below it and loopback addresses",
				"origins[6]: must be written as browsers do, without a path; expected https://p.example.org",
				"origins[7]: must be written as browsers do, without a path; expected https://p.example.org",
				"origins[8]: expected an absolute URL such as https://sso.example.com",
				"origins[9]: expected an origin such as capacitor://localhost",
			},
		},
		"applications that cannot be framed": {
			"{relation: cross_site, origins: ['https://portal.example.org'], provider: portal, applications: [report, svc, reports, reports]}",
			[]string{
				`applications[0]: there is no application "report"; did you mean "reports"?`,
				"applications[1]: application svc has no url, and so no pages to frame",
				"applications[3]: reports stands twice",
			},
		},
		"a provider that is none": {
			"{relation: cross_site, origins: ['https://portal.example.org'], applications: [reports], provider: portl}",
			[]string{`provider: there is no provider "portl"; did you mean "portal"?`},
		},
		"a provider of another kind": {
			"{relation: cross_site, origins: ['https://portal.example.org'], applications: [reports], provider: local}",
			[]string{"provider: provider local is of type local, expected one of type jwt"},
		},
		"roles": {
			"{relation: cross_site, " + good + ", max_roles: [root]}",
			[]string{`max_roles[0]: there is no role "root"; expected one of admin, viewer`},
		},
		"no roles at all": {
			"{relation: cross_site, " + good + ", max_roles: []}",
			[]string{"max_roles: leaves nobody a role; without the key there is no cap, enabled: false closes the embedder"},
		},
		"a session that cannot be": {
			"{relation: cross_site, " + good + ", session: {idle: 2h, absolute: 1h}}",
			[]string{"session.idle: 2h is longer than absolute, 1h"},
		},
		"a session without an end": {
			"{relation: cross_site, " + good + ", session: {idle: 0s, absolute: 0s}}",
			[]string{
				"session.absolute: 0s is out of bounds, expected 1m to 720h",
				"session.idle: 0s is out of bounds, expected 1s to 720h",
			},
		},
		"a mount where nothing is mounted": {
			"{relation: cross_site, " + good + ", mount: /x}",
			[]string{"mount: is for relation proxied: other applications have origins of their own"},
		},
		"a mount that is no path": {
			"{relation: proxied, origins: ['https://portal.example.org'], applications: [below], provider: portal, mount: /below/}",
			[]string{"mount: expected a plain path without a slash at its end, such as /reports"},
		},
		"another mount than the application's": {
			"{relation: proxied, origins: ['https://portal.example.org'], applications: [below], provider: portal}",
			[]string{`applications[0]: is at the path /below/ and mount is "": with relation proxied its url must be ` +
				"https://portal.example.org/"},
		},
		"proxied, and on another origin": {
			"{relation: proxied, " + good + "}",
			[]string{"applications[0]: relation proxied means one origin for both: reports is at https://reports.example.com, " +
				"which is none of origins"},
		},
		"a property that windows have": {
			"{relation: cross_site, " + good + ", compat_global: location}",
			[]string{`compat_global: "location" is no free name of a window property, expected one such as portalEmbedded`},
		},
		"a property that is no identifier": {
			"{relation: cross_site, " + good + ", compat_global: 'a;b'}",
			[]string{`compat_global: "a;b" is no free name of a window property, expected one such as portalEmbedded`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := refusal(t, houses+framed+"embedding: {embedders: {p: "+c.block+"}}")
			for i := range got {
				_, got[i], _ = strings.Cut(got[i], ": embedding.embedders.p.")
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	got := refusal(t, houses+framed+"embedding: {embedders: {a.b: {relation: cross_site, "+good+"}}}")
	want := []string{`c.yaml:17:25: embedding.embedders.a.b: "a.b" is no id of an embedder: a-z, 0-9 and -, at most 32, ` +
		"beginning with a letter or digit"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWarningsAboutApplicationsAndEmbedders(t *testing.T) {
	const embed = "embedding: {embedders: {p: {"
	for name, c := range map[string]struct {
		add  string
		want []string
	}{
		"none for what is sound": {
			"profiles: {p: {claims: {email: null, role: {from: roles, shape: string, prefer: [admin]}}, cookie: {name: __Host-x, value: token}}}\n" +
				"applications: {a: {url: 'https://a.example.com', profile: p, claims: {role: }, upstream: {url: 'http://reports:8080'},\n" +
				"  rules: [{path: /, require: [viewer]}, {path: /a/, methods: [GET]}, {path: /a/, require: [admin]}]}}",
			[]string{},
		},
		"an upstream that knows secrets": {
			"applications: {a: {url: 'https://a.example.com', upstream: {url: 'http://169.254.169.254'}}}",
			[]string{"applications.a.upstream.url: is where a cloud tells machines their secrets: whoever may use the application reads them"},
		},
		"a claim that is not there is left out": {
			"profiles: {p: {claims: {emial: null}}}\napplications: {a: {profile: p, claims: {nme: ''}}}",
			[]string{
				`profiles.p.claims.emial: leaves out a claim that is not there; did you mean "email"?`,
				`applications.a.claims.nme: leaves out a claim that is not there; did you mean "name"?`,
			},
		},
		"one of several roles, and nobody knows which": {
			"applications: {a: {claims: {role: {from: roles, shape: string}}}}",
			[]string{"applications.a.claims.role: holds one of somebody's roles, the first in the order of the alphabet; prefer says which"},
		},
		"a cookie that a host beside it could set": {
			"profiles: {p: {cookie: {name: x}}}",
			[]string{"profiles.p.cookie.name: other hosts of the same domain can set a cookie of this name beside it; __Host- in front keeps them from it"},
		},
		"a cookie for a whole domain": {
			"profiles: {p: {cookie: {domain: example.com}}}",
			[]string{"profiles.p.cookie.domain: every host below example.com can read and set it: a hole in one of them opens the others"},
		},
		"a token in a cookie that is good for hours": {
			"profiles: {p: {cookie: {value: token}}}\n" +
				"applications: {a: {url: 'https://a.example.com', profile: p, token_lifetime: 2h}}",
			[]string{
				"applications.a.profile: its cookie holds the token, which opens the application for 2h to whoever has it, signed out " +
					"or not, where the application verifies it offline",
				"applications.a.token_lifetime: whoever verifies tokens offline keeps letting people in for 2h after they were shut out",
			},
		},
		"identity in the clear": {
			"applications: {a: {url: 'https://a.example.com', upstream: {url: 'http://a.example.net'}}, " +
				"b: {url: 'https://b.example.com', upstream: {url: 'http://192.0.2.1'}}}",
			[]string{
				"applications.a.upstream.url: plain HTTP: whoever sees the traffic sees who asks, and tokens; use https",
				"applications.b.upstream.url: plain HTTP: whoever sees the traffic sees who asks, and tokens; use https",
			},
		},
		"rules that never count": {
			"applications: {a: {url: 'https://a.example.com', rules: [{path: /a, require: [admin]}, {path: /a}, {path: /b, methods: [HEAD]},\n" +
				"  {path: /b, methods: [GET], public: true}, {path: /c, rate: {requests: 1, per: 1s}}, {path: /c}, {path: /d},\n" +
				"  {path: /d, carriers: [key], rate: {requests: 1, per: 1s}}]}}",
			[]string{
				"applications.a.rules[0]: never counts: rules[1] allows all of it, and one rule is enough",
				"applications.a.rules[2]: never counts: rules[3] allows all of it, and one rule is enough",
				"applications.a.rules[5]: never counts: rules[4] allows all of it, and one rule is enough",
				"applications.a.rules[7]: never counts: rules[6] allows all of it, and one rule is enough",
			},
		},
		"everything public": {
			"applications: {a: {url: 'https://a.example.com/x', rules: [{path: /x/, public: true}]}}",
			[]string{"applications.a.rules[0].public: opens the whole application to everybody"},
		},
		"disabled providers that people are sent to": {
			"login: {default_provider: off, domains: {corp.example: off}}",
			[]string{
				"login.default_provider: provider off is disabled: a name without a domain rule goes nowhere",
				"login.domains.corp.example: provider off is disabled: names of this domain go nowhere",
			},
		},
		"an embedder nobody comes in through": {
			framed + embed + "relation: cross_site, origins: ['https://portal.example.org'], applications: [reports], provider: off}}}",
			[]string{"embedding.embedders.p.provider: provider off is disabled: nobody comes in through this embedder"},
		},
		"two embedders with one provider": {
			framed + embed + "relation: cross_site, origins: ['https://portal.example.org'], applications: [reports], provider: portal},\n" +
				"  q: {relation: cross_site, origins: ['https://q.example.org'], applications: [reports], provider: portal}}}",
			[]string{"embedding.embedders.q.provider: is that of p as well: a token made for one is good at the other"},
		},
		"other sites that are called one": {
			framed + embed + "relation: same_site, origins: ['https://portal.example.com', 'capacitor://localhost'], applications: [reports], provider: portal}}}",
			[]string{"embedding.embedders.p.relation: capacitor://localhost and https://reports.example.com look like different sites: " +
				"browsers do not send the cookie into that frame, so cross_site is meant"},
		},
		"one site that is called others": {
			framed + embed + "relation: cross_site, origins: ['https://portal.example.com'], applications: [reports], provider: portal}}}",
			[]string{"embedding.embedders.p.relation: https://portal.example.com and https://reports.example.com look like one site: " +
				"same_site works in browsers that refuse cookies of other sites, too"},
		},
		"one origin that is called two": {
			framed + embed + "relation: same_site, origins: ['https://portal.example.org'], applications: [below], provider: portal}}}",
			[]string{"embedding.embedders.p.relation: https://portal.example.org is the application's own origin: proxied keeps the " +
				"cookie from the pages around it"},
		},
		"a frame for days": {
			framed + embed + "relation: cross_site, origins: ['https://portal.example.org'], applications: [reports], provider: portal, " +
				"session: {absolute: 48h}}}}",
			[]string{"embedding.embedders.p.session.absolute: a frame that stays open longer than a day"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings := parse(t, houses+c.add)
			if diff := cmp.Diff(c.want, texts(t, lines(warnings))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProxiedEmbeddersAreWhereTheirApplicationIs(t *testing.T) {
	cfg, warnings := parse(t, houses+framed+"embedding: {embedders: {p: {relation: proxied, origins: ['https://portal.example.org'], "+
		"applications: [below], provider: portal, mount: /below, compat_global: $siren_1, session: {absolute: 10m}}}}")
	e := cfg.Embedding.Embedders["p"]
	if len(warnings) > 0 || !e.Enabled || e.DisplayName != "p" || e.Session != (EmbedSession{10 * time.Minute, 10 * time.Minute}) {
		t.Errorf("%v %+v", warnings, e)
	}
}

func TestSitesAreWhatBrowsersTakeForOne(t *testing.T) {
	for host, want := range map[string]string{
		"example.com": "example.com", "a.b.example.com": "example.com", "a.example.co.uk": "example.co.uk", "co.uk": "co.uk",
		"a.localhost": "a.localhost", "x.a.localhost": "a.localhost", "localhost": "localhost", "10.0.0.1": "10.0.0.1", "::1": "::1",
	} {
		if got := registrableDomain(host); got != want {
			t.Errorf("%s is of %s, want %s", host, got, want)
		}
	}
	if site("http", "a.example.com") == site("https", "a.example.com") {
		t.Error("browsers tell http and https apart")
	}
}
