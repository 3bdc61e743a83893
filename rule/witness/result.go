package witness

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// maxEvents bounds the events of one hit: every miss has as many.
const maxEvents = 64

// result makes the hit, and from it every miss.
func (r *run) result(tree *ast.Query) (*Result, error) {
	events := 0
	for _, s := range r.stages {
		events += s.runs
	}
	if events > maxEvents {
		return nil, fmt.Errorf("it takes %d events, at most %d are made", events, maxEvents)
	}
	found, err := r.hit()
	if err != nil {
		return nil, err
	}
	b := &builder{run: r, found: found, gap: r.gap(tree), result: &Result{}}
	b.result.Hit = b.events(nil)
	for i, s := range r.stages {
		b.conditions(i)
		if len(r.stages) > 1 || s.runs > 1 {
			b.steps(i)
		}
	}
	if span := maxSpan(tree); span > 0 && !b.decidedLate() {
		b.late(span)
	}
	return b.result, nil
}

func maxSpan(tree *ast.Query) time.Duration {
	if s, ok := tree.Body.(*ast.Sequence); ok && s.MaxSpan != nil {
		return s.MaxSpan.Value
	}
	return 0
}

// gap is the time between two events, so that all are within maxspan.
func (r *run) gap(tree *ast.Query) time.Duration {
	gap := time.Second
	events := 0
	for _, s := range r.stages {
		events += s.runs
	}
	if span := maxSpan(tree); span > 0 {
		gap = min(gap, span/time.Duration(2*events+2))
	}
	return max(gap, time.Microsecond)
}

// hit finds an event for every stage, all with the same keys. The keys are
// those of the stage that is found first: if the others cannot have them, the
// next one may choose.
func (r *run) hit() ([]*event, error) {
	var why string
	for leader, s := range r.stages {
		if s.missing || s.until {
			continue
		}
		found, conflict := r.hitLed(leader)
		if found != nil {
			return found, nil
		}
		if why == "" {
			why = conflict
		}
	}
	return nil, errors.New(why)
}

func (r *run) hitLed(leader int) (found []*event, why string) {
	found = make([]*event, len(r.stages))
	if found[leader], why = r.find(r.wish(leader, nil)); found[leader] == nil {
		return nil, r.step(leader) + why
	}
	for i := range r.stages {
		if i == leader {
			continue
		}
		found[i], why = r.find(r.wish(i, found[leader].keys))
		switch {
		case found[i] != nil && sharesKey(found[i], found[leader]):
		case r.stages[i].missing || r.stages[i].until:
			found[i] = nil // What cannot happen does not happen.
		case found[i] == nil:
			return nil, r.step(i) + why
		default:
			return nil, r.step(i) + "no event was found that joins with the others"
		}
	}
	return found, ""
}

func sharesKey(a, b *event) bool {
	return slices.ContainsFunc(a.joins, func(k string) bool { return slices.Contains(b.joins, k) })
}

func (r *run) wish(i int, keys []value.Value) wish {
	return wish{stage: r.stages[i], conditions: r.stages[i].conditions, keys: keys}
}

// step names a stage for messages, where there are several.
func (r *run) step(i int) string {
	switch {
	case len(r.stages) == 1:
		return ""
	case r.stages[i].until:
		return "until: "
	default:
		return fmt.Sprintf("step %d: ", i+1)
	}
}

// builder puts events together, as a hit or with one thing different.
type builder struct {
	*run
	found  []*event
	gap    time.Duration
	result *Result
}

// events puts one event for each step in order, a step of several runs several
// times. change may replace the event of a stage's first run, or leave it out,
// and add those of the stages that must not happen; nil changes nothing.
func (b *builder) events(change func(stage int, d Document) Document) []Document {
	var out []Document
	at := b.options.Start
	for i, s := range b.stages {
		for run := range s.runs {
			at = at.Add(b.gap)
			var d Document
			if !s.missing && !s.until {
				d = b.found[i].document
			}
			if change != nil && run == 0 {
				d = change(i, d)
			}
			if d == nil {
				continue
			}
			out = append(out, timed(d, at))
		}
	}
	return out
}

// timed returns a document with a time.
func timed(d Document, at time.Time) Document {
	out := Document{"@timestamp": at.UTC().Format(time.RFC3339Nano)}
	for k, v := range d {
		out[k] = v
	}
	return out
}

// replace is a change of one stage's event.
func replace(stage int, with Document) func(int, Document) Document {
	return func(i int, d Document) Document {
		if i == stage {
			return with
		}
		return d
	}
}

// conditions makes, for every condition of a stage, an event that fails it.
func (b *builder) conditions(i int) {
	s := b.stages[i]
	if s.missing || s.until {
		return
	}
	for _, c := range s.conditions {
		if b.constant(c) {
			continue
		}
		text := b.step(i) + shorten(ast.Print(c))
		e, alone, why := b.failing(i, c)
		switch {
		case e != nil:
			b.miss(Miss{But: "without " + text, Events: b.events(replace(i, e.document)), Alone: alone})
		case b.decides(i, c):
			b.result.Given = append(b.result.Given, text)
		default:
			b.result.Open = append(b.result.Open, Gap{text, why})
		}
	}
}

func (b *builder) miss(m Miss) { b.result.Misses = append(b.result.Misses, m) }

// constant reports whether a condition does not depend on the event.
func (b *builder) constant(c ast.Expr) bool {
	is := true
	ast.Walk(c, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok {
			_, known := b.info.Fields[f]
			is = is && !known
		}
		return is
	})
	return is
}

// failing finds an event that fails one condition: alone, if that is possible.
func (b *builder) failing(i int, c ast.Expr) (e *event, alone bool, why string) {
	w := b.wish(i, b.found[i].keys)
	w.but, w.like = c, b.found[i]
	if e, why = b.find(w); e != nil {
		return e, true, ""
	}
	// An event of another shape fails for many reasons, and shows nothing.
	w.conditions = []ast.Expr{c}
	e, _ = b.findOf(w.like.shape, w)
	return e, false, why
}

// decides reports whether the compiled query fails if what the condition reads
// were missing, or otherwise: some fields have the same value in every event.
func (b *builder) decides(i int, c ast.Expr) bool {
	record, err := b.options.Record(b.found[i].document)
	if err != nil {
		return false
	}
	decides := false
	ast.Walk(c, func(n ast.Node) bool {
		f, ok := n.(*ast.Field)
		known, isField := b.info.Fields[f]
		if !ok || !isField {
			return true
		}
		for _, v := range []value.Value{value.Missing(), value.String("\x00"), value.Bool(false), value.Bool(true), value.Int(-1)} {
			decides = decides || !b.stages[i].program.Match(masked{record, known.Slot, v})
		}
		return !decides
	})
	return decides
}

// masked is a record of which one field is something else.
type masked struct {
	value.Record
	slot int
	v    value.Value
}

// Field implements value.Record.
func (m masked) Field(slot int) value.Value {
	if slot == m.slot {
		return m.v
	}
	return m.Record.Field(slot)
}

// steps makes sequences in which a step is not there, or is one of other keys;
// and for what must not happen, one in which it does.
func (b *builder) steps(i int) {
	s := b.stages[i]
	if s.missing || s.until {
		b.forbidden(i)
		return
	}
	b.miss(Miss{But: fmt.Sprintf("without step %d", i+1), Events: b.events(replace(i, nil)), Alone: true})
	if len(s.by) == 0 || len(b.result.Hit) == 1 {
		return // There is nothing that it would have to share its key with.
	}
	w := b.wish(i, b.found[i].keys)
	w.otherKeys, w.like = true, b.found[i]
	if e, _ := b.find(w); e != nil && !sharesKey(e, b.found[i]) {
		b.miss(Miss{But: fmt.Sprintf("with another key in step %d", i+1), Events: b.events(replace(i, e.document)), Alone: true})
	}
}

// forbidden makes a sequence in which what must not happen does. Such an event
// that is also one of the steps would make sequences of its own.
func (b *builder) forbidden(i int) {
	if b.found[i] == nil {
		b.result.Open = append(b.result.Open, Gap{fmt.Sprintf("step %d must not happen", i+1), "no event was found that it is for"})
		return
	}
	d := b.found[i].document
	record, err := b.options.Record(d)
	if err != nil {
		return
	}
	for j, s := range b.stages {
		if j != i && !s.missing && !s.until && s.program.Match(record) {
			return
		}
	}
	but := fmt.Sprintf("although step %d must not happen", i+1)
	if b.stages[i].until {
		b.miss(Miss{But: "although until ends it", Events: b.ended(d), Alone: true})
		return
	}
	b.miss(Miss{But: but, Events: b.events(replace(i, d)), Alone: true})
}

// ended puts an event just before the last one.
func (b *builder) ended(d Document) []Document {
	all := b.events(nil)
	last := len(all) - 1
	at, err := time.Parse(time.RFC3339Nano, all[last]["@timestamp"].(string))
	if err != nil { // It was written by timed.
		panic(err)
	}
	return slices.Insert(all, last, timed(d, at.Add(-b.gap/2)))
}

// decidedLate reports whether the last step is one that must not happen: then a
// late last event changes nothing that the next one would not decide.
func (b *builder) decidedLate() bool {
	return slices.ContainsFunc(b.stages, func(s *stage) bool { return s.missing })
}

// late makes a sequence whose last event comes after maxspan.
func (b *builder) late(span time.Duration) {
	all := b.events(nil)
	last := len(all) - 1
	d := Document{}
	for k, v := range all[last] {
		d[k] = v
	}
	d["@timestamp"] = b.options.Start.Add(span + 2*b.gap + time.Millisecond).UTC().Format(time.RFC3339Nano)
	all[last] = d
	b.miss(Miss{But: "with the last event after maxspan", Events: all, Alone: true})
}
