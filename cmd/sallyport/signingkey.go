package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"sallyport/broker"
	"sallyport/identity"
	"sallyport/tokens"
)

type signingKeyCmd struct {
	List   signingKeyListCmd   `cmd:"" help:"List the keys that tokens are signed with: next, current and retired."`
	Export signingKeyExportCmd `cmd:"" help:"Print a public key as PEM, for applications that verify tokens without the JWK set."`
	Rotate signingKeyRotateCmd `cmd:"" help:"Let the next key sign now. The former one verifies until its last token has expired."`
	Revoke signingKeyRevokeCmd `cmd:"" help:"Withdraw a key that others may have. What it signed is dead at once."`
}

type signingKeyListCmd struct {
	JSON bool `help:"Print one JSON object a line."`
}

// shownKey is a signing key as programs see it.
type shownKey struct {
	ID          string           `json:"kid"`
	Algorithm   tokens.Algorithm `json:"algorithm"`
	State       tokens.KeyState  `json:"state"`
	Application string           `json:"application,omitempty"`
	Used        bool             `json:"used"`
	CreatedAt   time.Time        `json:"created_at"`
	CurrentAt   time.Time        `json:"current_at,omitzero"`
	RetiredAt   time.Time        `json:"retired_at,omitzero"`
	DueAt       time.Time        `json:"due_at,omitzero"`
}

func showKey(k broker.SigningKey) shownKey {
	return shownKey{
		k.ID, k.Algorithm, k.State, k.Application, k.Used, k.CreatedAt.UTC(), k.CurrentAt.UTC(), k.RetiredAt.UTC(), k.Due.UTC(),
	}
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
			_, _ = fmt.Fprintln(table, "KEY ID\tALGORITHM\tSTATE\tMADE\tSIGNS FOR\tSINCE\tTHEN")
		}
		for _, k := range keys {
			if s.JSON {
				if err := json.NewEncoder(c.out).Encode(showKey(k)); err != nil {
					return err
				}
				continue
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
				k.ID, k.Algorithm, k.State, stamp(k.CreatedAt), signsFor(k), stamp(since(k)), then(k))
		}
		return table.Flush()
	})
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func signsFor(k broker.SigningKey) string {
	switch {
	case !k.Used:
		return "nobody"
	case k.Application != "":
		return k.Application
	default:
		return "all others"
	}
}

// since is when the key came into its state.
func since(k broker.SigningKey) time.Time {
	switch k.State {
	case tokens.KeyCurrent:
		return k.CurrentAt
	case tokens.KeyRetired:
		return k.RetiredAt
	default:
		return k.CreatedAt
	}
}

// then says what will happen to the key by itself.
func then(k broker.SigningKey) string {
	switch {
	case k.Due.IsZero():
		return "stays until somebody changes it"
	case k.State == tokens.KeyRetired:
		return "deleted after " + stamp(k.Due)
	case k.State == tokens.KeyCurrent:
		return "signs until " + stamp(k.Due)
	default:
		return "may sign from " + stamp(k.Due)
	}
}

type signingKeyExportCmd struct {
	Application string `help:"The application that verifies with the key; default: the broker's own algorithm."`
	Next        bool   `help:"The key that will sign after the next rotation, to be put beside the one of now in advance."`
	Key         string `name:"key-id" help:"A key by its id (kid); default: the one that signs now."`
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
	owner, state := "", tokens.KeyCurrent
	if app.Pinned {
		owner = app.ID
	}
	if s.Next {
		state = tokens.KeyNext
	}
	k, err := findKey(ctx, h, app.Algorithm, owner, state)
	return k.ID, err
}

// findKey returns the one key of its kind.
func findKey(
	ctx context.Context, h *house, alg tokens.Algorithm, application string, state tokens.KeyState,
) (broker.SigningKey, error) {
	keys, err := h.broker.SigningKeys(ctx)
	if err != nil {
		return broker.SigningKey{}, err
	}
	for _, k := range keys {
		if k.Algorithm == alg && k.Application == application && k.State == state {
			return k, nil
		}
	}
	return broker.SigningKey{}, fmt.Errorf("there is no %s %s key", state, alg)
}
