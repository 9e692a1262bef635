package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sallyport/broker"
	"sallyport/broker/sessions"
	"sallyport/identity"
)

type keyCmd struct {
	List     keyListCmd     `cmd:"" help:"List living API keys, without their secrets."`
	Create   keyCreateCmd   `cmd:"" help:"Make an API key for a person or a service account, and print it: it is never shown again."`
	Rotate   keyRotateCmd   `cmd:"" help:"Make a key's successor and print it; the key itself ends after the overlap."`
	Revoke   keyRevokeCmd   `cmd:"" help:"End a key at once."`
	Activate keyActivateCmd `cmd:"" help:"Let a key go on that a restore had suspended."`
}

type keyListCmd struct {
	Application string `help:"Only those that open this application."`
	State       string `enum:",active,pending,suspended" default:"" help:"Only those in this state: active, pending or suspended."`
	User        string `help:"Only those of this person or service account."`
	JSON        bool   `help:"Print one JSON object a line."`
}

// listedKey is a key as programs see it.
type listedKey struct {
	ID          string         `json:"id"`
	Prefix      string         `json:"prefix"`
	Name        string         `json:"name"`
	User        string         `json:"user"`
	Application string         `json:"application"`
	State       sessions.State `json:"state"`
	Roles       []string       `json:"roles"`
	Networks    []string       `json:"networks"`
	ReadOnly    bool           `json:"read_only"`
	Requests    int            `json:"requests,omitempty"`
	PerSeconds  int            `json:"per_seconds,omitempty"`
	CreatedAt   time.Time      `json:"created_at"`
	ExpiresAt   time.Time      `json:"expires_at,omitzero"` // absent: never
	LastUsedAt  time.Time      `json:"last_used_at,omitzero"`
	Successor   string         `json:"successor,omitempty"`
}

func listKey(k broker.OwnedKey) listedKey {
	l := listedKey{
		ID: k.ID, Prefix: k.Prefix, Name: k.Name, User: k.Username, Application: k.Application, State: k.State,
		Roles: append([]string{}, k.Roles...), Networks: []string{}, ReadOnly: k.ReadOnly, Requests: k.Requests,
		PerSeconds: int(k.Per / time.Second), CreatedAt: k.CreatedAt.UTC(), Successor: k.Successor,
	}
	for _, n := range k.Networks {
		l.Networks = append(l.Networks, n.String())
	}
	if !k.ExpiresAt.Equal(sessions.Never()) {
		l.ExpiresAt = k.ExpiresAt.UTC()
	}
	if !k.LastUsedAt.IsZero() {
		l.LastUsedAt = k.LastUsedAt.UTC()
	}
	return l
}

// limits says in a few words what the key may be used for beside its roles.
func (l listedKey) limits() string {
	var words []string
	if l.ReadOnly {
		words = append(words, "read-only")
	}
	if l.Requests > 0 {
		words = append(words, fmt.Sprintf("%d/%s", l.Requests, time.Duration(l.PerSeconds)*time.Second))
	}
	if words = append(words, l.Networks...); len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}

// Run lists by id, or of one account the newest first.
func (l keyListCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		if !l.JSON {
			_, _ = fmt.Fprintln(table, "ID\tUSER\tNAME\tAPPLICATION\tSTATE\tROLES\tLIMITS\tEXPIRES\tLAST USE")
		}
		err := l.each(ctx, h, func(k broker.OwnedKey) error {
			row := listKey(k)
			if l.JSON {
				return json.NewEncoder(c.out).Encode(row)
			}
			_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.ID, row.User, row.Name, row.Application,
				row.State, strings.Join(row.Roles, ","), row.limits(), orNever(row.ExpiresAt), orNever(row.LastUsedAt))
			return err
		})
		return errors.Join(keyExplained(err), table.Flush())
	})
}

func orNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

// each goes through the keys that were asked for.
func (l keyListCmd) each(ctx context.Context, h *house, do func(broker.OwnedKey) error) error {
	if l.User != "" {
		return l.eachOf(ctx, h, do)
	}
	f := sessions.Filter{Application: l.Application, State: sessions.State(l.State), Limit: 200}
	for {
		page, err := h.broker.AllKeys(ctx, f)
		if err != nil {
			return err
		}
		for _, k := range page {
			if err := do(k); err != nil {
				return err
			}
			f.After = k.ID
		}
		if len(page) < f.Limit {
			return nil
		}
	}
}

func (l keyListCmd) eachOf(ctx context.Context, h *house, do func(broker.OwnedKey) error) error {
	owner, err := h.broker.PersonByName(ctx, l.User)
	if err != nil {
		return explained(err)
	}
	keys, err := h.broker.Keys(ctx, identity.Principal{Subject: owner.ID})
	if err != nil {
		return err
	}
	now := h.now()
	keys = slices.DeleteFunc(keys, func(k sessions.Key) bool {
		return !now.Before(k.ExpiresAt) || l.Application != "" && k.Application != l.Application ||
			l.State != "" && k.State != sessions.State(l.State)
	})
	for _, k := range keys {
		if err := do(broker.OwnedKey{Key: k, Username: owner.Username}); err != nil {
			return err
		}
	}
	return nil
}

type keyCreateCmd struct {
	User        string   `xor:"owner" required:"" help:"The person who owns the key."`
	Service     string   `xor:"owner" required:"" help:"The service account that owns the key."`
	Application string   `required:"" help:"Id of the application it opens; sallyport is the broker itself."`
	Name        string   `required:"" help:"What will use it."`
	Role        []string `help:"Role it may use, of those its owner has; repeat for several. None: all of them."`
	Expires     string   `help:"How long it lives: a number of days such as 90d, a duration such as 12h, or never. Default: the configuration's."`
	Network     []string `help:"Network (CIDR) or address it may be used from; repeat for several."`
	ReadOnly    bool     `help:"Let it change nothing: GET, HEAD and OPTIONS only."`
	Rate        string   `help:"How many requests it may make in which time, such as 100/1m."`
}

// Run prints the key alone on standard output.
func (k keyCreateCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		visit := h.visit()
		app, err := visit.Application(k.Application)
		if err != nil {
			return keyExplained(err)
		}
		wanted, err := k.wanted(app)
		if err != nil {
			return err
		}
		create, owner := h.broker.CreatePersonKey, k.User
		if k.Service != "" {
			create, owner = h.broker.CreateServiceKey, k.Service
		}
		made, whole, err := create(ctx, visit, actor, owner, wanted)
		if err != nil {
			return keyExplained(err)
		}
		return printKey(c, made, whole)
	})
}

func (k keyCreateCmd) wanted(app *broker.Application) (broker.NewKey, error) {
	n := broker.NewKey{Name: k.Name, Application: app, Roles: k.Role, ReadOnly: k.ReadOnly, Never: k.Expires == "never"}
	var err error
	if !n.Never && k.Expires != "" {
		if n.Lifetime, err = span(k.Expires); err != nil {
			return n, err
		}
	}
	for _, text := range k.Network {
		p, err := broker.ParseNetwork(text)
		if err != nil {
			return n, fmt.Errorf("%q is no network such as 192.0.2.0/24 and no address", text)
		}
		n.Networks = append(n.Networks, p)
	}
	if k.Rate != "" {
		n.Requests, n.Per, err = rateOf(k.Rate)
	}
	return n, err
}

// span reads a time of whole days ("90d"), or one as Go writes it ("12h").
func span(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is no time such as 90d or 12h", text)
}

// rateOf reads "100/1m".
func rateOf(text string) (requests int, per time.Duration, err error) {
	n, in, _ := strings.Cut(text, "/")
	requests, err = strconv.Atoi(n)
	if err == nil {
		per, err = span(in)
	}
	if err != nil || requests < 1 {
		return 0, 0, fmt.Errorf("%q is no rate such as 100/1m", text)
	}
	return requests, per, nil
}

// printKey puts the key alone where a program reads it, and what a person wants to know beside it.
func printKey(c *console, k broker.IssuedKey, whole string) error {
	_, _ = fmt.Fprintf(c.err, "key %s of %q opens %s, expires %s; it is not shown again\n", k.ID, k.Name, k.Application,
		orNever(listKey(broker.OwnedKey{Key: k.Key}).ExpiresAt))
	_, err := io.WriteString(c.out, whole+"\n")
	return err
}

type keyRotateCmd struct {
	ID      string `arg:"" help:"Id of the key: what stands between its prefix and its secret."`
	Overlap string `default:"24h" help:"How long the old key goes on, at most 30d; 0s ends it at once."`
}

// Run prints the successor alone on standard output.
func (k keyRotateCmd) Run(ctx context.Context, c *console, flags *cli) error {
	overlap, err := span(k.Overlap)
	if err != nil {
		return err
	}
	return withHouse(ctx, c, flags.File, func(h *house) error {
		made, whole, err := h.broker.RotateAnyKey(ctx, h.visit(), actor, k.ID, overlap)
		if err != nil {
			return keyExplained(err)
		}
		return printKey(c, made, whole)
	})
}

type keyRevokeCmd struct {
	ID string `arg:""`
}

// Run ends a key.
func (k keyRevokeCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return changeKey(ctx, c, flags, k.ID, (*broker.Broker).RevokeAnyKey, "revoked")
}

type keyActivateCmd struct {
	ID string `arg:""`
}

// Run lets a suspended key go on.
func (k keyActivateCmd) Run(ctx context.Context, c *console, flags *cli) error {
	return changeKey(ctx, c, flags, k.ID, (*broker.Broker).ActivateKey, "activated")
}

func changeKey(
	ctx context.Context, c *console, flags *cli, id string,
	change func(b *broker.Broker, ctx context.Context, v broker.Visit, actor, id string) error, word string,
) error {
	return withHouse(ctx, c, flags.File, func(h *house) error {
		if err := change(h.broker, ctx, h.visit(), actor, id); err != nil {
			return keyExplained(err)
		}
		_, err := fmt.Fprintln(c.out, word, id)
		return err
	})
}

// keyExplained says in words what a code means to somebody at a terminal.
func keyExplained(err error) error {
	words := map[string]string{
		"application_unknown": "there is no such application",
		"key_role_not_held":   "the owner does not have that role",
		"roles_missing":       "a key without roles opens nothing",
		"name_invalid":        "a key's name has 1 to 100 bytes and no control characters",
		"lifetime_invalid":    "a key lives for a minute at least and api_keys.max_lifetime at most; never needs api_keys.never_expire",
		"network_invalid":     "at most 50 networks",
		"rate_invalid":        "a rate is 1 to 1000000 requests in 1s to 24h",
		"overlap_invalid":     "the overlap is at most 30d",
		"too_many_keys":       "the owner has as many keys as one account may have; revoke some",
		"key_rotated":         "the key has a successor already",
		"key_inactive":        "the key waits for its confirmation, or is suspended",
		"key_not_suspended":   "the key is not suspended",
		"account_disabled":    "the owner's account is disabled",
		"no_role":             "the owner has no role",
		"denied_by_rule":      "a rule denies the owner",
		"provider_removed":    "the provider that the owner came in by left the configuration",
		"role_unknown":        "the configuration declares no such role",
	}[identity.CodeOf(err)]
	switch {
	case err == nil:
		return nil
	case words != "":
		return errors.New(words)
	case errors.Is(err, identity.ErrNotFound):
		return errors.New("there is nothing living of that name or id")
	default:
		return explained(err)
	}
}
