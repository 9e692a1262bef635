package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"sallyport/configs"
	"sallyport/providers"
)

type configCmd struct {
	Check  configCheckCmd  `cmd:"" help:"Find every mistake in the configuration. Ends with 2 when there is one."`
	Print  configPrintCmd  `cmd:"" help:"Print what is in force, with defaults filled in and secrets left out."`
	Schema configSchemaCmd `cmd:"" help:"Print the JSON Schema of the configuration."`
}

type configCheckCmd struct {
	JSON bool `help:"Print JSON."`
}

// found is the answer of config check for programs.
type found struct {
	Mistakes []configs.Mistake `json:"mistakes"`
	Warnings []configs.Warning `json:"warnings"`
}

// Run prints mistakes and warnings by file and line.
func (k configCheckCmd) Run(c *console, flags *cli) error {
	config, warnings, err := readConfig(c, flags.File)
	var mistakes configs.Mistakes
	if err != nil && !errors.As(err, &mistakes) {
		return err
	}
	if k.JSON {
		answer := found{Mistakes: append([]configs.Mistake{}, mistakes...), Warnings: append([]configs.Warning{}, warnings...)}
		if err := json.NewEncoder(c.out).Encode(answer); err != nil {
			return err
		}
	} else {
		for _, m := range mistakes {
			_, _ = fmt.Fprintln(c.out, m.Error())
		}
		for _, w := range warnings {
			_, _ = fmt.Fprintln(c.out, "warning:", w)
		}
		if err == nil {
			_, _ = fmt.Fprintf(c.out, "%s: fine (%d providers, %d applications, %d rules)\n", config.Name(),
				len(config.Providers), len(config.Applications), len(config.Mapping.Rules))
		}
	}
	if err != nil {
		return errFinding
	}
	return nil
}

type configPrintCmd struct{}

// Run prints YAML.
func (configPrintCmd) Run(c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	return configs.Print(c.out, config)
}

type configSchemaCmd struct{}

// Run prints JSON.
func (configSchemaCmd) Run(c *console) error {
	schema, err := configs.Schema(providerTypes())
	if err != nil {
		return err
	}
	_, err = c.out.Write(append(schema, '\n'))
	return err
}

type providerCmd struct {
	List providerListCmd `cmd:"" help:"List the configured providers and ask each whether it answers."`
}

type providerListCmd struct {
	JSON bool `help:"Print one JSON object a line."`
}

// state is a provider as the list shows it.
type state struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Title string `json:"title"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
}

// Run asks every provider. It ends with 2 when one does not answer.
func (p providerListCmd) Run(ctx context.Context, c *console, flags *cli) error {
	down := false
	err := withHouse(ctx, c, flags.File, func(h *house) error {
		table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
		if !p.JSON {
			_, _ = fmt.Fprintln(table, "ID\tTYPE\tSTATE\tTITLE\tERROR")
		}
		for _, provider := range h.broker.Current().Providers.All() {
			s := look(ctx, provider)
			down = down || s.State == "down"
			if p.JSON {
				if err := json.NewEncoder(c.out).Encode(s); err != nil {
					return err
				}
				continue
			}
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", s.ID, s.Type, s.State, s.Title, s.Error)
		}
		return table.Flush()
	})
	if err == nil && down {
		return errFinding
	}
	return err
}

func look(ctx context.Context, p providers.Provider) state {
	s := state{ID: p.Info().ID, Type: p.Info().Type, Title: p.Info().Title, State: "up"}
	checker, ok := p.(providers.Checker)
	if !ok {
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := checker.Check(ctx); err != nil {
		s.State, s.Error = "down", err.Error()
	}
	return s
}
