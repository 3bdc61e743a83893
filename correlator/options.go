package correlator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// Detections takes what the correlator concludes. Handle is called for one
// detection at a time, and again for each change of it: they have the same ID, and
// State tells how far it is decided. At first that is Provisional, or Final for rules
// of single events. It may be Provisional again, made of other events; Superseded,
// and even then Provisional once more; and in the end it is Final, unless it is Superseded. Action,
// Why and At are as they were at first: to act is for the first call alone.
//
// A process that starts again hears of the same events, and tells the changes of
// their detections anew; only what is told first is not told twice, as far as
// Options.Known knows. To hear of the same state again means nothing, and what was
// Final stays as it was, whatever is told of it later.
//
// Handle holds up the join while it runs.
type Detections interface {
	Handle(ctx context.Context, d *event.Detection)
}

// DetectionsFunc is a function as Detections.
type DetectionsFunc func(context.Context, *event.Detection)

// Handle implements Detections.
func (f DetectionsFunc) Handle(ctx context.Context, d *event.Detection) { f(ctx, d) }

// Enforce says whether the response that a rule asks for is carried out for a detection, and if not, why, where
// that is more than that the mode is observe.
type Enforce func(r *rule.Rule, d *event.Detection) (enforced bool, why string)

// Options configure a Correlator.
type Options struct {
	// Rules are the rules to run. Required, may be empty. SetRules exchanges them.
	Rules *rule.Set
	// Schema is the one that Rules were compiled with. Required.
	Schema *field.Schema
	// Mode is that of rules without a mode of their own, default rule.Observe.
	Mode rule.Mode
	// Overrides by rule name win over the rule's own mode.
	Overrides map[string]rule.Mode
	// Enforce, if not nil, says whether what a rule asks for is carried out for a detection, in place of the
	// modes above. It must answer from memory.
	Enforce Enforce
	// Bus carries candidates from Ingest to Run. Required.
	Bus bus.Bus
	// Detections takes what is concluded. Required.
	Detections Detections
	// Clock tells the time, and must be one that nobody sets while it runs (package steady): the
	// watermark goes up with it and never down. Events' times must have been brought to it. Required.
	Clock func() time.Time
	// Logger and Registerer are required.
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// Lateness is how long the slowest source may take to deliver an event,
	// default 2m: an API server waits up to 30s for a batch to fill, and tries
	// again after 10s and more if a delivery fails.
	Lateness time.Duration
	// MaxSpan caps sequences that name no maxspan, default 10m.
	MaxSpan time.Duration
	// Tick is how often an idle correlator looks at the clock, default 1s.
	Tick time.Duration
	// Remembered is how many detection IDs are remembered, default 65536.
	Remembered int
	// UnmeasuredTolerance is how far a clock is taken to be off that has not been
	// measured (event.Clock), default 100ms: clocks that are kept by NTP are within
	// that, also in clouds and on laptops, and it is shorter than what rules mean by
	// "then". Negative stands for none. Measured clocks have a tolerance of their own.
	UnmeasuredTolerance time.Duration
	// MaxHits and MaxBytes (about what they take, as they are kept) bound the
	// state of all sequence rules together, default 1<<20 and 512 MiB. Beyond, the
	// pod or user whose events take most of it, over all rules, loses its oldest.
	MaxHits  int
	MaxBytes int64
	// Limits bound each sequence rule's state; Hits and Bytes default to
	// MaxHits and MaxBytes, Tolerance to 5s. Forgotten and Dropped are the Correlator's own.
	Limits sequence.Limits

	// Coverage, if not nil, says what was not seen of the time from to to of what
	// could have mattered to a detection. It is asked whenever one is told: from a
	// span before its first event to its last, or to where what must not happen could have.
	Coverage func(d *event.Detection, from, to time.Time) event.Coverage
	// Session, if not nil, is what is known by now of a session that an event carries: who asked for it may have been
	// found out since. Nil for what is not known any more. It must answer from memory.
	Session func(id string) *event.Session
	// Known, if not nil, reports whether an earlier process has dealt with a
	// detection: it is not told as new. It must answer from memory.
	Known func(id string) bool
	// Replay, if not nil, tells of the candidates that the bus delivers again.
	Replay Replaying
	// Dropped, if not nil, is told whenever n hits of a rule are forgotten before their
	// time or refused. Owner is whose they were: a pod's Key, a user's name, or a
	// source, empty if they were many's. Causes are those of the metric. It must not call the Correlator.
	Dropped func(owner, rule, cause string, n int)

	// retold: the events are recorded ones, of which it is asked what would be done about them at admission.
	retold bool
}

// maxTolerance is how far a measured clock is taken to be off at most. Whoever
// delays the measuring of a clock makes its tolerance large, and with it what all sequences must keep.
const maxTolerance = 5 * time.Second

func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = rule.Observe
	}
	if o.Lateness == 0 {
		o.Lateness = 2 * time.Minute
	}
	if o.MaxSpan == 0 {
		o.MaxSpan = 10 * time.Minute
	}
	if o.Tick == 0 {
		o.Tick = time.Second
	}
	if o.Remembered == 0 {
		o.Remembered = 65536
	}
	if o.UnmeasuredTolerance == 0 {
		o.UnmeasuredTolerance = 100 * time.Millisecond
	}
	if o.Known == nil {
		o.Known = func(string) bool { return false }
	}
	if o.Session == nil {
		o.Session = func(string) *event.Session { return nil }
	}
	if o.Dropped == nil {
		o.Dropped = func(string, string, string, int) {}
	}
	if o.MaxHits == 0 {
		o.MaxHits = 1 << 20
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 512 << 20
	}
	if o.Limits.Hits == 0 {
		o.Limits.Hits = o.MaxHits
	}
	if o.Limits.Bytes == 0 {
		o.Limits.Bytes = o.MaxBytes
	}
	if o.Limits.Tolerance == 0 {
		o.Limits.Tolerance = maxTolerance
	}
	return o
}

func (o Options) validate() error {
	var missing []error
	for name, absent := range map[string]bool{
		"Rules": o.Rules == nil, "Schema": o.Schema == nil, "Bus": o.Bus == nil, "Detections": o.Detections == nil,
		"Clock": o.Clock == nil, "Logger": o.Logger == nil, "Registerer": o.Registerer == nil,
	} {
		if absent {
			missing = append(missing, fmt.Errorf("%s is missing", name))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return err
	}
	switch {
	case o.MaxHits < 2:
		return fmt.Errorf("MaxHits is %d, must be at least 2", o.MaxHits)
	case o.MaxBytes < 1:
		return fmt.Errorf("MaxBytes is %d, must be positive", o.MaxBytes)
	case o.Lateness < 0:
		return fmt.Errorf("negative Lateness %s", o.Lateness)
	case o.Tick < 0:
		return fmt.Errorf("negative Tick %s", o.Tick)
	case o.Remembered < 0:
		return fmt.Errorf("negative Remembered %d", o.Remembered)
	}
	return o.validateRules()
}

// validateRules checks the rules and how they are to run.
func (o Options) validateRules() error {
	switch {
	case o.Rules == nil:
		return errors.New("field Rules is missing")
	case o.Schema == nil:
		return errors.New("field Schema is missing")
	case o.MaxSpan < 0:
		return fmt.Errorf("negative MaxSpan %s", o.MaxSpan)
	}
	if schema := o.Rules.Schema(); schema != nil && schema != value.Schema(o.Schema) {
		return errors.New("the Schema is another than that which Rules were compiled with")
	}
	known := func(m rule.Mode) bool { return m == rule.Observe || m == rule.Enforce }
	if !known(o.Mode) {
		return fmt.Errorf("unknown Mode %q, must be %s or %s", o.Mode, rule.Observe, rule.Enforce)
	}
	for name, mode := range o.Overrides {
		if !known(mode) {
			return fmt.Errorf("unknown mode %q in Overrides[%s], must be %s or %s", mode, name, rule.Observe, rule.Enforce)
		}
		if o.Rules.Get(name) == nil {
			return fmt.Errorf("there is no rule for Overrides[%s]", name)
		}
	}
	return nil
}

// enforce is what says whether responses are carried out.
func (o Options) enforce() Enforce {
	if o.Enforce != nil {
		return o.Enforce
	}
	return func(r *rule.Rule, _ *event.Detection) (bool, string) {
		return cmp.Or(o.Overrides[r.Name], r.Mode, o.Mode) == rule.Enforce, ""
	}
}
