package templates

import "slices"

// Problem is something that went wrong, told by a stable code (snake_case) that every surface uses. The catalogue has
// error.<code>.title, .text and .advice; a code it does not know is told as error.unknown, so that no code is ever a
// broken page.
type Problem struct {
	// Code is the stable code.
	Code string
	// Field is the form field it belongs to (a name of the Field… constants); empty for the form as a whole.
	Field string
	// Provider is the title of the provider concerned, where the text can name it.
	Provider string
	// Count is the number the text can name, such as the least length of a password; 0 leaves it out.
	Count int
}

// codeUnknown stands in for codes the catalogue does not have.
const codeUnknown = "unknown"

func (p Problem) title(pr *printer, c Chrome) Message  { return p.part(pr, c, "title") }
func (p Problem) text(pr *printer, c Chrome) Message   { return p.part(pr, c, "text") }
func (p Problem) advice(pr *printer, c Chrome) Message { return p.part(pr, c, "advice") }

// part finds the sentence. A sentence that names something we were not told has a sibling without it, "…_bare".
func (p Problem) part(pr *printer, c Chrome, part string) Message {
	known := map[string]any{}
	if p.Provider != "" {
		known["provider"] = p.Provider
	}
	if c.Application != "" {
		known["application"] = c.Application
	}
	if p.Count > 0 {
		known[countArgument] = p.Count
	}
	key := "error." + p.Code + "." + part
	if _, ok := pr.catalogue.texts[key]; !ok {
		return say("error." + codeUnknown + "." + part)
	}
	var arguments []any
	for _, name := range pr.catalogue.texts[key].arguments() {
		value, ok := known[name]
		if !ok {
			return say(key + "_bare")
		}
		arguments = append(arguments, name, value)
	}
	return say(key, arguments...)
}

// Codes lists the codes the pages have sentences for, sorted; error.unknown is not one of them.
func (r *Renderer) Codes() []string {
	var codes []string
	for key := range r.printers[r.languages[0]].catalogue.texts {
		var code string
		if n := len(key); n > len("error..title") && key[:6] == "error." && key[n-6:] == ".title" {
			code = key[6 : n-6]
		}
		if code != "" && code != codeUnknown {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	return codes
}
