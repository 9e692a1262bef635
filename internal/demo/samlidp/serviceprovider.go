package samlidp

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/crewjam/saml"
)

const (
	maxMetadata  = 1 << 20
	fetchTimeout = 5 * time.Second
)

// registration is the one service provider that is known here. It implements saml.ServiceProviderProvider.
type registration struct {
	url    string
	client *http.Client

	mu    sync.Mutex
	known *saml.EntityDescriptor
}

var _ saml.ServiceProviderProvider = (*registration)(nil)

func newRegistration(sp ServiceProvider) (*registration, error) {
	switch {
	case sp.MetadataURL != "" && (sp.EntityID != "" || sp.ACSURL != ""):
		return nil, errors.New("the service provider has metadata and an entity id or endpoint; keep one")
	case sp.MetadataURL != "":
		return &registration{url: sp.MetadataURL, client: newClient()}, nil
	case sp.EntityID == "" || sp.ACSURL == "":
		return nil, errors.New("the service provider has neither metadata nor entity id and endpoint")
	}
	known := &saml.EntityDescriptor{EntityID: sp.EntityID, SPSSODescriptors: []saml.SPSSODescriptor{{
		AssertionConsumerServices: []saml.IndexedEndpoint{{Binding: saml.HTTPPostBinding, Location: sp.ACSURL}},
	}}}
	return &registration{known: known}, nil
}

// newClient fetches from this machine, whatever a resolver says of localhost names (RFC 6761 section 6.3).
func newClient() *http.Client {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		d := &net.Dialer{Timeout: fetchTimeout}
		host, port, err := net.SplitHostPort(address)
		if err != nil || host != "localhost" && !strings.HasSuffix(host, ".localhost") {
			return d.DialContext(ctx, network, address)
		}
		conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			if six, err := d.DialContext(ctx, network, net.JoinHostPort("::1", port)); err == nil {
				return six, nil
			}
		}
		return conn, err
	}
	return &http.Client{
		Timeout:       fetchTimeout,
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// GetServiceProvider returns the registered service provider if it has this entity id, else os.ErrNotExist.
func (g *registration) GetServiceProvider(r *http.Request, entityID string) (*saml.EntityDescriptor, error) {
	known, err := g.get(r.Context())
	if err != nil {
		return nil, fmt.Errorf("metadata of the service provider: %w", err)
	}
	if known.EntityID != entityID {
		return nil, os.ErrNotExist
	}
	return known, nil
}

// get fetches the metadata until that worked once.
func (g *registration) get(ctx context.Context) (*saml.EntityDescriptor, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known != nil {
		return g.known, nil
	}
	raw, err := g.fetch(ctx)
	if err != nil {
		return nil, err
	}
	g.known, err = readMetadata(raw)
	return g.known, err
}

func (g *registration) fetch(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := g.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d", answer.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxMetadata+1))
	if err == nil && len(raw) > maxMetadata {
		err = errors.New("the document is too large")
	}
	return raw, err
}

// readMetadata takes the endpoints for HTTP-POST and nothing else.
func readMetadata(raw []byte) (*saml.EntityDescriptor, error) {
	var d saml.EntityDescriptor
	if err := xml.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	known := &saml.EntityDescriptor{EntityID: d.EntityID}
	for _, role := range d.SPSSODescriptors {
		if role.AuthnRequestsSigned != nil && *role.AuthnRequestsSigned {
			return nil, errors.New("the service provider signs its requests, which are not verified here")
		}
		var taken saml.SPSSODescriptor
		for _, e := range role.AssertionConsumerServices {
			if e.Binding == saml.HTTPPostBinding && isAbsolute(e.Location) {
				taken.AssertionConsumerServices = append(taken.AssertionConsumerServices, e)
			}
		}
		if len(taken.AssertionConsumerServices) > 0 {
			known.SPSSODescriptors = append(known.SPSSODescriptors, taken)
		}
	}
	if known.EntityID == "" || len(known.SPSSODescriptors) == 0 {
		return nil, errors.New("the document has no entity id or no endpoint for HTTP-POST")
	}
	return known, nil
}

func isAbsolute(location string) bool {
	u, err := url.Parse(location)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}
