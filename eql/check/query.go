package check

import (
	"time"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

const (
	// maxRuns is the largest n of with runs=n.
	maxRuns = 100
	// maxStages bounds the steps of a sequence after with runs is written out.
	maxStages = 256
	// maxKeys bounds the fields that a step joins by.
	maxKeys = 16
)

// MaxSpan is the longest maxspan. Whatever could be part of a sequence is kept for a few times as long.
const MaxSpan = 24 * time.Hour

func (c *checker) query(q *ast.Query) {
	switch body := q.Body.(type) {
	case *ast.Filter:
		c.filter(body)
	case *ast.Sequence:
		c.sequence(body)
	case *ast.Group:
		c.group(body)
	}
	if len(q.Pipes) > 0 {
		c.error(q.Pipes[0], "remove it: every match is reported as it happens",
			"pipes are not supported: they work on a finished result, and a stream of events never has one")
	}
}

func (c *checker) group(g *ast.Group) {
	if g.Keyword == "sample" {
		c.error(head(g, g.Keyword), "a sequence finds events that follow each other: sequence by …",
			"sample is not supported: it picks from stored events in any order, and a stream of events is not stored")
		return
	}
	c.error(head(g, g.Keyword), "a sequence finds events that follow each other: sequence by …",
		"join is not supported: it has no order and no bound in time, so that every event would have to be kept for ever")
}

func (c *checker) filter(f *ast.Filter) {
	if !f.Any {
		field, ok := c.schema.Lookup(CategoryField)
		if !ok {
			c.error(place(f.CategoryPlace), "write any", "these events have no categories: there is no field %s", CategoryField)
		}
		c.info.Category = field
	}
	c.condition(f.Where)
}

// place is a node without anything but its place.
func place(s token.Span) ast.Node { return &ast.Literal{Place: ast.At(s)} }

func (c *checker) sequence(s *ast.Sequence) {
	c.keys(s.By)
	missing, stages := 0, 0
	for _, t := range s.Terms {
		c.term(t)
		stages += runs(t)
		if t.Missing {
			missing++
		}
	}
	switch {
	case stages > maxStages:
		c.error(head(s, "sequence"), "", "sequence has %d steps, at most %d are supported", stages, maxStages)
	case stages < 2:
		c.error(head(s, "sequence"), "leave sequence and the brackets out, or repeat the step: with runs=2",
			"sequence has one step, it needs two")
	case missing == len(s.Terms):
		c.error(head(s, "sequence"), "add the event that must happen", "sequence has nothing but missing events")
	}
	if s.Until != nil {
		c.until(s.Until)
	}
	c.span(s, missing > 0)
	c.keysFit(s)
}

// runs returns how often a term stands in its sequence. Where that is wrong it
// says two, so that it is not found wrong twice.
func runs(t *ast.Term) int {
	switch {
	case t.Runs == nil:
		return 1
	case t.Runs.Int < 1 || t.Runs.Int > maxRuns:
		return 2
	default:
		return int(t.Runs.Int)
	}
}

func (c *checker) span(s *ast.Sequence, missing bool) {
	switch {
	case s.MaxSpan != nil && s.MaxSpan.Value <= 0:
		c.error(s.MaxSpan, "", "maxspan must be longer than nothing")
	case s.MaxSpan != nil && s.MaxSpan.Value > MaxSpan:
		c.error(s.MaxSpan, "write sequence … with maxspan=24h",
			"maxspan is longer than %dh: everything that could be part of the sequence is kept for a few times as long", MaxSpan/time.Hour)
	case s.MaxSpan != nil:
	case missing:
		c.error(head(s, "sequence"), "write sequence … with maxspan=1m",
			"a missing event needs maxspan: without it there is never a moment at which the event has not happened")
	default:
		c.warn(head(s, "sequence"), "write sequence … with maxspan=1m",
			"sequence without maxspan: it is capped at the engine's own span, so that slow attacks can be missed")
	}
}

// head is the first word of a node: a mark under a whole sequence shows nothing.
func head(n ast.Node, word string) ast.Node {
	start := n.Span().Start
	return place(token.Span{Start: start, End: start + token.Pos(len(word))})
}

func (c *checker) term(t *ast.Term) {
	c.filter(t.Filter)
	c.keys(t.By)
	if t.Runs == nil {
		return
	}
	if t.Runs.Int < 1 || t.Runs.Int > maxRuns {
		c.error(t.Runs, "", "runs must be from 1 to %d", maxRuns)
	}
	if t.Missing {
		c.error(t.Runs, "leave with runs out", "an event that is missing once is missing any number of times")
	}
}

func (c *checker) until(t *ast.Term) {
	c.term(t)
	if t.Missing {
		c.error(t, "write until [ … ]", "until waits for an event, not for a missing one")
	}
	if t.Runs != nil && !t.Missing {
		c.error(t.Runs, "leave with runs out", "until ends a sequence the first time it happens")
	}
}

func (c *checker) keys(keys []*ast.Field) {
	for _, k := range keys {
		c.field(k)
	}
}

// keysFit checks that all terms are joined by equally many keys of types that
// can be equal at all.
func (c *checker) keysFit(s *ast.Sequence) {
	if len(s.Terms) == 0 {
		return
	}
	first := s.Terms[0]
	if keys := len(s.By) + len(first.By); keys > maxKeys {
		c.error(head(s, "sequence"), "", "steps are joined by %d keys, at most %d are supported", keys, maxKeys)
	}
	others := append([]*ast.Term(nil), s.Terms[1:]...)
	if s.Until != nil {
		others = append(others, s.Until)
	}
	for _, t := range others {
		if len(t.By) != len(first.By) {
			c.error(t, "give every step as many fields behind by",
				"steps are joined by different numbers of keys: %d here, %d in the first",
				len(s.By)+len(t.By), len(s.By)+len(first.By))
			continue
		}
		for i, k := range t.By {
			c.keyFits(k, first.By[i])
		}
	}
}

func (c *checker) keyFits(key, first *ast.Field) {
	a, known := c.info.Fields[key]
	b, knownFirst := c.info.Fields[first]
	if !known || !knownFirst {
		return
	}
	switch {
	case typeOfField(a) != typeOfField(b):
		c.error(key, "", "joins %s (%s) with %s (%s): they are never equal", key.Name, a.Type, first.Name, b.Type)
	case (a.Type == value.Reference) != (b.Type == value.Reference):
		c.warn(key, "join two fields that refer to the same kind of thing",
			"joins %s (%s) with %s (%s): a reference joins by what it refers to, not by its text",
			key.Name, a.Type, first.Name, b.Type)
	}
}
