package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/status"
)

// DefaultNamespace is where Portcullis is installed unless somebody says otherwise.
const DefaultNamespace = "portcullis"

const (
	// timeout bounds all requests together.
	timeout = time.Minute
	// lineWidth is about how long lines of advice are.
	lineWidth = 90
)

// Options are what the command needs; all are required.
type Options struct {
	// Connect reaches the cluster that Portcullis is installed in.
	Connect func() (client.WithWatch, error)
	// Namespace is Portcullis': the one that a flag names, or the fallback.
	Namespace func(fallback string) string
	Streams   genericiooptions.IOStreams
}

const long = `Says what works, what does not, and what to do about it: the server, its webhook and its
store, each API server's audit stream, the agents, what was lost in the last hour, and what
could not be read.

It asks the API server alone, so it works also when Portcullis is down. The exit status is 1 if
a check fails.

STATE is one of:
  ok    works
  warn  works, but not as it should, or not everything was seen
  FAIL  does not work: something happens in the cluster that Portcullis cannot see or stop
  ?     could not be checked, the line says why`

const example = `  portcullisctl doctor
  portcullisctl doctor --namespace security
  portcullisctl doctor -o json | jq '.checks[] | select(.state != "ok")'`

// New returns the command.
func New(o Options) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use:     "doctor",
		Short:   "Say what is wrong with the installation, and what to do",
		Long:    long,
		Example: example,
		Args:    cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			connected, err := o.Connect()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			report, err := Examine(ctx, connected, o.Namespace(DefaultNamespace), time.Now())
			if err != nil {
				return err
			}
			if err := report.print(o.Streams.Out, format); err != nil {
				return err
			}
			return report.verdict()
		},
	}
	output.AddJSONFlag(c, &format)
	return c
}

// State is how a check ended.
type State string

// The states, from good to bad.
const (
	OK      State = "ok"
	Unknown State = "unknown"
	Warn    State = "warn"
	Fail    State = "fail"
)

// shown is the state as the table has it.
func (s State) shown() string {
	switch s {
	case Fail:
		return "FAIL"
	case Unknown:
		return "?"
	default:
		return string(s)
	}
}

// Check is the result of one check. Its texts may hold what others wrote: escape them.
type Check struct {
	Name  string `json:"check"`
	State State  `json:"state"`
	// Says is what was found, Do what to do about it: a sentence or two, and commands on lines of their own.
	Says string `json:"says"`
	Do   string `json:"do,omitempty"`
}

// Report is the result of all checks.
type Report struct {
	At        time.Time `json:"at"`
	Namespace string    `json:"namespace"`
	Checks    []Check   `json:"checks"`
	// Failed and Warned count the checks with that state.
	Failed int `json:"failed"`
	Warned int `json:"warned"`
	// Status is what the server says about itself, if that can be relied on.
	Status *status.Document `json:"status,omitempty"`
}

func (r *Report) add(checks ...Check) {
	r.Checks = append(r.Checks, checks...)
	for _, c := range checks {
		switch c.State {
		case Fail:
			r.Failed++
		case Warn:
			r.Warned++
		case OK, Unknown:
		}
	}
}

// verdict is an error if a check has failed.
func (r *Report) verdict() error {
	switch r.Failed {
	case 0:
		return nil
	case 1:
		return errors.New("a check failed")
	default:
		return fmt.Errorf("%d checks failed", r.Failed)
	}
}

func (r *Report) print(w io.Writer, format output.Format) error {
	if format == output.JSON {
		return output.Document(w, r)
	}
	rows := output.NewRows(w, output.Table, output.Column{Name: "Check"}, output.Column{Name: "State"}, output.Column{Name: "Says"})
	cells := make([][]string, 0, len(r.Checks))
	for _, c := range r.Checks {
		cells = append(cells, []string{c.Name, c.State.shown(), c.Says})
	}
	if err := rows.Print(cells...); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n"+r.advice())
	return err
}

// advice is what to do, the worst first, each once.
func (r *Report) advice() string {
	var b strings.Builder
	for _, state := range []State{Fail, Warn, Unknown} {
		for _, group := range grouped(r.Checks, state) {
			fmt.Fprintf(&b, "%s  %s\n", state.shown(), output.Text(strings.Join(group.names, ", ")))
			text, commands, _ := strings.Cut(group.do, "\n")
			for _, line := range wrapped(output.Text(text)) {
				fmt.Fprintf(&b, "      %s\n", line)
			}
			for command := range strings.SplitSeq(commands, "\n") {
				if command != "" {
					fmt.Fprintf(&b, "        %s\n", output.Text(command))
				}
			}
		}
	}
	if b.Len() == 0 {
		return "All is well.\n"
	}
	return "What to do:\n\n" + b.String()
}

// wrapped breaks a text into lines between words.
func wrapped(text string) (lines []string) {
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if line != "" && len(line)+1+len(word) > lineWidth {
			lines = append(lines, line)
			line = word
			continue
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// group is checks with the same advice.
type group struct {
	do    string
	names []string
}

func grouped(checks []Check, state State) []group {
	var groups []group
	for _, c := range checks {
		if c.State != state || c.Do == "" {
			continue
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g.do == c.Do })
		if i < 0 {
			groups = append(groups, group{do: c.Do})
			i = len(groups) - 1
		}
		groups[i].names = append(groups[i].names, c.Name)
	}
	return groups
}
