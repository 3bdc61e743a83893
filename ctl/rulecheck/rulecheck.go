// Package rulecheck is "portcullisctl rule check": it reads rule files as the
// server would, and prints everything that is wrong with them at once, each
// mistake with its place.
package rulecheck

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/rule"
)

// New returns the command.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE|DIR…",
		Short: "Check rule files: exit status 1 if the server would refuse them",
		Long: "Reads rule files, and the *.yaml and *.yml files of folders, together as one set, as\n" +
			"the server does. Prints every mistake with its place. No cluster is needed.",
		Example: `  portcullisctl rule check rules/
  portcullisctl rule check my-rule.yaml`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error { return check(args, streams.Out) },
	}
}

// check prints what is wrong. Its error says how much.
func check(paths []string, out io.Writer) error {
	sets, problems, err := load(paths)
	if err != nil {
		return err
	}
	// Each set by itself is right: what is left are names that two of them share.
	merged, err := rule.Merge(sets...)
	if err != nil {
		return err
	}
	problems = append(problems, merged.Warnings()...)
	if _, err = io.WriteString(out, problems.Render()); err != nil {
		return err
	}
	if n := len(problems.Errors()); n > 0 {
		return fmt.Errorf("%s: no rule of the set would run", count(n, "error"))
	}
	if merged.Len() == 0 {
		return errors.New("there are no rules: none of the files ends in .yaml or .yml")
	}
	_, err = fmt.Fprintf(out, "%s, %s\n", count(merged.Len(), "rule"), count(len(problems), "warning"))
	return err
}

// load reads files and folders. Mistakes are problems, its error is about reading.
func load(paths []string) (sets []*rule.Set, problems diag.List, err error) {
	options := rule.Options{Schema: field.New()}
	var files []string
	keep := func(set *rule.Set, err error) error {
		var invalid *rule.InvalidError
		if errors.As(err, &invalid) {
			problems = append(problems, invalid.Problems...)
			return nil
		}
		sets = append(sets, set)
		return err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("read rules: %w", err)
		case !info.IsDir():
			files = append(files, path)
		default:
			if err := keep(rule.LoadDir(path, options)); err != nil {
				return nil, nil, err
			}
		}
	}
	if len(files) == 0 {
		return sets, problems, nil
	}
	return sets, problems, keep(rule.LoadFiles(files, options))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
