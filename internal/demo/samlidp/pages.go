package samlidp

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"

	"github.com/crewjam/saml"
)

//go:embed pages
var pageFiles embed.FS

// page is what the templates show.
type page struct {
	Title, Message, Username string
	// Handle stands for the request that the form answers.
	Handle string
	// Answer is posted to the service provider.
	Answer saml.IdpAuthnRequestForm
	// Script sends the answer by itself where it may run.
	Script bool
}

func (s *Server) render(w http.ResponseWriter, status int, name string, p page) {
	var out bytes.Buffer
	t, err := template.ParseFS(pageFiles, "pages/layout.html", "pages/"+name)
	if err == nil {
		err = t.ExecuteTemplate(&out, "layout.html", p)
	}
	if err != nil {
		s.log.Error("demo saml identity provider: page", "err", err)
		http.Error(w, "no page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	have, _ := s.current(r)
	s.render(w, http.StatusOK, "home.html", page{Title: "Who is signed in here", Username: have.username})
}

func (s *Server) form(w http.ResponseWriter, status int, handle, username, message string) {
	s.render(w, status, "login.html", page{Title: "Sign in", Handle: handle, Username: username, Message: message})
}

func (s *Server) problem(w http.ResponseWriter, message string) {
	s.render(w, http.StatusBadRequest, "problem.html", page{Title: "This does not work", Message: message})
}

// send answers with the page that carries a response to the service provider.
func (s *Server) send(w http.ResponseWriter, form saml.IdpAuthnRequestForm, err error) {
	if err != nil {
		s.log.Error("demo saml identity provider: response", "err", err)
		http.Error(w, "no response", http.StatusInternalServerError)
		return
	}
	s.render(w, http.StatusOK, "answer.html", page{Title: "Back to the application", Answer: form, Script: true})
}

// asset serves one of the files that pages load.
func (s *Server) asset(contentType, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		body, err := pageFiles.ReadFile("pages/" + name)
		if err != nil {
			http.Error(w, "no file", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	}
}
