package witness

import (
	"fmt"
	"regexp"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/function"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// leaf takes a comparison into the state. It returns nil if that cannot be.
func (s *solver) leaf(st *state, g goal) *state {
	if l, ok := g.expr.(*ast.Literal); ok {
		if l.Bool == g.want {
			return st
		}
		return s.fail(g, "never changes")
	}
	if f, exists, ok := nullTest(g.expr); ok {
		return s.presence(st, g, f, exists == g.want)
	}
	f, positive, ok := s.subject(g.expr)
	if !ok {
		return &state{cells: st.cells, opaque: append(st.opaque[:len(st.opaque):len(st.opaque)], g)}
	}
	want := positive == g.want
	name, part, why := s.place(f)
	if why != "" {
		if !want {
			return st
		}
		return s.fail(g, "%s", why)
	}
	t, err := s.test(g.expr, part)
	if err != nil {
		return s.fail(g, "%v", err)
	}
	if _, ok := s.shape.follows[f.Name]; ok {
		t = s.shape.sources(f.Name, t)
	}
	return s.ask(st, g, name, func(c *cell) *cell { return c.with(t, want) })
}

// place returns where a field's values are, or why no event has any.
func (s *solver) place(f *ast.Field) (name string, part Part, why string) {
	if _, ok := s.info.Fields[f]; !ok {
		return "", whole, fmt.Sprintf("there is no field %s", f.Name)
	}
	name, part = s.shape.home(f.Name)
	if !s.shape.Has(f.Name) || !s.shape.Has(name) {
		return "", whole, fmt.Sprintf("%s does not have the field %s", s.shape.Name, f.Name)
	}
	return name, part, ""
}

// ask asks something more of a field.
func (s *solver) ask(st *state, g goal, name string, more func(*cell) *cell) *state {
	for _, lists := range []map[string]string{s.shape.Joined, s.shape.Counted} {
		if list, ok := lists[name]; ok {
			if next := s.list(st.set(more(s.derivedCell(st, name))), list); next != nil {
				return next
			}
			return s.fail(g, "no values of %s were found that do all that is asked of them", list)
		}
	}
	c := more(s.cell(st, name))
	if c == nil {
		return s.fail(g, "no value of %s was found that does all that is asked of it", name)
	}
	next := st.set(c)
	if joined, counted := s.shape.derived(name); joined != "" || counted != "" {
		if next = s.list(next, name); next == nil {
			return s.fail(g, "no values of %s were found that do all that is asked of them", name)
		}
	}
	return next
}

// nullTest recognises field == null and field != null.
func nullTest(e ast.Expr) (f *ast.Field, exists, ok bool) {
	c, ok := e.(*ast.Compare)
	if !ok {
		return nil, false, false
	}
	for _, sides := range [][2]ast.Expr{{c.X, c.Y}, {c.Y, c.X}} {
		if l, literal := sides[1].(*ast.Literal); literal && l.Kind == ast.Null {
			f, ok = sides[0].(*ast.Field)
			return f, c.Op == ast.NotEqual, ok
		}
	}
	return nil, false, false
}

// presence asks that a field is there, or missing.
func (s *solver) presence(st *state, g goal, f *ast.Field, exists bool) *state {
	name, part, why := s.place(f)
	switch {
	case why != "" && exists:
		return s.fail(g, "%s", why)
	case why != "":
		return st
	}
	t, err := present(part)
	if err != nil {
		return s.fail(g, "%v", err)
	}
	if _, follows := s.shape.follows[f.Name]; follows {
		t = s.shape.sources(f.Name, t)
	}
	return s.ask(st, g, name, func(c *cell) *cell { return c.with(t, exists) })
}

// present is the test for a field that is there, or for a path that has a part.
func present(part Part) (test, error) {
	if part == whole {
		return anything{}, nil
	}
	return newLike([]string{"*"}, false, part)
}

// subject returns the field that a comparison is about, and whether the
// comparison is the positive one: for != and not in it is not.
func (s *solver) subject(e ast.Expr) (f *ast.Field, positive, ok bool) {
	switch e := e.(type) {
	case *ast.Field:
		return e, true, true
	case *ast.Compare:
		return compared(e)
	case *ast.In:
		f, ok = e.X.(*ast.Field)
		for _, item := range e.List {
			_, literal := item.(*ast.Literal)
			ok = ok && literal
		}
		return f, !e.Not, ok
	case *ast.Match:
		f, ok = e.X.(*ast.Field)
		return f, true, ok
	case *ast.Call:
		f, ok = s.called(e)
		return f, true, ok
	default:
		return nil, false, false
	}
}

// compared is subject for ==, < and the like. The order of texts is left to the
// conditions that calculate.
func compared(e *ast.Compare) (f *ast.Field, positive, ok bool) {
	f, op, l, ok := sides(e)
	ordersText := l != nil && l.Kind == ast.Text && op != ast.Equal && op != ast.NotEqual
	return f, op != ast.NotEqual, ok && !ordersText
}

// sides returns the field and the constant of a comparison, the field as if it
// stood on the left. A field's length counts as the field; see lengths.
func sides(e *ast.Compare) (f *ast.Field, op ast.CompareOp, l *ast.Literal, ok bool) {
	x, y, op := e.X, e.Y, e.Op
	if _, literal := x.(*ast.Literal); literal {
		x, y, op = y, x, op.Flip()
	}
	l, ok = y.(*ast.Literal)
	if !ok {
		return nil, op, nil, false
	}
	if call, is := x.(*ast.Call); is && call.Name == "length" && len(call.Args) == 1 && l.Kind == ast.Int && l.Int >= 0 && l.Int < maxCount {
		x = call.Args[0]
	} else if l.Kind == ast.Null {
		return nil, op, l, false
	}
	f, ok = x.(*ast.Field)
	return f, op, l, ok
}

// maxCount bounds the lengths that are asked for by an expression {n}.
const maxCount = 1000

// called returns the field of a function that is a test of one field by constants.
func (s *solver) called(e *ast.Call) (*ast.Field, bool) {
	switch s.info.Functions[e].ID {
	case function.StartsWith, function.EndsWith, function.StringContains, function.Wildcard, function.Match, function.CIDRMatch:
	default:
		return nil, false
	}
	f, ok := e.Args[0].(*ast.Field)
	for _, a := range e.Args[1:] {
		l, literal := a.(*ast.Literal)
		ok = ok && literal && l.Kind == ast.Text
	}
	return f, ok
}

// test makes the test of a comparison for which subject found a field.
func (s *solver) test(e ast.Expr, part Part) (test, error) {
	switch e := e.(type) {
	case *ast.Field:
		return among{value.Bool(true)}, nil
	case *ast.Compare:
		return s.compare(e, part)
	case *ast.In:
		var list []*ast.Literal
		for _, item := range e.List {
			list = append(list, item.(*ast.Literal))
		}
		f := e.X.(*ast.Field)
		return s.equal(f, list, e.Fold, part)
	case *ast.Match:
		if e.Op == ast.Regex {
			return newRegex(s.info.Regexes[e], part)
		}
		return newLike(literalTexts(e.Patterns), e.Fold, part)
	default:
		return s.function(e.(*ast.Call), part)
	}
}

func (s *solver) compare(e *ast.Compare, part Part) (test, error) {
	f, op, l, _ := sides(e)
	known := s.info.Fields[f]
	if l.Kind == ast.Int && (known.Type == value.Keyword || known.Type == value.Reference) {
		return lengths(op, l.Int, part)
	}
	if op == ast.Equal || op == ast.NotEqual {
		return s.equal(f, []*ast.Literal{l}, false, part)
	}
	return order{op, program.Literal(l)}, nil
}

// lengths is the test of length(field) op n.
func lengths(op ast.CompareOp, n int64, part Part) (test, error) {
	count := map[ast.CompareOp]string{
		ast.Equal: fmt.Sprintf("{%d}", n), ast.NotEqual: fmt.Sprintf("{%d}", n),
		ast.Less: fmt.Sprintf("{0,%d}", max(n-1, 0)), ast.LessEqual: fmt.Sprintf("{0,%d}", n),
		ast.Greater: fmt.Sprintf("{%d,}", n+1), ast.GreaterEqual: fmt.Sprintf("{%d,}", n),
	}[op]
	if op == ast.Less && n == 0 {
		return among{}, nil
	}
	return compiledRegex(regardingCase+"."+count+ending, part)
}

func (s *solver) equal(f *ast.Field, list []*ast.Literal, fold bool, part Part) (test, error) {
	switch known := s.info.Fields[f]; known.Type {
	case value.IP:
		return newBlocks(literalTexts(list)), nil
	case value.Number, value.Boolean:
		var values among
		for _, l := range list {
			values = append(values, program.Literal(l))
		}
		return values, nil
	default:
		return newEqual(literalTexts(list), fold, part)
	}
}

func (s *solver) function(e *ast.Call, part Part) (test, error) {
	texts := make([]string, 0, len(e.Args)-1)
	for _, a := range e.Args[1:] {
		texts = append(texts, a.(*ast.Literal).Text)
	}
	quoted := quote(texts[0])
	switch s.info.Functions[e].ID {
	case function.StartsWith:
		return compiledRegex(opening(e.Fold)+quoted+".*"+ending, part)
	case function.EndsWith:
		return compiledRegex(opening(e.Fold)+".*"+quoted+ending, part)
	case function.StringContains:
		if texts[0] == "" {
			return among{}, nil
		}
		return compiledRegex(opening(e.Fold)+".*"+quoted+".*"+ending, part)
	case function.Wildcard:
		return newLike(texts, e.Fold, part)
	case function.Match:
		return newRegex(s.info.Regexes[e], part)
	default:
		return newBlocks(texts), nil
	}
}

// literalTexts returns the texts of constants; null matches nothing.
func literalTexts(list []*ast.Literal) []string {
	var texts []string
	for _, l := range list {
		if l.Kind == ast.Text {
			texts = append(texts, l.Text)
		}
	}
	return texts
}

func quote(text string) string { return regexp.QuoteMeta(text) }
