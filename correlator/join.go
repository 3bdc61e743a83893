package correlator

import (
	"fmt"
	"time"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// advanceStep is how far the watermark moves before the engines are told. They
// look at what is due only, but there may be a thousand of them.
const advanceStep = 500 * time.Millisecond

// join is the stateful half: an engine per sequence rule, and the memory of
// what has been concluded. It is not safe for concurrent use.
type join struct {
	options   Options
	metrics   *metrics
	rules     map[string]*joined
	watermark *watermark
	// advanced is the watermark that the engines know.
	advanced time.Time
	known    *memory
	lateness *lateReport
	// punctual is set while the join takes an event that was not late.
	punctual bool
	// replayed is the time that the events have come to that are delivered again;
	// resuming is set until all are.
	replayed time.Time
	resuming bool
	// doubtful are the matches that were found meanwhile and may not be all there.
	doubtful []*match
	// store has the events of what the engines keep.
	store *store
	// hits and bytes are what all engines keep, matches how many matches there are.
	hits    int
	bytes   int64
	matches int
	// forgotten are the hits that engines have forgotten just now.
	forgotten []forgotten
}

// forgotten is a hit that a rule's engine keeps no longer.
type forgotten struct {
	rule *joined
	kept *kept
}

// joined is a rule and, if it is a sequence, its engine.
type joined struct {
	rule *rule.Rule
	// version is that of the candidates that are the rule's.
	version uint64
	engine  *sequence.Engine
	// span is the sequence's maxspan; context is how long before its first event
	// something can have forbidden a match; absentLast: so can something after it.
	span, context time.Duration
	absentLast    bool
	// reach is how long the bus must keep what the rule needs.
	reach time.Duration
	// matches are the engine's, by the hits that complete them.
	matches map[*kept]*match
	// counted is the part of the engine's statistics that the metrics have; began is how many expired since of
	// which nothing is missing.
	counted sequence.Stats
	began   uint64
	// hits and bytes are its part of the join's.
	hits  int
	bytes int64
}

func newJoin(o Options, m *metrics) (*join, error) {
	j := &join{
		options: o, metrics: m, rules: map[string]*joined{}, lateness: newLateReport(o, m),
		watermark: newWatermark(o.Lateness), known: newMemory(o.Remembered), store: newStore(o.MaxBytes / int64(o.MaxHits)),
	}
	j.resuming = o.Replay != nil
	j.watermark.held = j.resuming
	for _, r := range o.Rules.All() {
		entry, err := j.newJoined(r, o)
		if err != nil {
			return nil, err
		}
		j.rules[r.Name] = entry
	}
	return j, nil
}

// newJoined is a rule without state.
func (j *join) newJoined(r *rule.Rule, o Options) (*joined, error) {
	entry := &joined{rule: r, version: versionOf(r, o.MaxSpan)}
	if !r.Program.IsSequence() {
		return entry, nil
	}
	spec := specOf(r, o.MaxSpan)
	entry.span, entry.absentLast = spec.MaxSpan, spec.Stages[len(spec.Stages)-1].Negated
	entry.context = contextOf(spec)
	entry.reach = reach(spec, o.Lateness)
	return entry, j.open(entry, spec, o)
}

// open gives a rule an empty engine.
func (j *join) open(r *joined, spec sequence.Spec, o Options) error {
	limits := o.Limits
	limits.Forgotten = func(payload any) { j.forget(r, payload.(*kept)) } // step puts nothing else in
	limits.Dropped = func(owner, cause string, n int) {
		if cause == dropExpired && j.punctual {
			cause = dropBegan
			r.began += uint64(n) //nolint:gosec // it is positive
		}
		j.options.Dropped(event.OwnerName(owner), r.rule.Name, cause, n)
	}
	engine, err := sequence.New(spec, limits)
	if err != nil {
		return fmt.Errorf("rule %s: %w", r.rule.Name, err)
	}
	engine.Advance(j.advanced)
	r.engine, r.counted, r.matches = engine, sequence.Stats{}, map[*kept]*match{}
	return nil
}

// forget gives up a hit that an engine keeps no longer. Its match, if it completes
// one, may be among what the engine is about to say.
func (j *join) forget(r *joined, k *kept) {
	j.store.release(k)
	j.forgotten = append(j.forgotten, forgotten{r, k})
}

func specOf(r *rule.Rule, defaultSpan time.Duration) sequence.Spec {
	spec := sequence.Spec{Until: r.Program.Until() != nil, MaxSpan: defaultSpan}
	if span, ok := r.Program.MaxSpan(); ok {
		spec.MaxSpan = span
	}
	for _, stage := range r.Program.Stages() {
		spec.Stages = append(spec.Stages, sequence.Stage{Negated: stage.Negated()})
	}
	return spec
}

// take takes a candidate and returns what there is to tell because of it.
func (j *join) take(c bus.Candidate, clock time.Time) []*event.Detection {
	r := j.rules[c.Rule]
	switch {
	case r == nil:
		j.metrics.drop(dropUnknownRule, 1)
		return nil
	case c.Version != r.version:
		j.metrics.drop(dropOldRule, 1)
		return nil
	}
	now := j.now(c.Event, clock)
	// The time that has passed comes first: what was due before the event arrived
	// was decided without it, then and whenever it is delivered again.
	detections := append(j.resume(now), j.advanceBy(advanceStep, now)...)
	stageTime := c.Event.StageTime
	if stageTime.IsZero() {
		stageTime = c.Event.Time
	}
	late := stageTime.Before(j.watermark.at(now))
	if late {
		j.lateness.count(c.Event.Source)
	}
	// A watch that ends after minutes is not late, although it began before everything that is kept.
	j.punctual = !late
	defer func() { j.punctual = false }()
	j.watermark.see(c.Event.Source, stageTime, now)
	expired := r.expired()
	detections = append(detections, j.step(r, c, now)...)
	if late && r.expired() > expired {
		j.lateness.refused(r.rule.Name, c.Event, now)
	}
	return detections
}

// step feeds a rule. A panic costs the rule its state, and nobody else anything.
func (j *join) step(r *joined, c bus.Candidate, now time.Time) (detections []*event.Detection) {
	defer func() {
		if problem := recover(); problem != nil {
			detections = append(detections, j.restart(r, problem, now)...)
		}
	}()
	if r.engine == nil {
		return j.single(r, c.Event, now)
	}
	k, tie := j.store.keep(c.Event), tieOf(c.Event)
	j.store.favour(k, r)
	matches := r.engine.Step(sequence.Hit{
		Stage: c.Stage, Key: c.Key, Time: c.Event.Time, ID: c.Event.ID, Request: tie,
		Source: c.Event.Source, Tolerance: j.tolerance(c.Event), Owner: k.part.owner,
		Payload: k, Size: k.size() + len(c.Key) + len(tie),
	})
	detections = j.changes(r, matches, now)
	j.budget(r)
	return append(detections, j.endings(now)...)
}

// tolerance is how far an event's time may be off.
func (j *join) tolerance(e *event.Event) time.Duration {
	if e.Clock.Measured {
		return e.Clock.Tolerance
	}
	return max(0, j.options.UnmeasuredTolerance)
}

// expired is how many hits came too late for a rule.
func (r *joined) expired() uint64 {
	if r.engine == nil {
		return 0
	}
	return r.engine.Stats().Expired
}

// restart gives a rule that panicked a new engine. Its matches cannot change any more.
func (j *join) restart(r *joined, problem any, now time.Time) []*event.Detection {
	j.metrics.failures.WithLabelValues(r.rule.Name, "panic").Inc()
	j.options.Logger.Error("rule panicked in the join, its open sequences are lost",
		"rule", r.rule.Name, "panic", fmt.Sprint(problem))
	if r.engine == nil {
		return nil
	}
	j.metrics.drop(dropPanic, r.hits)
	j.options.Dropped("", r.rule.Name, dropPanic, r.hits)
	j.clear(r)
	if err := j.open(r, specOf(r.rule, j.options.MaxSpan), j.options); err != nil { // It was right when the rule was loaded.
		panic(err)
	}
	j.held(r)
	return j.endings(now)
}

// clear makes an engine give up what it keeps.
func (j *join) clear(r *joined) {
	defer func() {
		if problem := recover(); problem != nil {
			// What it keeps of the store is in nobody's hands any more.
			j.options.Logger.Error("rule panicked again, some memory of its events is lost", "rule", r.rule.Name, "panic", fmt.Sprint(problem))
		}
		for k := range r.matches { // All that it did not forget, too.
			j.forgotten = append(j.forgotten, forgotten{r, k})
		}
	}()
	r.engine.Clear()
}

// advance moves on with the clock and returns what there is to tell because of it.
func (j *join) advance(clock time.Time) []*event.Detection {
	now := j.now(nil, clock)
	if j.resuming { // Events that come again bring their own time.
		return nil
	}
	detections := j.resume(now)
	return append(detections, j.advanceBy(0, now)...)
}

// advanceBy moves the engines' watermark, if it has come far enough, and returns
// what that concludes.
func (j *join) advanceBy(step time.Duration, now time.Time) []*event.Detection {
	w := j.watermark.at(now)
	if w.IsZero() || w.Sub(j.advanced) < step {
		return nil
	}
	j.advanced = w
	j.metrics.watermark.Set(float64(w.UnixMilli()) / 1000)
	j.metrics.lag.Set(j.watermark.lag.Seconds())
	var detections []*event.Detection
	partials := 0
	for _, r := range j.rules {
		if r.engine == nil {
			continue
		}
		detections = append(detections, j.advanceRule(r, now)...)
		partials += j.count(r).Partials
	}
	detections = append(detections, j.endings(now)...) // Those of rules that are no more.
	if j.hits < j.options.MaxHits/2 && j.memory() < j.options.MaxBytes/2 {
		j.store.owners = nil // There is room again.
	}
	j.metrics.partials.Set(float64(partials))
	j.metrics.matches.Set(float64(j.matches))
	j.metrics.hits.Set(float64(j.hits))
	j.metrics.bytes.Set(float64(j.memory()))
	return detections
}

// finish decides everything, as if nothing more would ever come.
func (j *join) finish() []*event.Detection {
	j.advanced = sequence.End()
	var detections []*event.Detection
	for _, r := range j.rules {
		if r.engine != nil {
			detections = append(detections, j.advanceRule(r, j.advanced)...)
		}
	}
	return detections
}

// advanceRule tells one rule's engine the watermark.
func (j *join) advanceRule(r *joined, now time.Time) (detections []*event.Detection) {
	defer func() {
		if problem := recover(); problem != nil {
			detections = append(detections, j.restart(r, problem, now)...)
		}
	}()
	detections = j.changes(r, r.engine.Advance(j.advanced), now)
	j.held(r)
	return detections
}

// count adds to the metrics what an engine has dropped since the last time.
func (j *join) count(r *joined) sequence.Stats {
	before, now := r.counted, r.engine.Stats()
	r.counted = now
	for cause, n := range map[string]uint64{
		dropExpired:   now.Expired - before.Expired - r.began,
		dropBegan:     r.began,
		dropInvalid:   now.Invalid - before.Invalid,
		dropOverKey:   now.OverKey - before.OverKey,
		dropOverTotal: now.OverTotal - before.OverTotal,
	} {
		j.metrics.drop(cause, int(n)) //nolint:gosec // a second's worth of drops
	}
	r.began = 0
	return now
}
