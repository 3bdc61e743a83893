// Package rulefmt is "portcullisctl rule fmt": it lays out the queries of rule
// files, and the conditions of their exceptions, as package eql/format says.
//
// A file is YAML with queries in it, and only the queries are touched: the text is
// cut at their places, so that everything around them stays as it is, to the
// byte. What was written is then read again, and has to say the same as before.
package rulefmt

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// New returns the command.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "fmt [FILE|DIR…]",
		Short: "Lay out the queries of rule files",
		Long: "Lays out the queries and exceptions of rule files in place, and prints the names of the\n" +
			"files that it changed. Comments stay where they are, everything around the queries\n" +
			"stays as it is. Folders are searched for *.yaml and *.yml; files that end in .eql hold\n" +
			"one query and nothing else. Without arguments, or with -, standard input is laid out\n" +
			"to standard output.",
		Example: `  portcullisctl rule fmt rules/
  portcullisctl rule fmt --check rules/
  portcullisctl rule fmt -d my-rule.yaml
  echo 'process where process.name=="sh"' | portcullisctl rule fmt --query`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error {
			r := run{options: o, out: streams.Out, errOut: streams.ErrOut}
			if len(args) == 0 || len(args) == 1 && args[0] == "-" {
				return r.stdin(streams.In)
			}
			if o.query {
				return errors.New("--query is for standard input; a file that is a query ends in .eql")
			}
			return r.paths(args)
		},
	}
	c.Flags().BoolVarP(&o.list, "list", "l", false, "Change nothing, print the names of the files that would change")
	c.Flags().BoolVarP(&o.diff, "diff", "d", false, "Change nothing, print what would change")
	c.Flags().BoolVar(&o.check, "check", false, "Change nothing, exit with status 1 if something would change")
	c.Flags().BoolVar(&o.query, "query", false, "Standard input is one query and no rule file")
	return c
}

// options are the flags.
type options struct{ list, diff, check, query bool }

// writes reports whether the results are wanted, and not only what they change.
func (o options) writes() bool { return !o.list && !o.diff && !o.check }

// notFormattedError says how many files are not as they should be.
type notFormattedError struct{ changed, broken int }

// Error tells what to do about it.
func (e *notFormattedError) Error() string {
	switch {
	case e.broken > 0 && e.changed > 0:
		return fmt.Sprintf("%s cannot be laid out, %s not: run portcullisctl rule fmt", count(e.broken, "file"), isOrAre(e.changed))
	case e.broken > 0:
		return count(e.broken, "file") + " cannot be laid out"
	default:
		return isOrAre(e.changed) + " not laid out: run portcullisctl rule fmt"
	}
}

func isOrAre(files int) string {
	if files == 1 {
		return "1 file is"
	}
	return fmt.Sprintf("%d files are", files)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
