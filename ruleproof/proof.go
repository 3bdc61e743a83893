package ruleproof

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/witness"
)

// Options configure a Prover.
type Options struct {
	// Schema is the one that the rules are compiled with. Required.
	Schema *field.Schema
	// Language are the options that they are compiled with.
	Language eql.Options
}

// Prover proves rules. It is for one goroutine.
type Prover struct {
	schema    *field.Schema
	generator *witness.Generator
	record    *field.Record
}

// Verdict says whether a rule runs.
type Verdict struct {
	Runs bool
	// Why says why not.
	Why string
	// Shown is how many variations of the events made no detection, as they should not.
	Shown int
	// Given are conditions that every event of ours meets, or every one that joins
	// with the others: the query would not fire without them, but no event shows it.
	Given []string
}

// New returns a Prover.
func New(o Options) (*Prover, error) {
	if o.Schema == nil {
		return nil, errors.New("ruleproof options: Schema is missing")
	}
	p := &Prover{schema: o.Schema, record: o.Schema.NewRecord()}
	var err error
	p.generator, err = witness.New(witness.Options{
		Schema: o.Schema, Language: o.Language, Shapes: shapes(o.Schema), Record: p.read,
		Start: time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC),
	})
	return p, err
}

// read makes an event of a document and returns it as rules read it.
func (p *Prover) read(d witness.Document) (value.Record, error) {
	e, err := p.schema.Event(d)
	if err != nil {
		return nil, err
	}
	p.record.Reset(e)
	return p.record, nil
}

// Rule proves a rule. The rule's query must have been compiled with the Prover's
// schema and options.
func (p *Prover) Rule(r *rule.Rule) Verdict {
	made, err := p.generator.Query(r.File, r.Query)
	if err != nil {
		return Verdict{Why: "no event can make it fire: " + err.Error()}
	}
	engine, err := p.engine(r)
	if err != nil {
		return Verdict{Why: err.Error()}
	}
	v := Verdict{Given: made.Given}
	if v.Why = engine.mustFire(made.Hit); v.Why != "" {
		return v
	}
	for _, miss := range made.Misses {
		if v.Why = engine.mustNotFire(miss); v.Why != "" {
			return v
		}
		v.Shown++
	}
	for _, gap := range made.Open {
		v.Why = fmt.Sprintf("no event was found that fails its condition %s (%s)", gap.Condition, gap.Why)
		return v
	}
	v.Runs = true
	return v
}

// engine runs one rule over a few events at a time.
type engine struct {
	schema *field.Schema
	replay *correlator.Replay
}

func (p *Prover) engine(r *rule.Rule) (*engine, error) {
	alone := *r
	alone.Exceptions = nil
	set, err := rule.NewSet(&alone)
	if err != nil {
		return nil, err
	}
	replay, err := correlator.NewReplay(correlator.ReplayOptions{Rules: set, Schema: p.schema})
	if err != nil {
		return nil, err
	}
	return &engine{schema: p.schema, replay: replay}, nil
}

// run returns what the rule makes of events.
func (e *engine) run(documents []witness.Document) ([]*event.Detection, error) {
	e.replay.Reset()
	for _, d := range documents {
		made, err := e.schema.Event(d)
		if err != nil {
			return nil, fmt.Errorf("an event that was made for it is none: %w", err)
		}
		if err := e.replay.Add(made); err != nil {
			return nil, err
		}
	}
	return e.replay.Finish(nil), nil
}

// mustFire returns what is wrong if the rule does not fire.
func (e *engine) mustFire(documents []witness.Document) string {
	found, err := e.run(documents)
	switch {
	case err != nil:
		return err.Error()
	case !slices.ContainsFunc(found, func(d *event.Detection) bool { return len(d.Events) == len(documents) }):
		return "it does not fire for the events that were made for it"
	default:
		return ""
	}
}

// mustNotFire returns what is wrong if it does.
func (e *engine) mustNotFire(m witness.Miss) string {
	found, err := e.run(m.Events)
	switch {
	case err != nil:
		return err.Error()
	case len(found) > 0:
		return "it fires " + m.But
	default:
		return ""
	}
}
