package templates

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestTheLanguageIsTheFirstWishWeCanFulfil(t *testing.T) {
	for name, c := range map[string]struct{ locales, cookie, header, want string }{
		"nobody asks":                         {"", "", "", "en"},
		"the application asks first":          {"de", "en", "en", "de"},
		"the cookie comes second":             {"", "de", "en", "de"},
		"the browser comes last":              {"", "", "de", "de"},
		"an unknown wish is passed over":      {"fr it", "xx", "pt, de;q=0.5", "de"},
		"several locales, best first":         {"fr de en", "", "", "de"},
		"a variety is served by its language": {"de-AT", "", "", "de"},
		"a long variety too":                  {"de-Latn-CH-1996", "", "", "de"},
		"case does not matter":                {"DE", "", "", "de"},
		"weights count":                       {"", "", "en;q=0.3, de;q=0.8", "de"},
		"equal weights go in order":           {"", "", "fr, de, en", "de"},
		"weight nought is a refusal":          {"", "", "de;q=0, en;q=0.1", "en"},
		"a weight that is none is left out":   {"", "", "de;q=9, de;q=-1, de;q=NaN, de;q=x", "en"},
		"any is the default":                  {"", "", "*", "en"},
		"pseudo-locales are not shipped":      {"ar-XB", "", "", "en"},
		"nonsense is the default":             {"\x00", "../../de", ";;;,,,q=", "en"},
		"a header without end is cut":         {"", "", strings.Repeat("x,", 10000) + "de", "en"},
		"a prefix is not a language":          {"deutsch", "d", "e", "en"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Pick(c.locales, c.cookie, c.header); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPickKnowsWhatIsShipped(t *testing.T) {
	r, err := New(Options{Static: static})
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range r.Languages() {
		if Pick(language, "", "") != language || r.Pick(language, "", "") != language {
			t.Errorf("%s cannot be picked", language)
		}
	}
}

func TestLanguageLinksStayOnThePageAndOnTheSite(t *testing.T) {
	r, err := New(Options{Static: static})
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"/login?flow=a%26b&ui_locales=en": "/login?flow=a%26b&ui_locales=de",
		"https://sso.example/me":          "/me?ui_locales=de",
		"https://sso.example//evil.test":  "/evil.test?ui_locales=de",
		"/%5Cevil.test":                   "/%5Cevil.test?ui_locales=de",
	} {
		u, err := url.Parse(given)
		if err != nil {
			t.Fatal(err)
		}
		links := r.LanguageLinks(u)
		if !slices.Contains(links, LanguageLink{Lang: "de", URL: want}) || len(links) != 2 {
			t.Errorf("%s: %v", given, links)
		}
	}
}

func FuzzPick(f *testing.F) {
	f.Add("de fr", "en", "en-GB,en;q=0.9,de;q=0.8")
	f.Add("", "", "q=;q=1,;-;--,-;")
	f.Fuzz(func(t *testing.T, locales, cookie, header string) {
		if got := Pick(locales, cookie, header); got != "en" && got != "de" {
			t.Errorf("picked %q", got)
		}
	})
}

func TestBrowsersAreNamedInWords(t *testing.T) {
	const webkit = " AppleWebKit/537.36 (KHTML, like Gecko) "
	for header, want := range map[string]agent{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                    {"Firefox", "Linux"},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/130.0 Safari/537.36":         {"Chrome", "Windows"},
		"Mozilla/5.0 (Windows NT 10.0)" + webkit + "Chrome/130.0 Safari/537.36 Edg/130.0":           {"Edge", "Windows"},
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)" + webkit + "Version/18.0 Safari/605.1.15": {"Safari", "macOS"},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)" + webkit + "CriOS/130 Safari/604":  {"Chrome", "iPhone"},
		"Mozilla/5.0 (Linux; Android 15; SM-S921B)" + webkit + "SamsungBrowser/27.0 Chrome/125":     {"Samsung Internet", "Android"},
		"Mozilla/5.0 (X11; CrOS x86_64 15)" + webkit + "Chrome/130.0 Safari/537.36 OPR/110":         {"Opera", "ChromeOS"},
		"curl/8.5.0":                           {"curl", ""},
		"Go-http-client/2.0":                   {"Go", ""},
		"":                                     {},
		"<script>alert</script>":               {},
		strings.Repeat(" ", 600) + "Firefox/1": {},
	} {
		if got := parseAgent(header); got != want {
			t.Errorf("%s: got %v, want %v", header, got, want)
		}
	}
}

func FuzzParseAgent(f *testing.F) {
	f.Add("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	known := []string{""}
	for _, m := range append(agentBrowsers(), agentSystems()...) {
		known = append(known, m.name)
	}
	f.Fuzz(func(t *testing.T, header string) {
		a := parseAgent(header)
		if !slices.Contains(known, a.browser) || !slices.Contains(known, a.system) {
			t.Errorf("%q put %v on the page", header, a)
		}
	})
}
