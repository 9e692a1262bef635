package templates

// ProblemText returns what went wrong as plain text for programs: a title, and a sentence. An unknown language means the
// default.
func (r *Renderer) ProblemText(lang string, p Problem) (title, text string) {
	pr, ok := r.printers[lang]
	if !ok {
		pr = r.printers[r.languages[0]]
	}
	title, err := pr.plain(p.title(pr, Chrome{}))
	if err != nil {
		return p.Code, ""
	}
	if text, err = pr.plain(p.text(pr, Chrome{})); err != nil {
		return title, ""
	}
	return title, text
}
