package program

import (
	"regexp"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/check"
	"github.com/portcullis-dev/portcullis/eql/pattern"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// compiler translates checked trees.
type compiler struct{ info *check.Info }

// condition translates a condition.
func (c compiler) condition(e ast.Expr) cond { return c.node(e).cond() }

// node translates a condition to its logic and its predicates.
func (c compiler) node(e ast.Expr) *node {
	switch e := e.(type) {
	case *ast.Unary:
		if e.Op == ast.Not {
			return c.node(e.X).negate()
		}
	case *ast.Logical:
		return c.logical(e)
	case *ast.Compare:
		return c.compare(e)
	case *ast.In:
		if e.Not {
			return c.node(&ast.In{Place: e.Place, X: e.X, Fold: e.Fold, List: e.List}).negate()
		}
		return predicate(e, c.in(e))
	case *ast.Match:
		if f, ok := e.X.(*ast.Field); ok {
			return predicate(e, c.text(f, e))
		}
	case *ast.Field:
		return predicate(e, c.boolean(e, true))
	}
	return predicate(e, c.leaf(e))
}

func (c compiler) logical(e *ast.Logical) *node {
	of := make([]*node, len(e.X))
	for i, x := range e.X {
		of[i] = c.node(x)
	}
	if e.Op == ast.Or {
		return join(opEither, of)
	}
	return join(opAll, of)
}

func (c compiler) compare(e *ast.Compare) *node {
	if e.Op == ast.NotEqual {
		return c.compare(&ast.Compare{Place: e.Place, Op: ast.Equal, X: e.X, Y: e.Y}).negate()
	}
	f, ok := e.X.(*ast.Field)
	op, other := e.Op, e.Y
	if !ok {
		f, ok = e.Y.(*ast.Field)
		op, other = e.Op.Flip(), e.X
	}
	switch {
	case isNull(e.X):
		return c.exists(e.Y).negate()
	case isNull(e.Y):
		return c.exists(e.X).negate()
	case !ok && op == ast.Equal && isBool(e.Y):
		return c.is(e.X, e.Y)
	case !ok && op == ast.Equal && isBool(e.X):
		return c.is(e.Y, e.X)
	case ok:
		return predicate(e, c.compareField(f, op, c.constant(other)))
	default:
		return predicate(e, c.leaf(e))
	}
}

// is translates condition == true to the condition, condition == false to its
// not. Of a field the latter is something else: there it does not hold if the
// field is missing.
func (c compiler) is(e, truth ast.Expr) *node {
	n := c.node(e)
	if Literal(truth.(*ast.Literal)).Bool() {
		return n
	}
	return n.negate()
}

func isBool(e ast.Expr) bool {
	l, ok := e.(*ast.Literal)
	return ok && l.Kind == ast.Bool
}

func isNull(e ast.Expr) bool {
	l, ok := e.(*ast.Literal)
	return ok && l.Kind == ast.Null
}

// exists translates e != null.
func (c compiler) exists(e ast.Expr) *node {
	asked := &ast.Compare{Op: ast.NotEqual, X: e, Y: &ast.Literal{}}
	f, ok := e.(*ast.Field)
	if !ok {
		l := c.newLeaf(e)
		l.present = true
		return predicate(asked, l.fold())
	}
	known, ok := c.info.Fields[f]
	if !ok {
		return truth(false)
	}
	return predicate(asked, exists{known.Slot})
}

func (c compiler) compareField(f *ast.Field, op ast.CompareOp, v value.Value) cond {
	known, ok := c.info.Fields[f]
	switch {
	case !ok:
		return constant(false)
	case v.Kind() == value.KindString && known.Type == value.IP:
		return textTest{slot: known.Slot, matcher: newAddresses([]string{v.Text()})}
	case v.Kind() == value.KindString && op == ast.Equal:
		return equal(known.Slot, []string{v.Text()})
	case v.Kind() == value.KindString:
		return textTest{slot: known.Slot, matcher: textOrder{op, v.Text()}}
	case v.Kind() == value.KindBool:
		return boolTest{known.Slot, v.Bool()}
	case isNumber(v):
		return numberTest{known.Slot, op, v}
	default:
		return constant(false)
	}
}

func (c compiler) boolean(f *ast.Field, want bool) cond {
	return c.compareField(f, ast.Equal, value.Bool(want))
}

func (c compiler) text(f *ast.Field, e *ast.Match) cond {
	known, ok := c.info.Fields[f]
	if !ok {
		return constant(false)
	}
	t := textTest{slot: known.Slot, matcher: c.matcher(e)}
	if e.Op != ast.Regex {
		t.patterns, t.fold = patterns(e), e.Fold
	}
	return t
}

func (c compiler) in(e *ast.In) cond {
	f, ok := e.X.(*ast.Field)
	if !ok {
		return c.leaf(e)
	}
	known, ok := c.info.Fields[f]
	if !ok {
		return constant(false)
	}
	texts, others := c.items(e)
	switch {
	case len(texts) > 0 && known.Type == value.IP:
		return textTest{slot: known.Slot, matcher: newAddresses(texts)}
	case len(texts) > 0 && e.Fold:
		return foldedTexts(known.Slot, texts)
	case len(texts) > 0:
		return equal(known.Slot, texts)
	case len(others) > 0 && others[0].Kind() == value.KindBool:
		var list either
		for _, v := range others {
			list = append(list, boolTest{known.Slot, v.Bool()})
		}
		return list
	default:
		return numberSet{known.Slot, others}
	}
}

// foldedTexts asks for one of some texts but for case. Where no text has a
// wildcard they are patterns as well.
func foldedTexts(slot int, texts []string) textTest {
	t := textTest{slot: slot, matcher: pattern.Set(texts, true)}
	if !strings.ContainsAny(strings.Join(texts, ""), "*?") {
		t.patterns, t.fold = texts, true
	}
	return t
}

// items returns the constants of a list, texts and others apart.
func (c compiler) items(e *ast.In) (texts []string, others []value.Value) {
	for _, item := range e.List {
		switch v := c.constant(item); v.Kind() {
		case value.KindString:
			texts = append(texts, v.Text())
		case value.KindMissing:
		default:
			others = append(others, v)
		}
	}
	return texts, others
}

func (c compiler) matcher(e *ast.Match) pattern.Matcher {
	if e.Op == ast.Regex {
		return regex{c.info.Regexes[e]}
	}
	return pattern.Like(patterns(e), e.Fold)
}

func patterns(e *ast.Match) []string {
	out := make([]string, 0, len(e.Patterns))
	for _, p := range e.Patterns {
		out = append(out, p.Text)
	}
	return out
}

// regex is a regular expression as a matcher.
type regex struct{ *regexp.Regexp }

// Match implements pattern.Matcher.
func (r regex) Match(text string) bool { return r.MatchString(text) }
