// Package ruletest is "portcullisctl rule test": it runs the unit tests that
// stand beside rules, and shows for each that fails what it wants and what the
// rules concluded.
package ruletest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/ruletest"
)

// options are the command's flags.
type options struct {
	only         string
	verbose      bool
	requireTests bool
	format       output.Format
}

// New returns the command.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "test FILE|DIR…",
		Short: "Run rules' unit tests: exit status 1 if one fails",
		Long: "Runs the tests of rules: files called NAME_test.yaml beside a rule file NAME.yaml, with\n" +
			"events and the detections that the rules are to make of them. The rules run as they do\n" +
			"in the server. No cluster is needed.\n\n" +
			"Of a folder, all rules and tests are read. A test file brings the rules of its folder\n" +
			"along, a rule file the tests beside it. All rules form one set, so tests may also stand\n" +
			"in another folder than their rules. Rules and exceptions without tests are listed.",
		Example: `  portcullisctl rule test rules/
  portcullisctl rule test rules/my-rule_test.yaml --run 'too late'
  portcullisctl rule test rules/ --require-tests -o json`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(c *cobra.Command, args []string) error { return o.run(c.Context(), args, streams.Out) },
	}
	c.Flags().StringVar(&o.only, "run", "", "Run only the tests whose \"file: name\" this regular `expression` matches")
	c.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "List every test")
	c.Flags().BoolVar(&o.requireTests, "require-tests", false, "Fail if a rule or an exception lacks tests")
	output.AddJSONFlag(c, &o.format)
	return c
}

func (o options) run(ctx context.Context, paths []string, out io.Writer) error {
	var only *regexp.Regexp
	if o.only != "" {
		var err error
		if only, err = regexp.Compile(o.only); err != nil {
			return fmt.Errorf("--run: %w", err)
		}
	}
	suite, err := ruletest.Load(paths)
	var invalid *rule.InvalidError
	if errors.As(err, &invalid) {
		if _, err = io.WriteString(out, invalid.Render()); err != nil {
			return err
		}
		return fmt.Errorf("%s: no test was run", count(len(invalid.Problems.Errors()), "error"))
	}
	if err != nil {
		return err
	}
	report, err := suite.Run(ctx, ruletest.Options{Only: only})
	if err != nil {
		return err
	}
	if o.format == output.JSON {
		err = output.Document(out, report)
	} else {
		err = printText(out, report, o.verbose)
	}
	return errors.Join(err, o.verdict(report))
}

// verdict is the error that makes the exit status, nil if all is well.
func (o options) verdict(r *ruletest.Report) error {
	switch gaps := r.Gaps(); {
	case r.Failed > 0:
		return fmt.Errorf("%d of %s failed", r.Failed, count(r.Tests, "test"))
	case r.Tests == 0 && o.only != "":
		return errors.New("--run matches no test")
	case r.Tests == 0:
		return errors.New("there are no tests: none of the files ends in _test.yaml")
	case o.requireTests && len(gaps) > 0:
		return fmt.Errorf("%s without enough tests", count(len(gaps), "rule"))
	}
	return nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
