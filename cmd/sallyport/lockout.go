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
)

type lockoutCmd struct {
	List  lockoutListCmd  `cmd:"" help:"List names and networks that nothing further is tried for."`
	Clear lockoutClearCmd `cmd:"" help:"Forget failed sign-ins, so that the next one is looked at. A running server goes by it at once."`
}

type lockoutListCmd struct {
	All  bool `help:"Also what failed less often than the limits."`
	JSON bool `help:"Print one JSON object a line."`
}

// shownLockout is a counter as programs see it.
type shownLockout struct {
	Scope  string    `json:"scope"`
	Label  string    `json:"label"`
	Count  int       `json:"count"`
	Limit  int       `json:"limit"`
	Locked bool      `json:"locked"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
}

// Run lists what counts now. What somebody typed who is nobody is shown nowhere, since it may be a password.
func (l lockoutListCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		if !l.JSON {
			_, _ = fmt.Fprintln(table, "SCOPE\tOF\tFAILED\tUNTIL")
		}
		err := eachLockout(ctx, h, func(one broker.Lockout) error {
			switch {
			case !l.All && !one.Locked():
				return nil
			case l.JSON:
				return json.NewEncoder(c.out).Encode(shownLockout{
					one.Scope, one.Label, one.Count, one.Most, one.Locked(), one.Since.UTC(), one.Until.UTC(),
				})
			}
			of := one.Label
			if of == "" {
				of = "(a name nobody has)"
			}
			_, err := fmt.Fprintf(table, "%s\t%s\t%d of %d\t%s\n", one.Scope, of, one.Count, one.Most, one.Until.UTC().Format(time.RFC3339))
			return err
		})
		return errors.Join(err, table.Flush())
	})
}

func eachLockout(ctx context.Context, h *house, do func(broker.Lockout) error) error {
	const page = 500
	for after := ""; ; {
		list, err := h.broker.Lockouts(ctx, h.broker.Current(), after, page)
		if err != nil {
			return err
		}
		for _, one := range list {
			if err := do(one); err != nil {
				return err
			}
			after = one.Key
		}
		if len(list) < page {
			return nil
		}
	}
}

type lockoutClearCmd struct {
	What string `arg:"" optional:"" help:"A user name, from everywhere; or an address, whatever the names."`
	All  bool   `help:"All of them."`
}

// Run clears one or all.
func (l lockoutClearCmd) Run(ctx context.Context, c *console, flags *cli) error {
	if (l.What == "") != l.All {
		return errors.New("expected a user name, an address, or --all")
	}
	return withHouse(ctx, c, flags.File, func(h *house) error {
		var n int
		var err error
		if l.All {
			n, err = h.broker.ClearLockouts(ctx, h.visit(), actor)
		} else {
			n, err = h.broker.ClearLockout(ctx, h.visit(), actor, l.What)
		}
		if errors.Is(err, identity.ErrNotFound) {
			return errors.New("no failed sign-in counts there")
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, "cleared, %d counters\n", n)
		return err
	})
}
