package main

import (
	"context"
	"fmt"

	"sallyport/identity"
	"sallyport/tokens"
)

type signingKeyRotateCmd struct {
	Application string `help:"An application whose key is pinned; default: the key that all others share."`
	Algorithm   string `enum:"ES256,RS256,EdDSA," default:"" help:"Algorithm of the shared key; default: the broker's own."`
	Now         bool   `help:"Also when the next key was published too short a time ago."`
}

// Run works beside a running server, which hears of it within two seconds.
func (s signingKeyRotateCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		kid, err := h.broker.RotateSigningKey(ctx, h.visit(), actor, tokens.Algorithm(s.Algorithm), s.Application, s.Now)
		if err != nil {
			return s.explained(ctx, h, err)
		}
		_, err = fmt.Fprintf(c.out, "%s signs now; the one before verifies until its last token has expired\n", kid)
		return err
	})
}

// explained says in words what a refusal means, and what would break.
func (s signingKeyRotateCmd) explained(ctx context.Context, h *house, err error) error {
	switch identity.CodeOf(err) {
	case "application_unknown":
		return fmt.Errorf("there is no application %q", s.Application)
	case "signing_key_shared":
		return fmt.Errorf("%s has no such key of its own (signing_key: pinned); rotate the shared one with --algorithm", s.Application)
	case "signing_key_unknown":
		return fmt.Errorf("no such tokens are signed here; sallyport signing-key list shows all keys")
	case "signing_key_rotated":
		return fmt.Errorf("somebody else rotated at this moment; sallyport signing-key list shows what signs now")
	case "signing_key_too_young":
		return s.tooYoung(ctx, h)
	default:
		return err
	}
}

func (s signingKeyRotateCmd) tooYoung(ctx context.Context, h *house) error {
	snap := h.broker.Current()
	app := snap.SelfApplication
	if s.Application != "" {
		var err error
		if app, err = snap.Application(s.Application); err != nil {
			return err
		}
	}
	alg := app.Algorithm
	if s.Algorithm != "" {
		alg = tokens.Algorithm(s.Algorithm)
	}
	next, err := findKey(ctx, h, alg, s.Application, tokens.KeyNext)
	if err != nil {
		return err
	}
	return fmt.Errorf("the next key is published since %s and may sign from %s on: whoever verifies with a copy of the keys "+
		"may not have it yet and would refuse its tokens; --now rotates all the same", stamp(next.CreatedAt), stamp(next.Due))
}

type signingKeyRevokeCmd struct {
	Key string `arg:"" name:"key-id" help:"The key's id (kid), see signing-key list."`
}

// Run works beside a running server, which hears of it within two seconds.
func (s signingKeyRevokeCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		err := h.broker.RevokeSigningKey(ctx, h.visit(), actor, s.Key)
		if identity.CodeOf(err) == "signing_key_unknown" {
			return fmt.Errorf("there is no signing key %q; sallyport signing-key list shows them", s.Key)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, "%s is withdrawn; its tokens open nothing here any more. Who verifies with a copy of the keys "+
			"trusts it until the copy is renewed\n", s.Key)
		return err
	})
}
