package templates_test

import (
	"bytes"
	"net/url"
	"testing"
	"time"

	"sallyport/web/templates"
)

// sample is a page as somebody may meet it.
type sample struct {
	name string
	page templates.Page
	view func(c templates.Chrome) any
}

func newRenderer(t testing.TB) *templates.Renderer {
	t.Helper()
	r, err := templates.New(templates.Options{
		Static: func(name string) string { return "/static/12345678/" + name }, PseudoLocales: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func render(t testing.TB, r *templates.Renderer, page templates.Page, view any) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Render(&b, page, view); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// chrome is what handlers put around a page.
func chrome(r *templates.Renderer, lang string) templates.Chrome {
	return templates.Chrome{
		Lang: lang, Title: "Example Sign-in", Support: "Service desk, phone 4711",
		Languages: r.LanguageLinks(&url.URL{Path: "/login", RawQuery: "flow=F1"}),
	}
}

var when = time.Date(2026, time.November, 21, 22, 1, 36, 0, time.UTC)

// samples has every page, and every page that looks different when something went wrong.
func samples() []sample {
	return []sample{
		{"login", templates.PageLogin, sampleLogin},
		{"login_error", templates.PageLogin, sampleLoginError},
		{"login_providers_only", templates.PageLogin, sampleLoginProviders},
		{"login_nothing", templates.PageLogin, func(c templates.Chrome) any {
			return templates.Login{Chrome: c, NoUsername: true, Notice: templates.NoticeSetupDone}
		}},
		{"password", templates.PagePassword, samplePassword},
		{"password_error", templates.PagePassword, samplePasswordError},
		{"login_remember", templates.PageLogin, func(c templates.Chrome) any {
			v := sampleLogin(c).(templates.Login)
			v.Providers[0].ID, v.Providers[1].ID = "contoso", "partners"
			v.Remember, v.Notice = templates.Remember{Offered: true}, templates.NoticeSessionLimit
			return v
		}},
		{"password_remember", templates.PagePassword, func(c templates.Chrome) any {
			v := samplePassword(c).(templates.Password)
			v.Remember = templates.Remember{Offered: true, Ticked: true}
			return v
		}},
		{"confirm", templates.PageConfirm, sampleConfirm},
		{"confirm_error", templates.PageConfirm, func(c templates.Chrome) any {
			c.Problems = []templates.Problem{{Code: "code_wrong", Field: templates.FieldCode}}
			v := sampleConfirm(c).(templates.Confirm)
			v.Notice = ""
			return v
		}},
		{"continue", templates.PageContinue, func(c templates.Chrome) any {
			return templates.Continue{Chrome: c, Provider: "Contoso", URL: "https://login.contoso.com/authorize?state=a&nonce=b"}
		}},
		{"continue_here", templates.PageContinue, func(c templates.Chrome) any {
			return templates.Continue{Chrome: c, Provider: "Contoso", URL: "/login/go/contoso?flow=F1"}
		}},
		{"next", templates.PageNext, func(c templates.Chrome) any {
			c.Application = "Reports"
			return templates.Next{Chrome: c, URL: "https://reports.example/.sallyport/callback?code=one-use", SignedIn: true}
		}},
		{"next_ended", templates.PageNext, func(c templates.Chrome) any {
			c.Application = "Reports"
			return templates.Next{Chrome: c, URL: "/login/next?flow=F1", SignedIn: true, Notice: templates.NoticeOlderEnded(2)}
		}},
		{"next_plain", templates.PageNext, func(c templates.Chrome) any { return templates.Next{Chrome: c, URL: "/me"} }},
		{"denied", templates.PageDenied, sampleDenied},
		{"denied_plain", templates.PageDenied, func(c templates.Chrome) any {
			c.SignedInAs = "alice"
			return templates.Denied{Chrome: c, SwitchURL: "/login?switch=1"}
		}},
		{"sign_out", templates.PageSignOut, func(c templates.Chrome) any {
			c.SignedInAs = "Alice Adams"
			return templates.SignOut{Chrome: c, CSRF: "T1", Return: "R1", CancelURL: "/me"}
		}},
		{"signed_out", templates.PageSignedOut, sampleSignedOut},
		{"signed_out_nothing", templates.PageSignedOut, func(c templates.Chrome) any {
			return templates.SignedOut{Chrome: c, SignInURL: "/login?choose=1"}
		}},
		{"setup", templates.PageSetup, func(c templates.Chrome) any {
			return templates.Setup{Chrome: c, Code: "C1", CSRF: "T1", MinLength: 12}
		}},
		{"setup_error", templates.PageSetup, sampleSetupError},
		{"me", templates.PageMe, sampleMe},
		{"me_new_key", templates.PageMe, sampleMeNewKey},
		{"me_empty", templates.PageMe, func(c templates.Chrome) any {
			c.SignedInAs = "bob"
			return templates.Me{Chrome: c, CSRF: "T1", ID: "ZpVb0cT1Qm6hXw", Username: "bob", Provider: "Local people"}
		}},
		{"error", templates.PageError, sampleError},
		{"error_plain", templates.PageError, func(c templates.Chrome) any {
			return templates.Error{Chrome: c, Problem: templates.Problem{Code: "no_such_code"}}
		}},
	}
}

func sampleLogin(c templates.Chrome) any {
	c.Application = "Reports"
	return templates.Login{Chrome: c, Flow: "F1", CSRF: "T1", Providers: []templates.ProviderLink{
		{Title: "Contoso", URL: "/login/continue/contoso?flow=F1", LastUsed: true},
		{Title: "Partners and suppliers of the Northern Region", URL: "/login/continue/partners?flow=F1"},
	}}
}

func sampleLoginError(c templates.Chrome) any {
	c.Problems = []templates.Problem{
		{Code: "username_invalid", Field: templates.FieldUsername}, {Code: "provider_unavailable", Provider: "Contoso"},
	}
	return templates.Login{Chrome: c, Flow: "F1", CSRF: "T1", Username: "alice@contoso.example"}
}

func sampleLoginProviders(c templates.Chrome) any {
	return templates.Login{Chrome: c, NoUsername: true, Providers: []templates.ProviderLink{
		{Title: "Contoso", URL: "/login/continue/contoso"},
	}}
}

func samplePassword(c templates.Chrome) any {
	c.Application = "Reports"
	return templates.Password{
		Chrome: c, Flow: "F1", CSRF: "T1", Username: "alice@contoso.example", ChangeURL: "/login?flow=F1",
		Provider: "Contoso", OtherURL: "/login?flow=F1&choose=1", ForgotURL: "https://reset.contoso.example/",
	}
}

func samplePasswordError(c templates.Chrome) any {
	c.Problems = []templates.Problem{{Code: "bad_credentials", Field: templates.FieldPassword}}
	return templates.Password{Chrome: c, Flow: "F1", CSRF: "T1", Username: "alice", ChangeURL: "/login?flow=F1"}
}

func sampleConfirm(c templates.Chrome) any {
	c.Application = "Reports"
	return templates.Confirm{
		Chrome: c, Flow: "F1", CSRF: "T1", To: "a***@contoso.example", RestartURL: "/login", Notice: templates.NoticeCodeSent,
	}
}

func sampleDenied(c templates.Chrome) any {
	c.Application, c.SignedInAs = "Reports", "Alice Adams"
	return templates.Denied{
		Chrome: c, Ask: "write to reports-owners@contoso.example and name your team",
		AskURL: "https://tickets.contoso.example/new", SwitchURL: "/login?switch=1",
		Trace: templates.Trace{Code: "no_role", At: when, ID: "01jdabcdefghjkmnpqrstvwxyz"},
	}
}

func sampleSignedOut(c templates.Chrome) any {
	return templates.SignedOut{Chrome: c, SignInURL: "/login?choose=1", Ended: []templates.Ended{
		{Kind: templates.EndedBrowser},
		{Kind: templates.EndedApplication, Name: "Reports"},
		{Kind: templates.EndedUpstream, Name: "Contoso"},
		{Kind: templates.KeptUpstream, Name: "Partners"},
	}}
}

func sampleSetupError(c templates.Chrome) any {
	c.Problems = []templates.Problem{
		{Code: "username_taken", Field: templates.FieldUsername},
		{Code: "bad_request", Field: templates.FieldName},
		{Code: "bad_request", Field: templates.FieldEmail},
		{Code: "password_too_short", Field: templates.FieldPassword, Count: 12},
	}
	return templates.Setup{
		Chrome: c, Code: "C1", CSRF: "T1", Username: "alice", Name: "Alice Adams", Email: "alice@contoso.example", MinLength: 12,
	}
}

func sampleMe(c templates.Chrome) any {
	c.SignedInAs = "Alice Adams"
	return templates.Me{
		Chrome: c, CSRF: "T1", ID: "ZpVb0cT1Qm6hXwYk3r8n2A", Name: "Alice Adams", Username: "alice",
		Email: "alice.adams@contoso.example", Provider: "Contoso", Notice: templates.NoticeSessionEnded,
		Roles: []templates.Role{
			{Name: "operator", Sources: []templates.RoleSource{
				{Kind: templates.SourceGroup, Group: "CN=SOC Admins,OU=Groups,DC=corp,DC=example", Provider: "Contoso"},
				{Kind: templates.SourceClaim, Claim: "department", Value: "Operations", Provider: "Contoso"},
			}},
			{Name: "analyst", Sources: []templates.RoleSource{
				{Kind: templates.SourceCopied, Value: "app-analyst", Provider: "Contoso"},
			}},
			{Name: "viewer", Sources: []templates.RoleSource{
				{Kind: templates.SourceInherited, Role: "operator"}, {Kind: templates.SourceDefault},
			}},
			{Name: "administrator", Sources: []templates.RoleSource{
				{Kind: templates.SourceManual}, {Kind: templates.SourceManual, By: "Bob"},
			}},
		},
		Permissions: []string{"*:read", "hosts:*", "packages:write"},
		Sessions:    sampleSessions(), Keys: sampleKeys(), Create: sampleCreate(),
	}
}

func sampleSessions() []templates.Session {
	return []templates.Session{
		{
			ID: "S1", Kind: "browser", Applications: []string{"Reports", "Inventory of the data centre"}, Current: true,
			UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
			Provider:  "Contoso", Address: "2001:db8:85a3:8d3:1319:8a2e:370:7348",
			FirstSeen: when.Add(-26 * time.Hour), LastSeen: when,
		},
		{
			ID: "S2", Kind: "api", UserAgent: "curl/8.5.0", Provider: "Contoso", Address: "192.0.2.7",
			FirstSeen: when.Add(-time.Hour), LastSeen: when.Add(-time.Minute),
		},
		{ID: "S3", Kind: "embed", Provider: "Portal", FirstSeen: when, LastSeen: when},
		{
			ID: "S4", Kind: "app", UserAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 " +
				"(KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
			Provider: "Contoso", Address: "192.0.2.8", FirstSeen: when, LastSeen: when,
		},
	}
}

func sampleKeys() []templates.Key {
	return []templates.Key{
		{
			ID: "4f6a2b", Name: "nightly backup", Shown: "sp_4f6a2bq7c3xk2mzt5yhn4wd6eu", Application: "Reports",
			Roles: []string{"viewer", "operator"}, ExpiresAt: when.Add(90 * 24 * time.Hour), LastUsedAt: when,
		},
		{ID: "5f6a2b", Name: "old script", Shown: "sp_5f6a2b", ExpiresAt: when.Add(-time.Hour), Expired: true},
		{ID: "6f6a2b", Name: "restored", Shown: "sp_6f6a2b", Endless: true, Suspended: true},
		{ID: "7f6a2b", Name: "new", Shown: "sp_7f6a2b", ExpiresAt: when.Add(time.Hour), Pending: true},
	}
}

func sampleCreate() *templates.CreateKey {
	return &templates.CreateKey{
		Days: 90, MaxDays: 365, Applications: []templates.Choice{{Value: "reports", Title: "Reports"}},
		Roles: []templates.Choice{{Value: "operator"}, {Value: "viewer", Chosen: true}},
	}
}

func sampleMeNewKey(c templates.Chrome) any {
	me := sampleMe(c).(templates.Me)
	me.Problems = []templates.Problem{
		{Code: "key_role_not_held", Field: templates.FieldRole},
		{Code: "bad_request", Field: templates.FieldName},
		{Code: "bad_request", Field: templates.FieldDays},
		{Code: "bad_request", Field: templates.FieldApplication},
	}
	me.Notice, me.Verification = "", "V1"
	me.NewKey = &templates.NewKey{
		Name: "nightly backup", Key: "sp_4f6a2bq7c3xk2mzt5yhn4wd6eu_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6",
		ExpiresAt: when.Add(90 * 24 * time.Hour),
	}
	me.Create.Applications = append(me.Create.Applications, templates.Choice{Value: "inventory", Chosen: true})
	return me
}

func sampleError(c templates.Chrome) any {
	c.Application = "Reports"
	return templates.Error{
		Chrome: c, Problem: templates.Problem{Code: "provider_unavailable", Provider: "Contoso"}, BackURL: "https://reports.example/",
		Trace: templates.Trace{Code: "provider_unavailable", At: when, ID: "01jdabcdefghjkmnpqrstvwxyz"},
	}
}
