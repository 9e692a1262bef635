package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sallyport/identity"
	"sallyport/mapping"
)

type explainCmd struct {
	User string `help:"Explain somebody who signed in before, by user name. Without it, an identity is read as JSON from standard input."`
	JSON bool   `help:"Print JSON."`
}

// explanation is the answer for one identity.
type explanation struct {
	Identity    identity.Identity `json:"identity"`
	Grant       mapping.Grant     `json:"grant"`
	Permissions []string          `json:"permissions"`
}

// Run prints the verdict of every rule. It ends with 2 when the identity would be refused.
func (e explainCmd) Run(ctx context.Context, c *console, flags *cli) error {
	mapper, identities, err := e.subject(ctx, c, flags)
	if err != nil {
		return err
	}
	refused := false
	for _, id := range identities {
		grant := mapper.Map(id)
		refused = refused || len(grant.Roles) == 0
		if err := e.print(c.out, explanation{id, grant, mapper.Permissions(grant.Roles)}); err != nil {
			return err
		}
	}
	if refused {
		return errFinding
	}
	return nil
}

// subject finds whom to explain, and the rules in force in the file.
func (e explainCmd) subject(ctx context.Context, c *console, flags *cli) (*mapping.Mapper, []identity.Identity, error) {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return nil, nil, err
	}
	if e.User == "" {
		id, err := readIdentity(c.in)
		return config.Mapper(), []identity.Identity{id}, err
	}
	var found []identity.Identity
	err = withHouse(ctx, c, flags.File, func(h *house) error {
		p, err := h.broker.PersonByName(ctx, e.User)
		if err != nil {
			return explained(err)
		}
		for _, l := range p.Identities {
			found = append(found, l.Snapshot)
		}
		return nil
	})
	return config.Mapper(), found, err
}

// readIdentity reads {"provider": …, "groups": […], …} strictly.
func readIdentity(r io.Reader) (identity.Identity, error) {
	var id identity.Identity
	raw, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return id, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&id); err != nil {
		return id, fmt.Errorf("identity on standard input: %w", err)
	}
	if id.Provider == "" {
		return id, errors.New(`identity on standard input: "provider" is missing`)
	}
	return id, nil
}

func (e explainCmd) print(w io.Writer, x explanation) error {
	if e.JSON {
		return json.NewEncoder(w).Encode(x)
	}
	_, _ = fmt.Fprintf(w, "identity     %s at %s, %d groups\n", nameOf(x.Identity), x.Identity.Provider, len(x.Identity.Groups))
	switch {
	case x.Grant.Denied:
		_, _ = fmt.Fprintln(w, "decision     refused: a deny rule matched")
	case len(x.Grant.Roles) == 0:
		_, _ = fmt.Fprintln(w, "decision     refused: no rule gave a role")
	default:
		_, _ = fmt.Fprintln(w, "decision     roles", strings.Join(x.Grant.Roles, ", "))
		_, _ = fmt.Fprintln(w, "permissions ", strings.Join(x.Permissions, ", "))
	}
	_, _ = fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "RULE\tPROVIDER\tCONDITION\tVERDICT\tEFFECT")
	for _, v := range x.Grant.Verdicts {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", v.Where, v.Provider, v.Condition, verdictText(v), effectText(v))
	}
	return t.Flush()
}

func nameOf(id identity.Identity) string {
	if id.Username != "" {
		return id.Username
	}
	return id.Subject
}

func verdictText(v mapping.Verdict) string {
	if v.Matched && v.Value != "" {
		return v.Cause + " " + fmt.Sprintf("%q", v.Value)
	}
	return v.Cause
}

func effectText(v mapping.Verdict) string {
	var parts []string
	switch {
	case v.Matched && v.Deny:
		parts = append(parts, "deny")
	case len(v.Roles) > 0:
		parts = append(parts, "roles "+strings.Join(v.Roles, ", "))
	}
	if len(v.Refused) > 0 {
		parts = append(parts, "not granted: "+strings.Join(v.Refused, ", "))
	}
	return strings.Join(parts, "; ")
}
