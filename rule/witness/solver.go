package witness

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/check"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// goal is a condition that is to be true or false.
type goal struct {
	expr ast.Expr
	want bool
}

// solver looks for an event of one shape that reaches all of some goals.
//
// It takes the conditions apart: what must hold together goes into the state at
// once, comparison by comparison, and each field looks for values of its own;
// where one of several is enough, and none is true by chance, they are tried one
// after the other. Whether a condition is true is not worked out a second time
// here: the language's own programs say so.
type solver struct {
	*query
	shape *shape
	// initial are values to start from, by field.
	initial map[string][]value.Value
	// accept has the last word on a state that reaches the goals.
	accept func(*state) bool
	// conflict is what stood in the way most recently.
	conflict string
}

// query is what the solvers of one query share.
type query struct {
	schema value.Schema
	info   *check.Info
	// slots has the name of each field that the query uses.
	slots map[int]string
	// conditions are compiled parts of the query.
	conditions map[ast.Expr]*program.Condition
	// steps is how many comparisons may still be looked at, work how much may
	// still be searched for texts.
	steps, work *int
}

// spent reports whether the query has had its share.
func (q *query) spent() bool { return *q.steps < 0 || *q.work < 0 }

// lookWork is what asking whether a goal is reached counts as; see maxWork.
const lookWork = 20

// reached reports whether a state reaches a goal.
func (s *solver) reached(st *state, g goal) bool {
	*s.work -= lookWork
	c, ok := s.conditions[g.expr]
	if !ok {
		c = program.NewCondition(g.expr, s.info)
		s.conditions[g.expr] = c
	}
	return c.Match(view{s, st}) == g.want
}

// solve reaches the goals, and the pending ones of which any part is enough.
func (s *solver) solve(st *state, goals, pending []goal) bool {
	goals, pending = slices.Clone(goals), slices.Clone(pending)
	for len(goals) > 0 {
		g := goals[0]
		goals = goals[1:]
		parts, all := split(g)
		switch {
		case parts == nil:
			if *s.steps--; s.spent() {
				s.conflict = "the search was given up: it takes too long"
				return false
			}
			if st = s.leaf(st, g); st == nil {
				return false
			}
		case all:
			goals = append(parts, goals...)
		default:
			pending = append(pending, g)
		}
	}
	if st = s.settle(st); st == nil {
		return false
	}
	for i, g := range pending {
		if !s.reached(st, g) {
			return s.choose(st, g, slices.Delete(slices.Clone(pending), i, i+1))
		}
	}
	return s.accept(st)
}

// choose tries the parts of a goal one after the other.
func (s *solver) choose(st *state, g goal, pending []goal) bool {
	parts, _ := split(g)
	for _, part := range parts {
		if s.solve(st, []goal{part}, pending) {
			return true
		}
		if s.spent() {
			return false
		}
	}
	return false
}

// split takes a goal apart: into parts of which all must be reached, or any. It
// returns none for what cannot be taken apart.
func split(g goal) (parts []goal, all bool) {
	switch e := g.expr.(type) {
	case *ast.Unary:
		if e.Op == ast.Not {
			return []goal{{e.X, !g.want}}, true
		}
	case *ast.Logical:
		for _, x := range e.X {
			parts = append(parts, goal{x, g.want})
		}
		return parts, (e.Op == ast.And) == g.want
	case *ast.Compare:
		return splitCompare(e, g.want)
	}
	return nil, false
}

// splitCompare is split for (condition) == true and the like. Of a field that is
// something else: there the field must exist.
func splitCompare(e *ast.Compare, want bool) (parts []goal, all bool) {
	if e.Op != ast.Equal && e.Op != ast.NotEqual {
		return nil, false
	}
	for _, sides := range [][2]ast.Expr{{e.X, e.Y}, {e.Y, e.X}} {
		l, literal := sides[1].(*ast.Literal)
		_, field := sides[0].(*ast.Field)
		if literal && l.Kind == ast.Bool && !field {
			return []goal{{sides[0], (l.Bool == (e.Op == ast.Equal)) == want}}, true
		}
	}
	return nil, false
}

// fail notes why a goal is out of reach, and returns the state there is then.
func (s *solver) fail(g goal, format string, args ...any) *state {
	text := ast.Print(g.expr)
	if !g.want {
		text = "not (" + text + ")"
	}
	s.conflict = fmt.Sprintf("%s: ", shorten(text)) + fmt.Sprintf(format, args...)
	return nil
}

func shorten(text string) string {
	const most = 120
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
