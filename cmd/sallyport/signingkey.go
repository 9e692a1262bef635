package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"sallyport/identity"
	"sallyport/tokens"
)

type signingKeyCmd struct {
	List   signingKeyListCmd   `cmd:"" help:"List the keys that tokens are signed with: next, current and retired."`
	Export signingKeyExportCmd `cmd:"" help:"Print a public key as PEM, for applications that verify tokens without the JWK set."`
}

type signingKeyListCmd struct {
	JSON bool `help:"Print one JSON object a line."`
}

// shownKey is a signing key as programs see it.
type shownKey struct {
	ID        string           `json:"kid"`
	Algorithm tokens.Algorithm `json:"algorithm"`
	State     tokens.KeyState  `json:"state"`
	CreatedAt time.Time        `json:"created_at"`
}

// Run shows public facts only.
func (s signingKeyListCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		keys, err := h.broker.SigningKeys(ctx)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		if !s.JSON {
			_, _ = fmt.Fprintln(table, "KEY ID\tALGORITHM\tSTATE\tMADE")
		}
		for _, k := range keys {
			if s.JSON {
				if err := json.NewEncoder(c.out).Encode(shownKey{k.ID, k.Algorithm, k.State, k.CreatedAt.UTC()}); err != nil {
					return err
				}
				continue
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", k.ID, k.Algorithm, k.State, k.CreatedAt.UTC().Format(time.RFC3339))
		}
		return table.Flush()
	})
}

type signingKeyExportCmd struct {
	Application string `help:"The application that verifies with the key; default: the broker's own algorithm."`
	Key         string `name:"key-id" help:"A key by its id (kid), for instance the next one; default: the one that signs now."`
}

// Run prints the key alone, so that it can be written to a file.
func (s signingKeyExportCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		kid, err := s.chosen(ctx, h)
		if err != nil {
			return err
		}
		pem, err := h.broker.SigningKeyPEM(ctx, kid)
		if errors.Is(err, identity.ErrNotFound) {
			return fmt.Errorf("there is no signing key %q; sallyport signing-key list shows them", kid)
		}
		if err != nil {
			return err
		}
		_, err = c.out.Write(pem)
		return err
	})
}

// chosen is the id of the key that was asked for.
func (s signingKeyExportCmd) chosen(ctx context.Context, h *house) (string, error) {
	if s.Key != "" {
		return s.Key, nil
	}
	app := h.broker.Current().SelfApplication
	if s.Application != "" {
		var err error
		if app, err = h.broker.Current().Application(s.Application); err != nil {
			return "", fmt.Errorf("there is no application %q", s.Application)
		}
	}
	if app.Algorithm == tokens.HS256 {
		return "", fmt.Errorf("tokens of %s are signed with its shared secret (HS256); there is no public key", app.ID)
	}
	keys, err := h.broker.SigningKeys(ctx)
	if err != nil {
		return "", err
	}
	for _, k := range keys {
		if k.Algorithm == app.Algorithm && k.State == tokens.KeyCurrent {
			return k.ID, nil
		}
	}
	return "", fmt.Errorf("no %s key signs now", app.Algorithm)
}
