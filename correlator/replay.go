package correlator

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// ErrReplayFull is what Replay.Add returns when it would keep more than its
// bound: there are more events that some rule wants than there is room for.
var ErrReplayFull = errors.New("too many events that some rule wants")

// replayLateness is how far the watermark stays behind events that come in order.
// The engines learn from the events how far clocks are off, and keep more from then
// on: what that is must still be there.
const replayLateness = time.Minute

// progressEvery is how many candidates lie between two reports of progress.
const progressEvery = 4096

// ReplayOptions configure a Replay. Only Rules and Schema are required.
type ReplayOptions struct {
	// Rules are the rules to run, compiled with Schema.
	Rules  *rule.Set
	Schema *field.Schema
	// Mode and Overrides are as in Options.
	Mode      rule.Mode
	Overrides map[string]rule.Mode
	// MaxSpan caps sequences that name no maxspan, default as in Options.
	MaxSpan time.Duration
	// UnmeasuredTolerance is as in Options, but 0 by default: documents from elsewhere
	// mean the times that they tell.
	UnmeasuredTolerance time.Duration
	// MaxBytes bounds what is kept between Add and Finish, about 1 GiB by default.
	MaxBytes int64
	// Logger is told of rules that panic. Default: nobody is.
	Logger *slog.Logger
}

// Replay runs rules over events that have been recorded, through the very same
// matcher and join as a Correlator, but by the events' time alone: no clock, no
// lateness, nothing provisional. The same events and rules have the same result,
// in whatever order and however often the events are added.
//
// A Replay is for one goroutine.
type Replay struct {
	options  Options
	maxBytes int64
	matcher  *matcher
	// wanted are the events that some rule wants, by ID.
	wanted map[string]wanted
	// candidates is how many there are of all events; bytes is about what they take.
	candidates int
	bytes      int64
}

// wanted is an event and what it is a candidate for.
type wanted struct {
	event      *event.Event
	candidates []bus.Candidate
	bytes      int64
}

// NewReplay returns a Replay without events.
func NewReplay(o ReplayOptions) (*Replay, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	options := Options{
		Rules: o.Rules, Schema: o.Schema, Mode: o.Mode, Overrides: o.Overrides, MaxSpan: o.MaxSpan, Logger: o.Logger,
		Clock: func() time.Time { return time.Time{} }, Registerer: prometheus.NewRegistry(),
		// What is kept is bounded already. The join must not forget any of it.
		MaxHits: math.MaxInt, MaxBytes: math.MaxInt64, retold: true,
	}.withDefaults()
	options.Lateness, options.UnmeasuredTolerance = replayLateness, o.UnmeasuredTolerance
	if o.MaxBytes < 0 {
		return nil, fmt.Errorf("replay options: negative MaxBytes %d", o.MaxBytes)
	}
	if err := options.validateRules(); err != nil {
		return nil, fmt.Errorf("replay options: %w", err)
	}
	m, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, fmt.Errorf("replay metrics: %w", err)
	}
	if _, err := newJoin(options, m); err != nil { // Said now rather than by Finish.
		return nil, fmt.Errorf("replay: %w", err)
	}
	r := &Replay{options: options, maxBytes: o.MaxBytes, matcher: newMatcher(options, newGuard(options, m), m)}
	r.Reset()
	return r, nil
}

// Reset forgets all events: the next replay of the same rules begins.
func (r *Replay) Reset() {
	r.wanted, r.candidates, r.bytes = map[string]wanted{}, 0, 0
}

// Add matches an event against every rule and keeps it if some rule wants it.
// The error, an ErrReplayFull, says that there is no room for it; it is not kept.
func (r *Replay) Add(e *event.Event) error {
	known, again := r.wanted[e.ID]
	if again && compareEvents(known.event, e) <= 0 {
		return nil
	}
	w := wanted{event: e, candidates: r.matcher.match([]*event.Event{e})}
	if len(w.candidates) > 0 {
		w.bytes = int64(sizeOf(e)) + int64(len(e.ID))
		for _, c := range w.candidates {
			w.bytes += candidateOverhead + int64(len(c.Key))
		}
	}
	if bytes := r.bytes - known.bytes + w.bytes; bytes > r.maxBytes && w.bytes > known.bytes {
		return fmt.Errorf("%w: %d of them take %d MiB, which is all that a replay may keep; give it fewer events, or narrower rules",
			ErrReplayFull, len(r.wanted), r.maxBytes>>20)
	}
	r.bytes += w.bytes - known.bytes
	r.candidates += len(w.candidates) - len(known.candidates)
	delete(r.wanted, e.ID)
	if len(w.candidates) > 0 {
		r.wanted[e.ID] = w
	}
	return nil
}

// Finish joins everything that was added and returns the detections that it
// amounts to, sorted by time and ID. A detection's At is its Time. progress, if
// not nil, is called now and then with how many of the candidates are done.
//
// Finish changes nothing: more events may be added, and it be called again.
func (r *Replay) Finish(progress func(done, total int)) []*event.Detection {
	if progress == nil {
		progress = func(int, int) {}
	}
	candidates := r.sorted()
	options := r.options
	options.Remembered, options.Limits.HitsPerKey = len(candidates)+1, len(candidates)+2
	j, err := newJoin(options, r.matcher.metrics)
	if err != nil { // NewReplay has made one like it.
		panic(err)
	}
	detections := make([]*event.Detection, 0, len(candidates)/8)
	keep := func(told []*event.Detection) {
		for _, d := range told {
			if d.State == event.Final {
				d.At = d.Time
				detections = append(detections, d)
			}
		}
	}
	for i, c := range candidates {
		if i%progressEvery == 0 {
			progress(i, len(candidates))
		}
		keep(j.take(c, c.Event.Time))
	}
	keep(j.finish())
	progress(len(candidates), len(candidates))
	slices.SortFunc(detections, func(a, b *event.Detection) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID))
	})
	return detections
}

// sorted returns all candidates in the order of the events, and those of one
// event in the order in which the engines take them without looking back.
func (r *Replay) sorted() []bus.Candidate {
	all := make([]bus.Candidate, 0, r.candidates)
	for _, w := range r.wanted {
		all = append(all, w.candidates...)
	}
	slices.SortFunc(all, func(a, b bus.Candidate) int {
		return cmp.Or(
			a.Event.Time.Compare(b.Event.Time),
			cmp.Compare(tieOf(a.Event), tieOf(b.Event)),
			cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(b.Stage, a.Stage), // The last first, and Until, which is negative, after all.
			cmp.Compare(a.Key, b.Key),
			compareEvents(a.Event, b.Event),
		)
	})
	return all
}

// compareEvents orders events of one request, and deliveries of one event.
func compareEvents(a, b *event.Event) int {
	return cmp.Or(
		a.StageTime.Compare(b.StageTime),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.Source, b.Source),
		a.Received.Compare(b.Received),
	)
}
