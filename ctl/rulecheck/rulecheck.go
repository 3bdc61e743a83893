// Package rulecheck is "portcullisctl rule check": it reads rule files as the
// server would, our own and those in Elastic's format, and prints everything that
// is wrong with them at once, each mistake with its place.
package rulecheck

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/elastic"
)

// New returns the command.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE|DIR…",
		Short: "Check rule files: exit status 1 if the server would refuse them",
		Long: "Reads rule files, and all of the rule files in folders, together as one set, as the\n" +
			"server does: our own (*.yaml, *.yml), and rules in Elastic's format (*.toml). Prints\n" +
			"every mistake with its place, and warnings. No cluster is needed.\n\n" +
			"Of Elastic's rules, those of other types than eql are not errors. \"rule import\" lists\n" +
			"them, and shows whether the others can fire.",
		Example: `  portcullisctl rule check rules/
  portcullisctl rule check my-rule.yaml execution_shell.toml`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error { return check(args, streams.Out) },
	}
}

// check prints what is wrong. Its error says how much.
func check(paths []string, out io.Writer) error {
	c := &checker{options: rule.Options{Schema: field.New()}}
	if err := c.read(paths); err != nil {
		return err
	}
	// Each set by itself is right: what is left are names that two of them share.
	merged, err := rule.Merge(c.sets...)
	if err != nil {
		return err
	}
	problems := slices.Concat(c.problems, merged.Warnings())
	if _, err = io.WriteString(out, problems.Render()); err != nil {
		return err
	}
	if n := len(problems.Errors()); n > 0 {
		return fmt.Errorf("%s: %s", count(n, "error"), c.consequence())
	}
	if merged.Len() == 0 {
		return errors.New("there are no rules that run: none of the files is a DetectionRule in YAML or a rule of type eql in TOML")
	}
	_, err = fmt.Fprintf(out, "%s, %s%s\n", count(merged.Len(), "rule"), count(len(problems), "warning"), c.rest())
	return err
}

// checker collects what the paths hold.
type checker struct {
	options  rule.Options
	sets     []*rule.Set
	problems diag.List
	// refused: a set of our own rules has errors.
	refused bool
	// idle are Elastic's rules that do not run and are not wrong.
	idle int
}

// consequence says what errors mean: a set of our own rules is refused as a
// whole, of Elastic's only the files that are wrong.
func (c *checker) consequence() string {
	if c.refused {
		return "no rule of the set would run"
	}
	return "rules with errors would not run"
}

func (c *checker) rest() string {
	if c.idle == 0 {
		return ""
	}
	return fmt.Sprintf(", %s not supported or left out", count(c.idle, "more file"))
}

// read reads files and folders. Mistakes are problems, its error is about reading.
func (c *checker) read(paths []string) error {
	var ours, elastics []string
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return fmt.Errorf("read rules: %w", err)
		case info.IsDir():
			if err := errors.Join(c.own(rule.LoadDir(path, c.options)), c.elastic(elastic.Load(path, c.options))); err != nil {
				return err
			}
		case elastic.IsRuleFile(path):
			elastics = append(elastics, path)
		default:
			ours = append(ours, path)
		}
	}
	if len(ours) > 0 {
		if err := c.own(rule.LoadFiles(ours, c.options)); err != nil {
			return err
		}
	}
	if len(elastics) > 0 {
		return c.elastic(elastic.LoadFiles(elastics, c.options))
	}
	return nil
}

func (c *checker) own(set *rule.Set, err error) error {
	var invalid *rule.InvalidError
	if errors.As(err, &invalid) {
		c.problems = append(c.problems, invalid.Problems...)
		c.refused = true
		return nil
	}
	c.sets = append(c.sets, set)
	return err
}

func (c *checker) elastic(found *elastic.Import, err error) error {
	if err != nil {
		return err
	}
	set, err := found.Set()
	c.sets = append(c.sets, set)
	c.problems = append(c.problems, found.Problems().Errors()...)
	c.idle += found.Count(elastic.NotSupported) + found.Count(elastic.LeftOut)
	return err
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
