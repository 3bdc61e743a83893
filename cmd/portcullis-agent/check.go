package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/portcullis-dev/portcullis/agent"
	"github.com/portcullis-dev/portcullis/agent/bpf"
)

// check loads and attaches everything for a moment, and prints a table of what
// came of it. It fails if execs cannot be seen.
func check(w io.Writer, logger *slog.Logger) (err error) {
	release, err := agent.KernelRelease()
	if err != nil {
		return err
	}
	coverage := []bpf.Capability{{Name: bpf.CapabilityExec}, {Name: bpf.CapabilityTokenOpen}}
	programs, loadErr := bpf.Load(bpf.Options{Logger: logger})
	if loadErr == nil {
		coverage = programs.Coverage()
		defer func() { err = errors.Join(err, programs.Close()) }()
	} else {
		coverage[0].Detail, coverage[1].Detail = "not available", "not available"
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintf(table, "kernel\t%s\t\n", release)
	for _, c := range coverage {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", c.Name, word(c), c.Detail)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return loadErr
}

func word(c bpf.Capability) string {
	switch {
	case !c.Available:
		return "no"
	case !c.Complete:
		return "partial"
	default:
		return "yes"
	}
}
