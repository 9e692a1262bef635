package templates_test

import (
	"bytes"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/web/templates"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestEveryPageLooksAsItsGoldenFileSays(t *testing.T) {
	r := newRenderer(t)
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			got := render(t, r, s.page, s.view(chrome(r, "en")))
			golden := filepath.Join("testdata", s.name+".html")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("page differs from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestEveryPageHasWhatAssistiveSoftwareNeeds(t *testing.T) {
	r := newRenderer(t)
	for _, s := range samples() {
		for _, lang := range r.Languages() {
			t.Run(s.name+" in "+lang, func(t *testing.T) {
				page := render(t, r, s.page, s.view(chrome(r, lang)))
				for what, pattern := range map[string]string{
					"one h1": `<h1>`, "one main": `<main id="main"`, "a language": `<html lang="` + lang + `" dir="`,
					"a skip link": `<a class="skip" href="#main">`, "a title": `<title>[^<]+</title>`,
				} {
					if n := len(regexp.MustCompile(pattern).FindAllString(page, -1)); n != 1 {
						t.Errorf("%s: found %d", what, n)
					}
				}
				labels(t, page)
				references(t, page)
			})
		}
	}
}

// labels checks that each field that can be seen has a label.
func labels(t *testing.T, page string) {
	t.Helper()
	for _, field := range regexp.MustCompile(`<(?:input|select)[^>]*>`).FindAllString(page, -1) {
		if strings.Contains(field, `type="hidden"`) || strings.Contains(field, `type="checkbox"`) {
			continue // a checkbox stands inside its label
		}
		id := regexp.MustCompile(` id="([^"]+)"`).FindStringSubmatch(field)
		if id == nil || !strings.Contains(page, `<label for="`+id[1]+`">`) {
			t.Errorf("no label for %s", field)
		}
	}
}

// references checks that whatever is pointed at is there, once.
func references(t *testing.T, page string) {
	t.Helper()
	refer := regexp.MustCompile(`(?:aria-describedby|aria-labelledby|for|href)="(#?)([^"]+)"`)
	for _, m := range refer.FindAllStringSubmatch(page, -1) {
		if strings.HasPrefix(m[0], "href") && m[1] == "" {
			continue
		}
		for id := range strings.FieldsSeq(m[2]) {
			if n := strings.Count(page, ` id="`+id+`"`); n != 1 {
				t.Errorf("%s: there are %d elements called %s", m[0], n, id)
			}
		}
	}
}

func TestAProblemIsSaidInTheTitleAtTheTopAndAtTheField(t *testing.T) {
	r := newRenderer(t)
	page := render(t, r, templates.PagePassword, samplePasswordError(chrome(r, "en")))
	for _, want := range []string{
		"<title>Error: Enter your password – Example Sign-in</title>",
		`<div class="problems" role="alert" tabindex="-1" data-focus>`,
		`<a href="#password">That didn't work. Check the name and password, or use another way to sign in.</a>`,
		`aria-invalid="true" aria-describedby="password-problem"`, `id="password-problem"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %s", want)
		}
	}
	fine := render(t, r, templates.PagePassword, samplePassword(chrome(r, "en")))
	for _, unwanted := range []string{"Error:", "aria-invalid", "role=\"alert\""} {
		if strings.Contains(fine, unwanted) {
			t.Errorf("page without problem has %s", unwanted)
		}
	}
}

func TestPasswordManagersFindTheirFields(t *testing.T) {
	r := newRenderer(t)
	page := render(t, r, templates.PagePassword, samplePassword(chrome(r, "en")))
	for _, want := range []string{
		`name="username" type="text" value="alice@contoso.example" autocomplete="username"`,
		`name="password" type="password" required maxlength="1024" autocomplete="current-password"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %s", want)
		}
	}
	setup := render(t, r, templates.PageSetup, templates.Setup{Chrome: chrome(r, "en"), MinLength: 12})
	if !strings.Contains(setup, `autocomplete="new-password"`) {
		t.Error("the new password is not marked as new")
	}
}

func TestSES07_PagesNeedNoInlineScriptOrStyle(t *testing.T) {
	r := newRenderer(t)
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?: type="module")?>`)
	for _, s := range samples() {
		if found := inline.FindString(render(t, r, s.page, s.view(chrome(r, "en")))); found != "" {
			t.Errorf("%s has %q", s.name, found)
		}
	}
	h := http.Header{}
	templates.SetHeaders(h)
	want := map[string]string{
		"Content-Type":               "text/html; charset=utf-8",
		"X-Frame-Options":            "DENY",
		"X-Content-Type-Options":     "nosniff",
		"Referrer-Policy":            "same-origin",
		"Cross-Origin-Opener-Policy": "same-origin",
		"Cache-Control":              "no-store",
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}
	for name, value := range want {
		if h.Get(name) != value {
			t.Errorf("%s: %s", name, h.Get(name))
		}
	}
}

func TestRenderRefusesWhatItDoesNotKnowAndWritesNothing(t *testing.T) {
	r := newRenderer(t)
	for name, try := range map[string]struct {
		page templates.Page
		view any
	}{
		"an unknown page":             {"nowhere", templates.Login{}},
		"the view of another page":    {templates.PageLogin, templates.Password{}},
		"a pointer to a view":         {templates.PageLogin, &templates.Login{}},
		"nothing":                     {templates.PageLogin, nil},
		"a page without the password": {templates.PageNext, templates.Next{}},
	} {
		var b bytes.Buffer
		if err := r.Render(&b, try.page, try.view); err == nil || b.Len() > 0 {
			t.Errorf("%s: error %v, wrote %d bytes", name, err, b.Len())
		}
	}
	if _, err := templates.New(templates.Options{}); err == nil {
		t.Error("New works without Static")
	}
}

func TestTheBrowserIsOnlySentToWebAddresses(t *testing.T) {
	r := newRenderer(t)
	for _, bad := range []string{
		"", "javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "//evil.example", "/\\evil.example",
		"https:evil", "https://a b", "relative", "https://user@evil.example/", " https://a.example", "/x\n", "/'x",
		"file:///etc/passwd", "https://", "/\t/evil.example",
	} {
		for page, view := range map[templates.Page]any{
			templates.PageNext:     templates.Next{URL: bad},
			templates.PageContinue: templates.Continue{URL: bad, Provider: "P"},
		} {
			var b bytes.Buffer
			if err := r.Render(&b, page, view); err == nil || b.Len() > 0 {
				t.Errorf("%s takes the browser to %q", page, bad)
			} else if bad != "" && strings.Contains(err.Error(), bad) {
				t.Errorf("the error repeats the address, which may hold a code: %v", err)
			}
		}
	}
	good := "https://app.example/.sallyport/callback?code=a%20b&state=c;d"
	page := render(t, r, templates.PageNext, templates.Next{URL: good})
	escaped := strings.ReplaceAll(good, "&", "&amp;")
	for _, want := range []string{`content="0;url=` + escaped + `"`, `href="` + escaped + `" data-replace`} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %s:\n%s", want, page)
		}
	}
}

func TestEveryCodeHasItsOwnSentencesAndUnknownOnesFallBack(t *testing.T) {
	r := newRenderer(t)
	codes := strings.Fields(`account_disabled account_name_taken address_changed application_not_allowed application_unknown
		assertion_replayed bad_credentials bad_request body_invalid busy carrier_denied claim_invalid
		client_gone clock_off code_expired code_invalid code_wrong conflict cookie_too_large
		credential_in_url credential_invalid csrf cut_off denied denied_by_rule email_missing
		embedder_removed embedder_unknown expired field_doubled field_invalid field_unknown flow_expired
		flow_finished flow_unknown frame_ended frame_failed groups_overage groups_unbounded
		headers_too_large identity_moved internal jwt_alg jwt_claim jwt_expired jwt_malformed jwt_not_yet
		jwt_replayed jwt_signature jwt_ttl key_cannot key_inactive key_network key_not_suspended
		key_read_only key_role_not_held key_rotated last_administrator lifetime_invalid mail_unavailable
		media_type method_denied method_not_allowed name_invalid network_invalid no_role no_session
		not_found not_local origin_not_allowed original_url_invalid original_url_missing overlap_invalid
		password_common password_contains_name password_invalid password_too_long password_too_short
		password_too_simple path_not_canonical permission_missing provider_ambiguous provider_misconfigured
		provider_needs_browser provider_refused provider_removed provider_reply_invalid provider_unavailable
		provider_unknown proxy_not_trusted rate_invalid rate_limited refresh_invalid refresh_not_possible
		refresh_reused reply_invalid role_unknown roles_missing session_limit setup_closed
		setup_code_invalid signing_key_rotated signing_key_shared signing_key_too_young signing_key_unknown
		ticket_invalid token_expired token_invalid token_revoked token_too_large too_large too_many_attempts
		too_many_codes too_many_keys too_many_streams two_credentials unauthenticated unavailable
		unknown_host upstream_timeout upstream_unavailable username_invalid username_taken wrong_application`)
	if diff := cmp.Diff(codes, r.Codes()); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	unknown := render(t, r, templates.PageError, templates.Error{Problem: templates.Problem{Code: "x.y/<z>"}})
	if !strings.Contains(unknown, "Something went wrong") {
		t.Error("an unknown code is not told as unknown")
	}
	for _, lang := range r.Languages() {
		seen := map[string]string{}
		for _, code := range codes {
			for _, full := range []bool{false, true} {
				v := templates.Error{Chrome: templates.Chrome{Lang: lang}, Problem: templates.Problem{Code: code}}
				if full {
					v.Application, v.Problem.Provider, v.Problem.Count = "Reports", "Contoso", 12
				}
				page := render(t, r, templates.PageError, v)
				main := page[strings.Index(page, "<h1>"):strings.Index(page, "</main>")]
				if other, ok := seen[main]; ok && other != code {
					t.Errorf("%s: %s and %s say the same", lang, code, other)
				}
				seen[main] = code
			}
		}
	}
}

func TestNumbersChooseThePluralForm(t *testing.T) {
	r := newRenderer(t)
	for count, want := range map[int]string{1: "at least 1 character.", 12: "at least 12 characters.", 0: "is too short."} {
		page := render(t, r, templates.PageError,
			templates.Error{Problem: templates.Problem{Code: "password_too_short", Count: count}})
		if !strings.Contains(page, want) {
			t.Errorf("%d: page lacks %q", count, want)
		}
	}
}

func TestValuesKeepTheirDirectionToThemselves(t *testing.T) {
	r := newRenderer(t)
	v := sampleDenied(chrome(r, "en")).(templates.Denied)
	v.SignedInAs, v.Application = "עליס", "\u202eevil"
	page := render(t, r, templates.PageDenied, v)
	if !strings.Contains(page, "You are signed in as <bdi>עליס</bdi>, but <bdi>\u202eevil</bdi> needs") {
		t.Error("names are not set apart in the text")
	}
	if !strings.Contains(page, "<title>Error: You cannot use \u2068\u202eevil\u2069 yet – Example Sign-in</title>") {
		t.Error("names are not set apart in the title")
	}
	if rtl := render(t, r, templates.PageDenied, sampleDenied(chrome(r, "ar-XB"))); !strings.Contains(rtl, `dir="rtl"`) {
		t.Error("the right-to-left language has no direction")
	}
}
