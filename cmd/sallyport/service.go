package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"sallyport/broker/people"
)

type serviceCmd struct {
	Add      serviceAddCmd      `cmd:"" help:"Make a service account: nobody signs in to it, only its API keys act for it."`
	List     serviceListCmd     `cmd:"" help:"List service accounts."`
	SetRoles serviceSetRolesCmd `cmd:"" help:"Replace a service account's roles; its keys are worth the new ones at once."`
	Disable  serviceDisableCmd  `cmd:"" help:"Close a service account: ends its keys."`
	Enable   serviceEnableCmd   `cmd:"" help:"Open it again. Keys that were ended stay ended."`
}

type serviceAddCmd struct {
	Name string   `arg:"" help:"Its name, which no person and no other service has."`
	Role []string `help:"Role it has; repeat for several."`
}

// Run makes the account.
func (s serviceAddCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		account, err := h.broker.CreateService(ctx, h.visit(), actor, s.Name, s.Role)
		if err != nil {
			return keyExplained(err)
		}
		_, err = fmt.Fprintf(c.out, "added %s (%s)\n", account.Username, account.ID)
		return err
	})
}

type serviceListCmd struct {
	JSON bool `help:"Print one JSON object a line."`
}

// listedService is a service account as programs see it.
type listedService struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Roles     []string  `json:"roles"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
}

// Run lists by name.
func (s serviceListCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		all, err := h.broker.Services(ctx)
		if err != nil {
			return err
		}
		if s.JSON {
			return listServices(c, all)
		}
		table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "NAME\tSTATE\tROLES")
		for _, a := range all {
			state := "active"
			if a.Disabled {
				state = "disabled"
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", a.Username, state, strings.Join(a.Roles, ","))
		}
		return table.Flush()
	})
}

func listServices(c *console, all []people.Account) error {
	out := json.NewEncoder(c.out)
	for _, a := range all {
		err := out.Encode(listedService{
			ID: a.ID, Name: a.Username, Roles: append([]string{}, a.Roles...), Disabled: a.Disabled, CreatedAt: a.CreatedAt.UTC(),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

type serviceSetRolesCmd struct {
	Name  string   `arg:""`
	Roles []string `arg:"" optional:"" help:"The roles; none empties the list."`
}

// Run replaces the roles.
func (s serviceSetRolesCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		if err := h.broker.SetServiceRoles(ctx, h.visit(), actor, s.Name, s.Roles); err != nil {
			return keyExplained(err)
		}
		_, err := fmt.Fprintf(c.out, "roles of %s: %s\n", s.Name, strings.Join(s.Roles, ", "))
		return err
	})
}

type serviceDisableCmd struct {
	Name string `arg:""`
}

// Run closes the account.
func (s serviceDisableCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return setServiceDisabled(ctx, c, flags, s.Name, true, "disabled")
}

type serviceEnableCmd struct {
	Name string `arg:""`
}

// Run opens the account.
func (s serviceEnableCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return setServiceDisabled(ctx, c, flags, s.Name, false, "enabled")
}

func setServiceDisabled(ctx context.Context, c *console, flags *cli, name string, disabled bool, word string) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		p, err := h.broker.PersonByName(ctx, name)
		if err != nil {
			return keyExplained(err)
		}
		if p.Kind != people.ServiceAccount {
			return errors.New("that is a person; see sallyport user")
		}
		if err := h.broker.SetDisabled(ctx, h.visit(), actor, name, disabled); err != nil {
			return keyExplained(err)
		}
		_, err = fmt.Fprintln(c.out, word, name)
		return err
	})
}
