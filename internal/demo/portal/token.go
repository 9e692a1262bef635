package portal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"
)

// tokenLife is how long a token may be on its way; the broker takes at most five minutes.
const tokenLife = time.Minute

// question is what the page sends: the challenge of the frame at hand, so that the token is of use to that frame only.
type question struct {
	Challenge string `json:"challenge"`
}

// maxChallenge is far more than the 43 characters of a SHA-256 in base64url.
const maxChallenge = 128

// claims are what the portal says about a person (RFC 7519), for one frame (Nonce) of one Application.
type claims struct {
	Issuer      string   `json:"iss"`
	Subject     string   `json:"sub"`
	Audience    string   `json:"aud"`
	IssuedAt    int64    `json:"iat"`
	Expires     int64    `json:"exp"`
	ID          string   `json:"jti"`
	Nonce       string   `json:"nonce,omitempty"`
	Application string   `json:"application"`
	Username    string   `json:"preferred_username"`
	Name        string   `json:"name,omitempty"`
	Email       string   `json:"email,omitempty"`
	Roles       []string `json:"roles"`
}

// token answers with a new token about whoever is signed in at the portal. It is minted in the backend: the key never
// comes near a browser.
func (p *Portal) token(w http.ResponseWriter, r *http.Request) {
	who, ok := p.current(r)
	if !ok {
		http.Error(w, "nobody is signed in at the portal", http.StatusUnauthorized)
		return
	}
	q, err := readQuestion(r)
	if err != nil {
		http.Error(w, "not the question of this page", http.StatusBadRequest)
		return
	}
	raw, err := p.mint(who, q.Challenge)
	if err != nil {
		p.log.Error("demo portal: token", "err", err)
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"jwt": raw})
}

func readQuestion(r *http.Request) (question, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return question{}, errors.New("not json")
	}
	var q question
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return question{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || len(q.Challenge) > maxChallenge {
		return question{}, errors.New("more than one question, or too long a one")
	}
	return q, nil
}

// mint signs with HS256 (RFC 7515 appendix A.1). A dozen lines and no library is all that an embedding application needs.
func (p *Portal) mint(who Person, challenge string) (string, error) {
	now := p.now()
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	payload, err := json.Marshal(claims{
		Issuer: p.options.Origin, Subject: who.Username, Audience: p.options.Issuer,
		IssuedAt: now.Unix(), Expires: now.Add(tokenLife).Unix(), ID: encode(id), Nonce: challenge,
		Application: p.options.Application.ID,
		Username:    who.Username, Name: who.Name, Email: who.Email, Roles: append([]string{}, who.Roles...),
	})
	if err != nil {
		return "", err
	}
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(payload)
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(signed))
	return signed + "." + encode(m.Sum(nil)), nil
}
