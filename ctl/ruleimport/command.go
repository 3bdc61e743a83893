// Package ruleimport is "portcullisctl rule import": it reads a folder of rules in
// Elastic's format, and shows which of them would run, which not, and why.
package ruleimport

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/elastic"
	"github.com/portcullis-dev/portcullis/ruleproof"
)

// New returns the command.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use:   "import DIR|FILE",
		Short: "Show which of Elastic's rules would run, which not, and why",
		Long: "Reads rules in the format of Elastic's public detection rules: the *.toml files of a\n" +
			"folder, at any depth, such as a checkout of github.com/elastic/detection-rules. Nothing\n" +
			"is installed and no cluster is needed. To run the rules, name the folder in the server's\n" +
			"configuration.\n\n" +
			"A rule runs if its query compiles, events that are made from the query itself make it\n" +
			"fire, in the very engine of the server, and the same events with one of its conditions\n" +
			"false, or one step of a sequence missing, do not.\n\n" +
			"Rules of other types than eql are listed as not supported, and those whose maturity is\n" +
			"not production as left out. Neither is an error. The exit status is 1 if a file cannot\n" +
			"be read or an EQL rule does not run.",
		Example: `  portcullisctl rule import detection-rules/rules/integrations/kubernetes
  portcullisctl rule import detection-rules -o json | jq .eql`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(c *cobra.Command, args []string) error {
			return run(c.Context(), args[0], format, streams)
		},
	}
	output.AddJSONFlag(c, &format)
	return c
}

func run(ctx context.Context, path string, format output.Format, streams genericiooptions.IOStreams) error {
	schema := field.New()
	found, err := load(path, schema)
	if err != nil {
		return err
	}
	if len(found.Files) == 0 {
		return fmt.Errorf("%s: there are no rules: no *.toml file has a table [rule]", output.Text(path))
	}
	r, err := prove(ctx, found, schema, newProgress(streams.ErrOut))
	if err != nil {
		return err
	}
	if format == output.JSON {
		err = output.Document(streams.Out, r.document())
	} else {
		err = r.print(streams.Out)
	}
	return errors.Join(err, r.verdict())
}

func load(path string, schema *field.Schema) (*elastic.Import, error) {
	options := rule.Options{Schema: schema}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read rules: %w", err)
	case info.IsDir():
		return elastic.Load(path, options)
	default:
		return elastic.LoadFiles([]string{path}, options)
	}
}

// prove proves every rule that was loaded.
func prove(ctx context.Context, found *elastic.Import, schema *field.Schema, bar *progress) (*report, error) {
	defer bar.finish()
	prover, err := ruleproof.New(ruleproof.Options{Schema: schema, Language: eql.Options{UnknownFields: diag.Warning}})
	if err != nil {
		return nil, err
	}
	r := &report{}
	for i, f := range found.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		bar.set(i, len(found.Files))
		var v ruleproof.Verdict
		if f.Rule != nil {
			v = prover.Rule(f.Rule)
		}
		r.add(f, v)
	}
	return r, nil
}
