package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/schollz/progressbar/v3"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/recording"
	"github.com/portcullis-dev/portcullis/rule"
)

// maxTold is how many lines that cannot be read are told one by one.
const maxTold = 10

// run is one run of the command.
type run struct {
	options
	streams genericiooptions.IOStreams
	// progress is on screen while it is not nil.
	progress *progress
	// audit and telemetry count events; bad lines that cannot be read.
	auditEvents, telemetryEvents, bad int
	// failures are what went wrong with single files.
	failures []error
}

func newRun(o options, streams genericiooptions.IOStreams) *run {
	return &run{options: o, streams: streams}
}

// sayf prints a line for people, above the progress.
func (r *run) sayf(format string, args ...any) {
	r.progress.clear()
	fmt.Fprintln(r.streams.ErrOut, output.Text(fmt.Sprintf(format, args...)))
}

func (r *run) run(ctx context.Context) error {
	schema := field.New()
	rules, err := r.loadRules(schema)
	if err != nil {
		return err
	}
	replay, err := correlator.NewReplay(correlator.ReplayOptions{Rules: rules, Schema: schema, Mode: rule.Mode(r.mode.value)})
	if err != nil {
		return err
	}
	reader, err := recording.Open(recording.Options{Schema: schema, Inputs: r.inputs(), Stdin: r.streams.In})
	if err != nil {
		return err
	}
	r.progress = newProgress(r.streams.ErrOut, "reading", reader.Size(), progressbar.OptionShowBytes(true))
	err = r.feed(ctx, replay, reader)
	r.progress.clear()
	if err = errors.Join(err, reader.Close()); err != nil {
		return err
	}
	r.progress = newProgress(r.streams.ErrOut, "joining", 1, progressbar.OptionShowCount())
	detections := replay.Finish(r.progress.joined)
	r.progress.clear()
	if err := r.print(rules, detections); err != nil {
		return err
	}
	r.summarise(rules, detections, reader.Counts())
	return r.verdict()
}

// feed reads the recording. Its error ends the replay.
func (r *run) feed(ctx context.Context, replay *correlator.Replay, reader *recording.Reader) error {
	for e, err := range reader.Events() {
		r.progress.read(reader.Read())
		var line *recording.LineError
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &line):
			r.badLine(line)
		case errors.Is(err, recording.ErrTooLarge):
			return err
		case err != nil:
			r.failures = append(r.failures, err)
		default:
			r.countEvent(e)
			if err := replay.Add(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) countEvent(e *event.Event) {
	if e.Audit != nil {
		r.auditEvents++
	} else {
		r.telemetryEvents++
	}
}

func (r *run) badLine(err *recording.LineError) {
	if r.bad++; r.bad <= maxTold {
		r.sayf("left out: %v", err)
	}
}

// summarise tells people what was done.
func (r *run) summarise(rules *rule.Set, detections []*event.Detection, counts recording.Counts) {
	if r.bad > maxTold {
		r.sayf("left out: %s more", count(r.bad-maxTold, "line"))
	}
	if len(counts.Unknown) > 0 {
		const most = 5
		names := slices.Sorted(maps.Keys(counts.Unknown))
		more := ""
		if len(names) > most {
			names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
		}
		r.sayf("ignored in telemetry, as they are no fields: %s%s", strings.Join(names, ", "), more)
	}
	fired := map[string]struct{}{}
	for _, d := range detections {
		fired[d.Rule.Name] = struct{}{}
	}
	r.sayf("%s by %d of %s, in %s and %s", count(len(detections), "detection"), len(fired), count(rules.Len(), "rule"),
		count(r.auditEvents, "audit event"), count(r.telemetryEvents, "telemetry event"))
}

// verdict is the error that makes the exit status, nil if all is well.
func (r *run) verdict() error {
	if r.strict && r.bad > 0 {
		r.failures = append(r.failures, fmt.Errorf("%s could not be read", count(r.bad, "line")))
	}
	return errors.Join(r.failures...)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
