package jws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxRedirects bounds the redirects within one host.
const maxRedirects = 3

// sameHostOnly copies a client so that it stays where it was sent: a redirect elsewhere would let whoever controls one
// page of the issuer's host name another house's keys, or reach into our network.
func sameHostOnly(c *http.Client) *http.Client {
	own, theirs := *c, c.CheckRedirect
	own.Jar = nil
	own.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		switch first := via[0].URL; {
		case len(via) > maxRedirects:
			return errors.New("too many redirects")
		case req.URL.Host != first.Host || req.URL.Scheme != first.Scheme:
			return errors.New("redirect to another host")
		case theirs != nil:
			return theirs(req, via)
		default:
			return nil
		}
	}
	return &own
}

// fetch gets and reads the key set once. A panic while reading foreign bytes is an error, since this runs in a
// goroutine of its own.
func (r *Remote) fetch(ctx context.Context) (fresh *copied, err error) {
	defer func() {
		if p := recover(); p != nil {
			fresh, err = nil, fmt.Errorf("key set: panic: %v", p)
		}
	}()
	address, err := r.url(ctx)
	if err != nil {
		return nil, fmt.Errorf("key set address: %w", err)
	}
	raw, err := r.get(ctx, address)
	if err != nil {
		return nil, err
	}
	set, err := ParseSet(raw)
	if err != nil {
		return nil, err
	}
	return &copied{set: set, raw: raw}, nil
}

func (r *Remote) get(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("key set address is no plain http or https URL")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("key set request: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("key set request: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("key set request: status %d", res.StatusCode)
	}
	// One byte more than allowed, so that too much is noticed rather than cut.
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxSetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("key set answer: %w", err)
	}
	return body, nil
}
