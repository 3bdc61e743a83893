package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
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
	programs, loadErr := bpf.Load(bpf.Options{Logger: logger})
	seen := coverage{
		{Name: bpf.CapabilityExec, Detail: "not available"}, {Name: bpf.CapabilityTokenOpen, Detail: "not available"},
	}
	verdict := "none: this kernel, or what the agent may do, is not enough"
	if loadErr == nil {
		seen = newCoverage(programs)
		verdict = seen.word()
		defer func() { err = errors.Join(err, programs.Close()) }()
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintf(table, "kernel\t%s\tmade for %s and newer\n", release, bpf.Floor)
	for _, c := range seen {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", c.Name, word(c), firstLine(c.Detail))
	}
	_, _ = fmt.Fprintf(table, "coverage\t%s\t\n", verdict)
	if err := table.Flush(); err != nil {
		return err
	}
	return loadErr
}

// firstLine keeps a cell of the table to its line; the log has all of it.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
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
