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
	// store has the events of what the engines keep.
	store *store
	// hits and bytes are what all engines keep.
	hits  int
	bytes int64
}

// joined is a rule and, if it is a sequence, its engine.
type joined struct {
	rule *rule.Rule
	mode rule.Mode
	// version is that of the candidates that are the rule's.
	version uint64
	engine  *sequence.Engine
	// counted is the part of the engine's statistics that the metrics have.
	counted sequence.Stats
	// hits and bytes are its part of the join's.
	hits  int
	bytes int64
}

func newJoin(o Options, m *metrics) (*join, error) {
	j := &join{
		options: o, metrics: m, rules: map[string]*joined{},
		watermark: newWatermark(o.Lateness), known: newMemory(o.Remembered), store: newStore(),
	}
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
	entry := &joined{rule: r, mode: o.mode(r), version: versionOf(r, o.MaxSpan)}
	if !r.Program.IsSequence() {
		return entry, nil
	}
	limits := o.Limits
	limits.Forgotten = j.store.release
	engine, err := sequence.New(specOf(r, o.MaxSpan), limits)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", r.Name, err)
	}
	engine.Advance(j.advanced)
	entry.engine = engine
	return entry, nil
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

// take takes a candidate and returns what it concludes.
func (j *join) take(c bus.Candidate, now time.Time) []*event.Detection {
	r := j.rules[c.Rule]
	switch {
	case r == nil:
		j.metrics.drop(dropUnknownRule, 1)
		return nil
	case c.Version != r.version:
		j.metrics.drop(dropOldRule, 1)
		return nil
	}
	stageTime := c.Event.StageTime
	if stageTime.IsZero() {
		stageTime = c.Event.Time
	}
	if stageTime.Before(j.watermark.at(now)) {
		j.metrics.late.Inc()
	}
	j.watermark.see(stageTime, now)
	detections := j.step(r, c, now)
	if j.watermark.at(now).Sub(j.advanced) >= advanceStep {
		detections = append(detections, j.advance(now)...)
	}
	return detections
}

// step feeds a rule. A panic costs the rule its state, and nobody else anything.
func (j *join) step(r *joined, c bus.Candidate, now time.Time) (detections []*event.Detection) {
	defer func() {
		if problem := recover(); problem != nil {
			j.restart(r, problem)
		}
	}()
	if r.engine == nil {
		return j.conclude(r, "", []*event.Event{c.Event}, now)
	}
	k, tie := j.store.keep(c.Event), tieOf(c.Event)
	matches := r.engine.Step(sequence.Hit{
		Stage: c.Stage, Key: c.Key, Time: c.Event.Time, ID: c.Event.ID, Request: tie,
		Payload: k, Size: k.size() + len(c.Key) + len(tie),
	})
	detections = j.changes(r, matches, now)
	j.budget(r)
	return detections
}

// restart gives a rule that panicked a new engine.
func (j *join) restart(r *joined, problem any) {
	j.metrics.failures.WithLabelValues(r.rule.Name, "panic").Inc()
	j.options.Logger.Error("rule panicked in the join, its open sequences are lost",
		"rule", r.rule.Name, "panic", fmt.Sprint(problem))
	if r.engine == nil {
		return
	}
	j.clear(r)
	empty, err := j.newJoined(r.rule, j.options)
	if err != nil { // It was right when the rule was loaded.
		panic(err)
	}
	r.engine, r.counted = empty.engine, sequence.Stats{}
	j.budget(r)
}

// clear makes an engine give up what it keeps.
func (j *join) clear(r *joined) {
	defer func() {
		if problem := recover(); problem != nil {
			// What it keeps of the store is in nobody's hands any more.
			j.options.Logger.Error("rule panicked again, some memory of its events is lost", "rule", r.rule.Name, "panic", fmt.Sprint(problem))
		}
	}()
	r.engine.Clear()
}

// budget notes what a rule's engine keeps, and makes room if all together keep
// too much: the rule that keeps most forgets its oldest, so that a busy rule
// does not cost a quiet one its state.
func (j *join) budget(r *joined) {
	j.held(r)
	if j.hits <= j.options.MaxHits && j.memory() <= j.options.MaxBytes {
		return
	}
	// Some more than necessary, so that not every hit has to look for room.
	hits, bytes := j.options.MaxHits-j.options.MaxHits/100, j.options.MaxBytes-j.options.MaxBytes/100
	for j.hits > hits || j.memory() > bytes {
		largest := j.largest(j.memory() > bytes)
		if largest == nil || !largest.engine.Shed() {
			return
		}
		j.held(largest)
	}
}

// memory is about how much memory the open sequences take.
func (j *join) memory() int64 { return j.bytes + j.store.bytes }

// held brings the totals up to date with one rule's engine.
func (j *join) held(r *joined) {
	hits, bytes := r.engine.Held()
	j.hits += hits - r.hits
	j.bytes += bytes - r.bytes
	r.hits, r.bytes = hits, bytes
}

// largest returns the rule that keeps most bytes, or hits.
func (j *join) largest(byBytes bool) *joined {
	var largest *joined
	for _, r := range j.rules {
		switch {
		case r.engine == nil:
		case largest == nil, byBytes && r.bytes > largest.bytes, !byBytes && r.hits > largest.hits:
			largest = r
		}
	}
	return largest
}

// advance moves the engines' watermark and returns what that concludes.
func (j *join) advance(now time.Time) []*event.Detection {
	w := j.watermark.at(now)
	if w.IsZero() {
		return nil
	}
	j.advanced = w
	j.metrics.watermark.Set(float64(w.UnixMilli()) / 1000)
	var detections []*event.Detection
	partials := 0
	for _, r := range j.rules {
		if r.engine == nil {
			continue
		}
		detections = append(detections, j.advanceRule(r, now)...)
		partials += j.count(r).Partials
	}
	j.metrics.partials.Set(float64(partials))
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
			j.restart(r, problem)
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
		dropExpired:   now.Expired - before.Expired,
		dropInvalid:   now.Invalid - before.Invalid,
		dropOverKey:   now.OverKey - before.OverKey,
		dropOverTotal: now.OverTotal - before.OverTotal,
	} {
		j.metrics.drop(cause, int(n)) //nolint:gosec // a second's worth of drops
	}
	return now
}

// changes turns what an engine says into detections. A match that is superseded
// has been told already: telling what became of it belongs to whoever keeps
// detections, here it is counted.
func (j *join) changes(r *joined, matches []sequence.Match, now time.Time) []*event.Detection {
	var detections []*event.Detection
	for _, m := range matches {
		if m.Change != sequence.Found {
			j.metrics.changes.WithLabelValues(r.rule.Name, m.Change.String()).Inc()
			continue
		}
		events := make([]*event.Event, len(m.Hits))
		for i, h := range m.Hits {
			events[i] = j.store.event(h.Payload.(*kept), h.Request) // step puts nothing else in
		}
		detections = append(detections, j.conclude(r, m.Key, events, now)...)
	}
	return detections
}

// conclude makes the detection of a chain of events, unless it is known.
func (j *join) conclude(r *joined, key string, events []*event.Event, now time.Time) []*event.Detection {
	id := detectionID(r.rule.Name, key, requestOf(events[len(events)-1]))
	if !j.known.add(id) {
		return nil
	}
	d := newDetection(r.rule, r.mode, id, events, now)
	j.metrics.detections.WithLabelValues(r.rule.Name, string(d.Action)).Inc()
	return []*event.Detection{d}
}
