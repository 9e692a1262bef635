package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"sallyport/configs"
	"sallyport/providers"
)

// providerCmd looks at providers from here, not at what a running server knows of them: it asks by itself, and needs
// neither a server nor a store.
type providerCmd struct {
	List providerListCmd `cmd:"" help:"List the providers and ask each whether it answers. Ends with 2 when one does not."`
	Test providerTestCmd `cmd:"" help:"Try one provider step by step. Ends with 2 when a step fails."`
}

type providerListCmd struct {
	JSON bool `help:"Print one JSON object a line."`
}

// shownProvider is a provider as programs see it.
type shownProvider struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Title string `json:"title"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
}

// Run asks all at once.
func (p providerListCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	set, err := storeless().open(ctx, config)
	if err != nil {
		return err
	}
	defer set.Close()
	states := lookAll(ctx, set)
	if err := p.print(c.out, states); err != nil {
		return err
	}
	if slices.ContainsFunc(states, func(s providers.State) bool { return s.Status == providers.Down }) {
		return errFinding
	}
	return nil
}

func lookAll(ctx context.Context, set *providers.Set) []providers.State {
	all := set.All()
	states := make([]providers.State, len(all))
	var questions sync.WaitGroup
	for i, p := range all {
		questions.Go(func() { states[i] = providers.Look(ctx, p, time.Now) })
	}
	questions.Wait()
	return states
}

func (p providerListCmd) print(w io.Writer, states []providers.State) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if !p.JSON {
		_, _ = fmt.Fprintln(table, "ID\tTYPE\tSTATE\tTITLE\tERROR")
	}
	for _, s := range states {
		if p.JSON {
			shown := shownProvider{ID: s.ID, Type: s.Type, Title: s.Title, State: string(s.Status), Error: s.Error}
			if err := json.NewEncoder(w).Encode(shown); err != nil {
				return err
			}
			continue
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", s.ID, s.Type, s.Status, s.Title, s.Error)
	}
	return table.Flush()
}

type providerTestCmd struct {
	ID   string `arg:"" help:"Id of the provider in the configuration."`
	JSON bool   `help:"Print one JSON object a line."`
}

// step is one thing that was tried.
type step struct {
	Name    string  `json:"step"`
	Seconds float64 `json:"seconds"`
	OK      bool    `json:"ok"`
	// Verdict is ok, or in words what is wrong.
	Verdict string `json:"verdict"`
}

// Run opens the provider and asks it; the first step that fails is the last.
func (p providerTestCmd) Run(ctx context.Context, c *console, flags *cli) error {
	config, _, err := readConfig(c, flags.File)
	if err != nil {
		return err
	}
	block := config.Providers[p.ID]
	if block == nil {
		known := slices.Sorted(maps.Keys(config.Providers))
		return fmt.Errorf("there is no provider %q; there are: %s", p.ID, strings.Join(known, ", "))
	}
	table := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	if !p.JSON {
		_, _ = fmt.Fprintln(table, "STEP\tTIME\tVERDICT")
	}
	err = tryOut(ctx, config, block, func(s step) {
		if p.JSON {
			_ = json.NewEncoder(c.out).Encode(s)
			return
		}
		took := time.Duration(s.Seconds * float64(time.Second)).Round(100 * time.Microsecond)
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, took, s.Verdict)
	})
	return errors.Join(err, table.Flush())
}

// tryOut reports each step. It returns errFinding when one failed.
func tryOut(ctx context.Context, config *configs.Config, block *configs.Provider, report func(step)) error {
	try := func(name string, do func() error) error {
		begun := time.Now()
		err := do()
		s := step{Name: name, Seconds: time.Since(begun).Seconds(), OK: err == nil, Verdict: "ok"}
		if err != nil {
			s.Verdict = providers.Words(err)
		}
		report(s)
		if err != nil {
			return errFinding
		}
		return nil
	}
	var provider providers.Provider
	if err := try("open", func() (err error) {
		provider, err = storeless().one(ctx, config, block)
		return err
	}); err != nil {
		return err
	}
	if closer, ok := provider.(io.Closer); ok {
		defer func() { _ = closer.Close() }()
	}
	checker, ok := provider.(providers.Checker)
	if !ok {
		report(step{Name: "answer", OK: true, Verdict: "ok: it is kept by this broker, nobody has to be asked"})
		return nil
	}
	if err := try("answer", func() error { return providers.Check(ctx, checker) }); err != nil {
		return err
	}
	if w, ok := provider.(providers.Warner); ok { // what will be wrong soon: certificates that end
		for _, warning := range w.Warnings() {
			report(step{Name: "warning", OK: true, Verdict: warning})
		}
	}
	return nil
}
