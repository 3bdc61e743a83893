// Package replay is "portcullisctl replay": it runs rules over what was
// recorded of a cluster, through the very engine of the server, and prints the
// detections that the server would have made of it.
package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/recording"
	"github.com/portcullis-dev/portcullis/rule"
)

// options are the command's flags and arguments.
type options struct {
	rules     []string
	shipped   bool
	audit     []string
	telemetry []string
	files     []string
	mode      choice
	format    choice
	strict    bool
}

// choice is a flag that takes one of a few words.
type choice struct {
	value  string
	others []string
}

func (c *choice) String() string { return c.value }

func (c *choice) Type() string { return "word" }

func (c *choice) Set(text string) error {
	if text != c.value && !slices.Contains(c.others, text) {
		return fmt.Errorf("must be one of %s", strings.Join(c.all(), ", "))
	}
	c.others = c.all()
	c.value = text
	return nil
}

func (c *choice) all() []string {
	all := append([]string{c.value}, c.others...)
	slices.Sort(all)
	return slices.Compact(all)
}

// The formats of the output.
const (
	table  = "table"
	wide   = "wide"
	ndjson = "ndjson"
	asJSON = "json"
)

// New returns the command.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	o := options{
		mode:   choice{string(rule.Observe), []string{string(rule.Enforce)}},
		format: choice{table, []string{wide, ndjson, asJSON}},
	}
	c := &cobra.Command{
		Use:   "replay [FILE…]",
		Short: "Run rules over recorded audit logs and telemetry",
		Long: `Runs rules over recordings, in the time of the recorded events, and prints the
detections that the server would have made. The same recording and rules give the same
output, in whatever order the files are named. No cluster is needed.

Audit logs are those that API servers write (--audit-log-path), or the EventLists that they
send. Telemetry is what the server writes (telemetryLog in its configuration). Both may be
compressed with gzip or zstd. A FILE without a flag may hold either, "-" is standard input.

A line that cannot be read is told and left out, for logs are rotated and disks fill up;
with --strict it is an error. A file of which no line can be read always is.

Without --rules, the rules that come with Portcullis run. A rule's response is not carried
out; the column ACTION says what it would have been in the mode that --mode names.

Exit status: 0 if the recording was read and the rules ran, whether or not they detected
anything; 1 if not. Where something was detected nevertheless, it is printed.`,
		Example: `  portcullisctl replay audit.log telemetry.ndjson
  portcullisctl replay --rules rules/ --audit /var/log/kubernetes/audit*.log
  portcullisctl replay --rules detection-rules/rules/integrations --shipped audit.log.gz
  ssh node cat /var/log/kubernetes/audit.log | portcullisctl replay - -o ndjson | jq .rule.name`,
		ValidArgsFunction: completeFiles,
		RunE: func(c *cobra.Command, args []string) error {
			o.files = args
			if len(o.inputs()) == 0 {
				return errors.New("nothing to replay: name audit logs or telemetry, see portcullisctl replay --help")
			}
			return newRun(o, streams).run(c.Context())
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&o.rules, "rules", nil, "Rules: a `folder` or file of our YAML, or of Elastic's TOML as it is; may be repeated")
	flags.BoolVar(&o.shipped, "shipped", false, "Run the rules that come with Portcullis, too; they run alone without --rules")
	flags.StringArrayVar(&o.audit, "audit", nil, "Audit log `file`; may be repeated")
	flags.StringArrayVar(&o.telemetry, "telemetry", nil, "Telemetry `file`; may be repeated")
	flags.Var(&o.mode, "mode", "Mode of rules that name none: "+strings.Join(o.mode.all(), " or "))
	flags.VarP(&o.format, "output", "o", "Output format: "+strings.Join(o.format.all(), ", "))
	flags.BoolVar(&o.strict, "strict", false, "Fail if a line cannot be read")
	for flag, choices := range map[string]*choice{"mode": &o.mode, "output": &o.format} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(choices.all(), cobra.ShellCompDirectiveNoFileComp))
	}
	return c
}

func completeFiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// inputs are all files to read.
func (o options) inputs() []recording.Input {
	var inputs []recording.Input
	for _, group := range []struct {
		kind  recording.Kind
		paths []string
	}{{recording.Audit, o.audit}, {recording.Telemetry, o.telemetry}, {recording.Any, o.files}} {
		for _, path := range group.paths {
			inputs = append(inputs, recording.Input{Kind: group.kind, Path: path})
		}
	}
	return inputs
}
