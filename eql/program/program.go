package program

import (
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/check"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Program is a query that was compiled.
type Program struct {
	stages  []*Stage
	until   *Stage
	maxSpan time.Duration
	bounded bool
	isSeq   bool
}

// New compiles a tree that was checked without errors.
func New(q *ast.Query, info *check.Info) *Program {
	c := compiler{info}
	switch body := q.Body.(type) {
	case *ast.Filter:
		return &Program{stages: []*Stage{c.stage(body, nil, false)}}
	case *ast.Sequence:
		return c.sequence(body)
	default:
		panic("program: query was not checked")
	}
}

func (c compiler) sequence(s *ast.Sequence) *Program {
	p := &Program{isSeq: true}
	if s.MaxSpan != nil {
		p.maxSpan, p.bounded = s.MaxSpan.Value, true
	}
	for _, t := range s.Terms {
		stage := c.stage(t.Filter, slices.Concat(s.By, t.By), t.Missing)
		runs := 1
		if t.Runs != nil {
			runs = int(t.Runs.Int)
		}
		for range runs {
			p.stages = append(p.stages, stage)
		}
	}
	if s.Until != nil {
		p.until = c.stage(s.Until.Filter, slices.Concat(s.By, s.Until.By), false)
	}
	return p
}

// IsSequence reports whether the query is for a sequence of events.
func (p *Program) IsSequence() bool { return p.isSeq }

// Stages returns the steps of a sequence in their order, missing events among
// them, or the one stage of a query for single events. A step with runs=n is in
// it n times, the same Stage each time. The slice must not be changed.
func (p *Program) Stages() []*Stage { return p.stages }

// Until returns the stage that ends a sequence, nil if there is none.
func (p *Program) Until() *Stage { return p.until }

// MaxSpan returns the longest time from a sequence's first to its last event,
// false if the query gives none.
func (p *Program) MaxSpan() (time.Duration, bool) { return p.maxSpan, p.bounded }

// Fields returns the slots that the program reads, sorted, each once.
func (p *Program) Fields() []int {
	var slots []int
	for _, s := range p.stages {
		slots = append(slots, s.fields...)
	}
	if p.until != nil {
		slots = append(slots, p.until.fields...)
	}
	slices.Sort(slots)
	return slices.Compact(slots)
}

// Condition is a condition that stands alone, such as a rule's exception.
type Condition struct {
	cond   cond
	fields []int
}

// NewCondition compiles a condition that was checked without errors.
func NewCondition(e ast.Expr, info *check.Info) *Condition {
	return &Condition{cond: compiler{info}.condition(e), fields: slots(info, e)}
}

// Match reports whether the condition holds for an event.
func (c *Condition) Match(r value.Record) bool { return c.cond.eval(r) }

// Fields returns the slots that the condition reads, sorted, each once.
func (c *Condition) Fields() []int { return c.fields }

// slots returns the slots of all fields below a node, sorted, each once.
func slots(info *check.Info, n ast.Node) []int {
	var out []int
	ast.Walk(n, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok {
			if known, ok := info.Fields[f]; ok {
				out = append(out, known.Slot)
			}
		}
		return true
	})
	slices.Sort(out)
	return slices.Compact(out)
}
