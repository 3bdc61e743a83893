package program

import (
	"slices"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// anyCategory is what Category returns for stages that take every event.
const anyCategory = "any"

// Stage is one step of a sequence, or a query for single events.
type Stage struct {
	text     string
	category string
	any      bool
	slot     int // of the category
	node     *node
	cond     cond
	keys     []key
	negated  bool
	fields   []int
}

func (c compiler) stage(f *ast.Filter, by []*ast.Field, negated bool) *Stage {
	s := &Stage{
		text: ast.Print(f), category: f.Category, any: f.Any, slot: c.info.Category.Slot,
		node: c.node(f.Where), negated: negated, fields: slots(c.info, f),
	}
	s.cond = s.node.cond()
	if !f.Any {
		s.fields = append(s.fields, s.slot)
	}
	for _, k := range by {
		s.keys = append(s.keys, c.key(k))
		s.fields = append(s.fields, slots(c.info, k)...)
	}
	slices.Sort(s.fields)
	s.fields = slices.Compact(s.fields)
	return s
}

// Match reports whether an event is of the stage's category and fulfils its
// condition.
func (s *Stage) Match(r value.Record) bool {
	return (s.any || s.inCategory(r.Field(s.slot))) && s.cond.eval(r)
}

func (s *Stage) inCategory(v value.Value) bool {
	if v.Kind() == value.KindString {
		return v.Text() == s.category
	}
	return slices.Contains(v.Texts(), s.category)
}

// Category returns the category of the stage's events, "any" where it takes
// every event, also one without a category. See Any.
func (s *Stage) Category() string {
	if s.any {
		return anyCategory
	}
	return s.category
}

// Any reports whether the stage takes events of every category.
func (s *Stage) Any() bool { return s.any }

// Negated reports whether the step is a missing event: ![ … ].
func (s *Stage) Negated() bool { return s.negated }

// Fields returns the slots that the stage reads, sorted, each once.
func (s *Stage) Fields() []int { return s.fields }

// String returns the stage's category and condition in canonical form.
func (s *Stage) String() string { return s.text }
