package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"sallyport/broker"
	"sallyport/broker/people"
	"sallyport/identity"
)

// actor names the command line in audit events.
const actor = "cli"

type userCmd struct {
	Add         userAddCmd         `cmd:"" help:"Make a local person."`
	List        userListCmd        `cmd:"" help:"List everybody."`
	Disable     userDisableCmd     `cmd:"" help:"Close an account: ends its sessions, codes and keys."`
	Enable      userEnableCmd      `cmd:"" help:"Open an account again. What was ended stays ended."`
	SetPassword userSetPasswordCmd `cmd:"" help:"Replace a local person's password and end their sessions."`
	SetGroups   userSetGroupsCmd   `cmd:"" help:"Replace a local person's groups."`
}

type userAddCmd struct {
	Username string   `arg:"" help:"Name to sign in with."`
	Name     string   `help:"Full name."`
	Email    string   `help:"E-mail address."`
	Group    []string `help:"Group for the mapping rules; repeat for several."`
	Admin    bool     `help:"Let them administer the broker."`
	Provider string   `help:"Id of the local provider, where there are several."`
}

// Run reads the password from the terminal (unseen) or one line of standard input.
func (u userAddCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		password, err := readPassword(c)
		if err != nil {
			return err
		}
		account, err := h.broker.AddPerson(ctx, h.visit(), actor, broker.NewPerson{
			Provider: u.Provider, Username: u.Username, Name: u.Name, Email: u.Email, Groups: u.Group,
			Password: password, Administrator: u.Admin,
		})
		if err != nil {
			return explained(err)
		}
		_, err = fmt.Fprintf(c.out, "added %s (%s)\n", account.Username, account.ID)
		return err
	})
}

// explained says in words what a code means to somebody at a terminal.
func explained(err error) error {
	words := map[string]string{
		"username_taken":         "that user name is taken",
		"username_invalid":       "a user name has no spaces or control characters and at most 256 bytes",
		"password_too_short":     "the password is too short for this provider's policy",
		"password_too_long":      "the password is too long (at most 1024 bytes)",
		"password_common":        "the password is one of the most common ones",
		"password_contains_name": "the password is the person's own name or address",
		"last_administrator":     "nobody else could administer the broker; give somebody else --admin first",
		"not_local":              "that person is not a local one; their provider keeps password and groups",
		"provider_unknown":       "there is no such local provider",
	}[identity.CodeOf(err)]
	switch {
	case words != "":
		return errors.New(words)
	case errors.Is(err, identity.ErrNotFound):
		return errors.New("there is nobody of that name")
	default:
		return err
	}
}

// readPassword takes one line; on a terminal it is not shown.
func readPassword(c *console) (string, error) {
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		_, _ = fmt.Fprint(c.err, "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		_, _ = fmt.Fprintln(c.err)
		return string(b), err
	}
	line, err := bufio.NewReader(io.LimitReader(c.in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

type userListCmd struct {
	JSON bool `help:"Print one JSON object a line."`
}

// listed is a person as programs see them.
type listed struct {
	ID        string    `json:"id"`
	Username  string    `json:"username"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	Disabled  bool      `json:"disabled"`
	Providers []string  `json:"providers"`
	CreatedAt time.Time `json:"created_at"`
	SignedIn  time.Time `json:"signed_in_at,omitzero"`
}

// Run lists by name.
func (u userListCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		if !u.JSON {
			_, _ = fmt.Fprintln(table, "NAME\tSTATE\tPROVIDERS\tLAST SIGN-IN\tFULL NAME")
		}
		err := eachPerson(ctx, h, func(p listed) error {
			if u.JSON {
				return json.NewEncoder(c.out).Encode(p)
			}
			state, last := "active", "never"
			if p.Disabled {
				state = "disabled"
			}
			if !p.SignedIn.IsZero() {
				last = p.SignedIn.Format(time.RFC3339)
			}
			_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", p.Username, state, strings.Join(p.Providers, ","), last, p.Name)
			return err
		})
		return errors.Join(err, table.Flush())
	})
}

func eachPerson(ctx context.Context, h *house, do func(listed) error) error {
	const page = 200
	for after := ""; ; {
		accounts, err := h.broker.People(ctx, after, page)
		if err != nil {
			return err
		}
		for _, a := range accounts {
			p, err := personOf(ctx, h, a)
			if err != nil {
				return err
			}
			if err := do(p); err != nil {
				return err
			}
			after = a.UsernameKey
		}
		if len(accounts) < page {
			return nil
		}
	}
}

func personOf(ctx context.Context, h *house, a people.Account) (listed, error) {
	full, err := h.broker.PersonByID(ctx, a.ID)
	p := listed{
		ID: a.ID, Username: a.Username, Name: a.Name, Email: a.Email, Disabled: a.Disabled, CreatedAt: a.CreatedAt.UTC(),
		Providers: []string{},
	}
	if !a.SignedInAt.IsZero() {
		p.SignedIn = a.SignedInAt.UTC()
	}
	for _, l := range full.Identities {
		p.Providers = append(p.Providers, l.Provider)
	}
	return p, err
}

type userDisableCmd struct {
	Username string `arg:""`
}

// Run closes an account.
func (u userDisableCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return setDisabled(ctx, c, flags, u.Username, true, "disabled")
}

type userEnableCmd struct {
	Username string `arg:""`
}

// Run opens an account.
func (u userEnableCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return setDisabled(ctx, c, flags, u.Username, false, "enabled")
}

func setDisabled(ctx context.Context, c *console, flags *cli, username string, disabled bool, word string) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		if err := h.broker.SetDisabled(ctx, h.visit(), actor, username, disabled); err != nil {
			return explained(err)
		}
		_, err := fmt.Fprintln(c.out, word, username)
		return err
	})
}

type userSetPasswordCmd struct {
	Username string `arg:""`
}

// Run reads the new password like add does.
func (u userSetPasswordCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		password, err := readPassword(c)
		if err != nil {
			return err
		}
		if err := h.broker.SetPassword(ctx, h.visit(), actor, u.Username, password); err != nil {
			return explained(err)
		}
		_, err = fmt.Fprintln(c.out, "password set for", u.Username)
		return err
	})
}

type userSetGroupsCmd struct {
	Username string   `arg:""`
	Groups   []string `arg:"" optional:"" help:"The groups; none empties the list."`
}

// Run replaces the groups.
func (u userSetGroupsCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		if err := h.broker.SetGroups(ctx, h.visit(), actor, u.Username, u.Groups); err != nil {
			return explained(err)
		}
		_, err := fmt.Fprintf(c.out, "groups of %s: %s\n", u.Username, strings.Join(u.Groups, ", "))
		return err
	})
}
