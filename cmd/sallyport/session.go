package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"sallyport/broker/sessions"
	"sallyport/identity"
)

type sessionCmd struct {
	List   sessionListCmd   `cmd:"" help:"List living sessions."`
	Revoke sessionRevokeCmd `cmd:"" help:"End a session, everything of a person, an application or a provider, or everything."`
	Token  sessionTokenCmd  `cmd:"" name:"revoke-token" help:"End one access token by its id (jti), while its session goes on."`
}

type sessionListCmd struct {
	User        string `help:"Those of one person."`
	Application string `help:"Those at one application; sallyport is the broker itself."`
	Provider    string `help:"Those of people who came in by one provider."`
	JSON        bool   `help:"Print one JSON object a line."`
}

// shownSession is a session as programs see it.
type shownSession struct {
	ID          string        `json:"id"`
	Parent      string        `json:"parent_id,omitempty"`
	Kind        sessions.Kind `json:"kind"`
	Account     string        `json:"account_id"`
	Provider    string        `json:"provider"`
	Application string        `json:"application"`
	CreatedAt   time.Time     `json:"created_at"`
	LastSeenAt  time.Time     `json:"last_seen_at"`
	ExpiresAt   time.Time     `json:"expires_at"`
	Address     string        `json:"address"`
	UserAgent   string        `json:"user_agent"`
}

// Run prints a page after the other.
func (s sessionListCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		account := ""
		if s.User != "" {
			p, err := h.broker.PersonByName(ctx, s.User)
			if err != nil {
				return explained(err)
			}
			account = p.ID
		}
		table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		if !s.JSON {
			_, _ = fmt.Fprintln(table, "SESSION\tKIND\tACCOUNT\tAPPLICATION\tPROVIDER\tSINCE\tSEEN\tADDRESS")
		}
		err := s.each(ctx, h, func(found sessions.Session) error {
			if account != "" && found.AccountID != account {
				return nil
			}
			if s.JSON {
				return json.NewEncoder(c.out).Encode(shownSession{
					found.ID, found.ParentID, found.Kind, found.AccountID, found.Provider, found.Application, found.CreatedAt,
					found.LastSeenAt, found.ExpiresAt, found.Address, found.UserAgent,
				})
			}
			_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", found.ID, found.Kind, found.AccountID, found.Application,
				found.Provider, found.CreatedAt.Format(time.RFC3339), found.LastSeenAt.Format(time.RFC3339), found.Address)
			return err
		})
		return errors.Join(err, table.Flush())
	})
}

func (s sessionListCmd) each(ctx context.Context, h *house, do func(sessions.Session) error) error {
	f := sessions.Filter{Application: s.Application, Provider: s.Provider, Limit: 200}
	for {
		list, err := h.broker.LiveSessions(ctx, f)
		if err != nil {
			return err
		}
		for _, found := range list {
			if err := do(found); err != nil {
				return err
			}
			f.After = found.ID
		}
		if len(list) < f.Limit {
			return nil
		}
	}
}

type sessionRevokeCmd struct {
	ID          string `arg:"" optional:"" help:"A session, with what hangs on it."`
	User        string `help:"All sessions and keys of one person, who may sign in again."`
	Application string `help:"All sessions and keys at one application."`
	Provider    string `help:"All sessions and keys of people who came in by one provider."`
	Everything  bool   `help:"All sessions and keys there are."`
}

// Run ends exactly what was named.
func (s sessionRevokeCmd) Run(ctx context.Context, c *console, flags *cli) error {
	named := 0
	for _, given := range []bool{s.ID != "", s.User != "", s.Application != "", s.Provider != "", s.Everything} {
		if given {
			named++
		}
	}
	if named != 1 {
		return errors.New("name one thing to end: a session's id, --user, --application, --provider or --everything")
	}
	return withHouse(ctx, c, flags.File, func(h *house) error {
		what, err := s.end(ctx, h)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.out, "ended", what)
		return err
	})
}

func (s sessionRevokeCmd) end(ctx context.Context, h *house) (what string, err error) {
	v := h.visit()
	switch {
	case s.ID != "":
		err = h.broker.EndAnySession(ctx, v, actor, s.ID)
		if errors.Is(err, identity.ErrNotFound) {
			err = errors.New("there is no such living session; sallyport session list shows them")
		}
		return "session " + s.ID, err
	case s.User != "":
		p, err := h.broker.PersonByName(ctx, s.User)
		if err == nil {
			err = h.broker.EndEverythingOf(ctx, v, actor, p.ID)
		}
		return "everything of " + s.User, explained(err)
	case s.Application != "":
		if _, err := v.Application(s.Application); err != nil {
			return "", fmt.Errorf("there is no application %q in the configuration", s.Application)
		}
		return "everything at " + s.Application, h.broker.CutOff(ctx, v, actor, sessions.CutApplication, s.Application)
	case s.Provider != "":
		if _, err := v.Providers.Get(s.Provider); err != nil {
			return "", fmt.Errorf("there is no provider %q in the configuration", s.Provider)
		}
		return "everything by " + s.Provider, h.broker.CutOff(ctx, v, actor, sessions.CutProvider, s.Provider)
	default:
		return "everything", h.broker.CutOff(ctx, v, actor, sessions.CutEverything, "")
	}
}

type sessionTokenCmd struct {
	ID          string `arg:"" help:"The token's jti."`
	Session     string `help:"Its sid, where it is known."`
	Application string `help:"Its client_id, where it is known."`
}

// Run remembers the token for as long as any token lives.
func (s sessionTokenCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		err := h.broker.RevokeToken(ctx, h.visit(), actor, sessions.RevokedToken{
			ID: s.ID, SessionID: s.Session, Application: s.Application, ExpiresAt: h.now().Add(24 * time.Hour),
		})
		if errors.Is(err, identity.ErrNotFound) {
			return errors.New("there is no such session")
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.out, "revoked", s.ID)
		return err
	})
}
