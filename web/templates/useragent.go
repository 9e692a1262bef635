package templates

import "strings"

// agent is what a User-Agent header says, in names that are the same in every language. Either may be empty.
type agent struct {
	browser, system string
}

// parseAgent recognises common browsers and tools. The header comes from outside and may say anything; only names from
// the tables below ever come out, so it cannot put words on the page.
func parseAgent(header string) agent {
	header = shorten(header, 512)
	return agent{browser: firstMark(header, agentBrowsers()), system: firstMark(header, agentSystems())}
}

// mark is a word in the header and the name it stands for.
type mark struct{ word, name string }

// agentBrowsers has the special before the general: nearly every browser also claims to be Chrome and Safari.
func agentBrowsers() []mark {
	return []mark{
		{"Edg/", "Edge"},
		{"EdgA/", "Edge"},
		{"EdgiOS/", "Edge"},
		{"OPR/", "Opera"},
		{"Vivaldi/", "Vivaldi"},
		{"SamsungBrowser/", "Samsung Internet"},
		{"FxiOS/", "Firefox"},
		{"Firefox/", "Firefox"},
		{"CriOS/", "Chrome"},
		{"HeadlessChrome/", "Chromium"},
		{"Chromium/", "Chromium"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
		{"curl/", "curl"},
		{"Wget/", "Wget"},
		{"python-requests/", "Python"},
		{"Python-urllib/", "Python"},
		{"Go-http-client/", "Go"},
		{"okhttp/", "OkHttp"},
		{"Java/", "Java"},
		{"PostmanRuntime/", "Postman"},
		{"PowerShell/", "PowerShell"},
	}
}

func agentSystems() []mark {
	return []mark{
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Android", "Android"},
		{"Windows", "Windows"},
		{"CrOS", "ChromeOS"},
		{"Macintosh", "macOS"},
		{"Mac OS X", "macOS"},
		{"FreeBSD", "FreeBSD"},
		{"Linux", "Linux"},
	}
}

func firstMark(header string, marks []mark) string {
	for _, m := range marks {
		if strings.Contains(header, m.word) {
			return m.name
		}
	}
	return ""
}
