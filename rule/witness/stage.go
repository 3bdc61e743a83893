package witness

import (
	"slices"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// event is an event that was found for a stage.
type event struct {
	shape    *shape
	values   map[string][]value.Value
	document Document
	// keys are the values that it joins by.
	keys []value.Value
	// joins are the same as the language writes them.
	joins []string
}

// wish is what an event is looked for by.
type wish struct {
	stage *stage
	// conditions must all be true, but for the one that must be false, if any.
	conditions []ast.Expr
	but        ast.Expr
	// keys it must join by, nil where it may be any.
	keys []value.Value
	// otherKeys says that it must have other keys instead.
	otherKeys bool
	// like is the event that it should resemble.
	like *event
}

// find looks for an event of any shape, the likeliest first. why says what stood in the way.
func (r *run) find(w wish) (found *event, why string) {
	shapes := slices.Clone(r.shapes)
	slices.SortStableFunc(shapes, func(a, b *shape) int { return r.likely(b, w) - r.likely(a, w) })
	for _, s := range shapes {
		e, conflict := r.findOf(s, w)
		if e != nil {
			return e, ""
		}
		if why == "" {
			why = conflict
		}
	}
	return nil, why
}

// likely is high for shapes that fit a wish well.
func (r *run) likely(s *shape, w wish) int {
	points := 0
	if w.like != nil && w.like.shape == s {
		points += 1000
	}
	if slices.ContainsFunc(s.usual["event.category"], func(v value.Value) bool { return v.Text() == w.stage.category }) {
		points += 100
	}
	for _, c := range w.conditions {
		ast.Walk(c, func(n ast.Node) bool {
			if f, ok := n.(*ast.Field); ok && s.Has(f.Name) {
				points++
			}
			return true
		})
	}
	return points
}

// findOf looks for an event of one shape.
func (r *run) findOf(shape *shape, w wish) (found *event, why string) {
	s := &solver{query: r.query, shape: shape}
	if w.like != nil && w.like.shape == shape {
		s.initial = w.like.values
	}
	st := s.join(&state{}, w)
	if st == nil {
		return nil, s.conflict
	}
	var goals []goal
	for _, c := range w.conditions {
		if c != w.but {
			goals = append(goals, goal{c, true})
		}
	}
	if w.but != nil {
		goals = append(goals, goal{w.but, false})
	}
	s.accept = func(st *state) bool {
		found = s.confirm(r, st, w)
		return found != nil
	}
	s.solve(st, goals, nil)
	return found, s.conflict
}

// confirm makes the event and asks the language whether it is as wished.
func (s *solver) confirm(r *run, st *state, w wish) *event {
	e := &event{shape: s.shape, document: s.document(st), values: map[string][]value.Value{}}
	record, err := r.options.Record(e.document)
	if err != nil {
		s.conflict = err.Error()
		return nil
	}
	if w.stage.program.Match(record) != (w.but == nil) {
		s.conflict = "the event that was made for it is not as the query reads it"
		return nil
	}
	for name, c := range st.cells {
		e.values[name] = c.values
	}
	for _, f := range w.stage.by {
		v := s.value(st, s.keyField(f))
		if v.Len() > 1 {
			v = v.At(0)
		}
		e.keys = append(e.keys, v)
	}
	e.joins, _ = w.stage.program.Keys(record, nil)
	if w.but == nil && len(e.joins) == 0 {
		s.conflict = "the event joins with nothing"
		return nil
	}
	return e
}

// keyField is the field that decides what an event joins by.
func (s *solver) keyField(f *ast.Field) string {
	if id, ok := s.shape.Identity[f.Name]; ok {
		return id
	}
	return f.Name
}

// join asks for the keys. It returns nil if the event cannot have them.
func (s *solver) join(st *state, w wish) *state {
	for i, f := range w.stage.by {
		if st = s.joinBy(st, f, w, i); st == nil {
			return nil
		}
	}
	return st
}

func (s *solver) joinBy(st *state, f *ast.Field, w wish, i int) *state {
	g := goal{f, true}
	name, part, why := s.place(f)
	id := s.keyField(f)
	if id != f.Name {
		name, part = s.shape.home(id) // The text of a reference may be anything.
	}
	exists, err := present(part)
	if err != nil {
		return s.fail(g, "%v", err)
	}
	switch missing := w.keys != nil && w.keys[i].IsMissing(); {
	case why != "" && f.Optional && (w.keys == nil || missing):
		return st // Missing joins with missing.
	case why != "":
		return s.fail(g, "it cannot be joined by: %s", why)
	case missing && !w.otherKeys:
		return s.ask(st, g, name, func(c *cell) *cell { return c.with(exists, false) })
	}
	st = s.ask(st, g, name, func(c *cell) *cell { return c.with(exists, true) })
	if st == nil || w.keys == nil || w.keys[i].IsMissing() {
		return st
	}
	t, err := s.sameKey(st, name, part, w.keys[i])
	if err != nil {
		return s.fail(g, "%v", err)
	}
	return s.ask(st, g, name, func(c *cell) *cell { return c.with(t, !w.otherKeys) })
}

func (s *solver) sameKey(st *state, name string, part Part, key value.Value) (test, error) {
	if s.cell(st, name).isText() {
		return newEqual([]string{key.Text()}, false, part)
	}
	return among{key}, nil
}
