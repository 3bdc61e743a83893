package sequencetest

import (
	"cmp"
	"time"

	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Portcullis compiles a query with package eql and joins what matches with package
// sequence, as the correlator does.
func Portcullis(query string, schema value.Schema, maxSpan time.Duration) (Engine, error) {
	p, diags := eql.Compile("", query, schema, eql.Options{})
	if p == nil {
		return nil, diags.Err()
	}
	if !p.IsSequence() {
		return single{p.Stages()[0]}, nil
	}
	spec := sequence.Spec{Until: p.Until() != nil, MaxSpan: maxSpan}
	if span, ok := p.MaxSpan(); ok {
		spec.MaxSpan = span
	}
	for _, stage := range p.Stages() {
		spec.Stages = append(spec.Stages, sequence.Stage{Negated: stage.Negated()})
	}
	engine, err := sequence.New(spec, sequence.Limits{})
	if err != nil {
		return nil, err
	}
	return &joined{program: p, engine: engine}, nil
}

// single finds single events.
type single struct{ stage *program.Stage }

// Event implements Engine.
func (s single) Event(e Event) []Change {
	if !s.stage.Match(e.Record) {
		return nil
	}
	name := cmp.Or(e.Request, e.Name)
	return []Change{{Kind: sequence.Found.String(), Completed: name, Events: []string{name}}}
}

// Watermark implements Engine.
func (s single) Watermark(time.Time) []Change { return nil }

// joined finds sequences.
type joined struct {
	program *program.Program
	engine  *sequence.Engine
}

// Event implements Engine. Stages are taken last to first, and until at the end.
func (j *joined) Event(e Event) []Change {
	var matches []sequence.Match
	stages := j.program.Stages()
	for i := len(stages) - 1; i >= 0; i-- {
		matches = append(matches, j.step(i, stages[i], e)...)
	}
	if until := j.program.Until(); until != nil {
		matches = append(matches, j.step(sequence.Until, until, e)...)
	}
	return changes(matches)
}

func (j *joined) step(number int, stage *program.Stage, e Event) []sequence.Match {
	if !stage.Match(e.Record) {
		return nil
	}
	var matches []sequence.Match
	keys, _ := stage.Keys(e.Record, nil)
	for _, key := range keys {
		matches = append(matches, j.engine.Step(sequence.Hit{
			Stage: number, Key: key, Time: e.Time, ID: e.Name, Request: e.Request,
		})...)
	}
	return matches
}

// Watermark implements Engine.
func (j *joined) Watermark(t time.Time) []Change { return changes(j.engine.Advance(t)) }

func changes(matches []sequence.Match) []Change {
	out := make([]Change, 0, len(matches))
	for _, m := range matches {
		c := Change{Kind: m.Change.String(), Key: m.Key, Completed: m.Time.String() + " " + m.Request}
		for _, h := range m.Hits {
			c.Events = append(c.Events, h.Request) // the name, where there is no request
		}
		if m.By != nil {
			c.By = m.By.Request
		}
		out = append(out, c)
	}
	return out
}
