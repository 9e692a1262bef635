package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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

// Run prints mistakes and warnings by file and line. A provider that cannot be opened, because a file that it needs is
// not there, does not keep the server from starting; it is a mistake all the same.
func (k configCheckCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, warnings, err := readConfig(c, flags.File)
	var mistakes configs.Mistakes
	var frames []string
	switch {
	case err == nil:
		mistakes, frames, err = tried(ctx, config)
		if err != nil {
			return err
		}
	case !errors.As(err, &mistakes):
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
		if len(mistakes) == 0 {
			for _, f := range frames {
				_, _ = fmt.Fprintln(c.out, f)
			}
			_, _ = fmt.Fprintf(c.out, "%s: fine (%d providers, %d applications, %d rules)\n", config.Name(),
				len(config.Providers), len(config.Applications), len(config.Mapping.Rules))
		}
	}
	if len(mistakes) > 0 {
		return errFinding
	}
	return nil
}

// tried finds what cannot be opened, and says what embedding pages and browsers will be sent. It asks nobody.
func tried(ctx context.Context, config *configs.Config) (mistakes configs.Mistakes, frames []string, err error) {
	set, err := storeless().open(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	defer set.Close()
	wrong := func(key string, why error) {
		mistakes = append(mistakes, configs.Mistake{Place: configs.Place{File: config.Name()}, Key: key, Text: providers.Words(why)})
	}
	for _, p := range set.All() {
		if err := providers.BrokenBy(p); err != nil {
			wrong("providers."+p.Info().ID, err)
		}
	}
	snap, err := snapshotOf(config, set, 0)
	if err != nil {
		wrong("applications", err) // a file that an application needs
		return mistakes, nil, nil
	}
	return mistakes, embeddingSummary(snap), nil
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
