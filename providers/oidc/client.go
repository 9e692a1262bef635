package oidc

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"sallyport/providers"
	"sallyport/tokens/jws"
)

const (
	// maxDiscovery and maxUserInfo bound those documents, in bytes.
	maxDiscovery = 256 << 10
	maxUserInfo  = 1 << 20
	// discoveryTimeout bounds fetching the discovery document.
	discoveryTimeout = 5 * time.Second
	mediaJSON        = "application/json"
)

// newClient returns the client that all requests to one provider go through.
func newClient(roots *x509.CertPool) *http.Client {
	client := providers.NewClient(roots)
	client.Transport = &strictTokens{client.Transport}
	return client
}

// strictTokens refuses token answers in any form but the one of RFC 6749 section 5.1: golang.org/x/oauth2 also takes
// forms, and JSON whose members stand twice.
type strictTokens struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s *strictTokens) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(req)
	if err != nil || req.Method != http.MethodPost || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body) // bounded by the client
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if _, err := jws.ParseClaims(body); err != nil || kind != mediaJSON {
		return nil, providers.ErrNoAnswer
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// getJSON fetches an endpoint whose answer must be application/json. bearer may be empty.
func getJSON(ctx context.Context, client *http.Client, endpoint, bearer string, limit int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	req.Header.Set("Accept", mediaJSON)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	body, kind, err := providers.Fetch(client, req, limit)
	switch {
	case err != nil:
		return nil, err
	case kind != mediaJSON:
		return nil, errors.New("the answer is not of type " + mediaJSON)
	}
	return body, nil
}
