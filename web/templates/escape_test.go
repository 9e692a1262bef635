package templates_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sallyport/web/templates"
)

// hostile are values that break out of text, attributes, addresses, comments and scripts where they are not escaped.
var hostile = []string{
	`"><script>alert(1)</script>`, `'><img src=x onerror=alert(1)>`, `</title><svg onload=alert(1)>`,
	`" autofocus onfocus="alert(1)`, `{{.}}`, `<!--`, `]]>`, `</bdi><b>`, `&lt;script&gt;`, "`${alert(1)}`", "\x00<b>",
}

// address fields lead somewhere, so hostile words in them are another test.
var address = regexp.MustCompile(`URL$`)

// fillStrings sets every string below v, but for those that choose between fixed sentences.
func fillStrings(v reflect.Value, value, url string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch {
			case !v.Type().Field(i).IsExported() || name == "Lang" || name == "Field":
			case address.MatchString(name):
				v.Field(i).SetString(url)
			default:
				fillStrings(v.Field(i), value, url)
			}
		}
	case reflect.Slice:
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			copied.Index(i).Set(v.Index(i))
			fillStrings(copied.Index(i), value, url)
		}
		v.Set(copied)
	case reflect.Pointer:
		if !v.IsNil() && v.Elem().Kind() == reflect.Struct && v.Type().Elem().PkgPath() != "time" {
			fillStrings(v.Elem(), value, url)
		}
	case reflect.String:
		if v.Type().PkgPath() == "" {
			v.SetString(value)
		}
	}
}

func filled(view any, value, url string) any {
	v := reflect.New(reflect.TypeOf(view))
	v.Elem().Set(reflect.ValueOf(view))
	fillStrings(v.Elem(), value, url)
	return v.Elem().Interface()
}

// skeleton is the markup of a page without its words and values: what a browser makes elements and attributes of.
func skeleton(page string) string {
	tag := regexp.MustCompile(`<(?:!--|[a-zA-Z/!][^\s>]*(?:\s+[^\s=>"']+(?:="[^"]*"|='[^']*')?)*\s*>?)`)
	value := regexp.MustCompile(`="[^"]*"|='[^']*'`)
	var b strings.Builder
	for _, t := range tag.FindAllString(page, -1) {
		b.WriteString(value.ReplaceAllString(t, "=") + "\n")
	}
	return b.String()
}

func TestMarkupInEveryFieldArrivesInert(t *testing.T) {
	r := newRenderer(t)
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			harmless := skeleton(render(t, r, s.page, filled(s.view(chrome(r, "en")), "x", "/x")))
			for _, value := range hostile {
				page := render(t, r, s.page, filled(s.view(chrome(r, "en")), value, "/x"))
				if got := skeleton(page); got != harmless {
					t.Errorf("%q changes the markup:\n%s", value, page)
				}
			}
		})
	}
}

func TestAddressesNeverRunScript(t *testing.T) {
	r := newRenderer(t)
	for _, s := range samples() {
		if s.page == templates.PageNext || s.page == templates.PageContinue {
			continue // these refuse, see TestTheBrowserIsOnlySentToWebAddresses
		}
		for _, url := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "vbscript:x", `"><script>alert(1)</script>`} {
			page := render(t, r, s.page, filled(s.view(chrome(r, "en")), "x", url))
			if regexp.MustCompile(`(?i)(href|action|content)="[^"]*(javascript|vbscript):`).MatchString(page) ||
				strings.Contains(page, "<script>") {
				t.Errorf("%s: %s got through:\n%s", s.name, url, page)
			}
		}
	}
}

func TestPseudoLocaleShowsThatEveryTextIsInTheCatalogue(t *testing.T) {
	r := newRenderer(t)
	values := regexp.MustCompile(`(?s)<bdi>.*?</bdi>|<code[ >].*?</code>|<time .*?</time>|<option.*?</option>|` +
		`<a href="[^"]*" lang=.*?</a>|<!doctype html>`)
	spoken := regexp.MustCompile(`(?:aria-label|alt|title|placeholder|data-(?:label|show|hide|caps|done))="([^"]+)"`)
	whole := regexp.MustCompile(`^\[.*\]$`)
	for _, s := range samples() {
		page := render(t, r, s.page, s.view(chrome(r, "en-XA")))
		// A sentence made of several elements counts as one, a value inside it as nothing.
		page = values.ReplaceAllString(page, "")
		for _, run := range regexp.MustCompile(`<[^>]*>`).Split(page, -1) {
			if run = strings.TrimSpace(run); run != "" && !whole.MatchString(run) {
				t.Errorf("%s: %q is not from the catalogue", s.name, run)
			}
		}
		for _, m := range spoken.FindAllStringSubmatch(page, -1) {
			if !whole.MatchString(m[1]) {
				t.Errorf("%s: %s is not from the catalogue", s.name, m[0])
			}
		}
	}
}
