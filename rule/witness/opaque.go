package witness

import (
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Conditions that calculate are not turned around. Instead, values are made of
// the constants that stand in them, and tried.

const (
	// maxPool bounds the values that are tried for one field, maxTries the
	// combinations for one condition.
	maxPool  = 2000
	maxTries = 20000
	// tryWork is what one of them counts as; see maxWork.
	tryWork = 200
	// maxShift is the largest number of a condition that counts as a position in a text.
	maxShift = 1100
)

// settle gives fields other values until the conditions that calculate are as
// wanted. It returns nil if it finds none.
func (s *solver) settle(st *state) *state {
	for i, g := range st.opaque {
		if s.reached(st, g) {
			continue
		}
		tries := maxTries
		next := s.try(st, g, i, s.fieldsOf(g.expr), &tries)
		if next == nil {
			return s.fail(g, "no values were found for it")
		}
		st = next
	}
	return st
}

// try gives each of the fields every value of its pool.
func (s *solver) try(st *state, g goal, done int, fields []*ast.Field, tries *int) *state {
	if len(fields) == 0 {
		*tries--
		*s.work -= tryWork
		for _, earlier := range append(st.opaque[:done:done], g) {
			if !s.reached(st, earlier) {
				return nil
			}
		}
		return st
	}
	pool := pool(st.opaque, s.info.Fields[fields[0]].Type)
	if unchanged := s.try(st, g, done, fields[1:], tries); unchanged != nil {
		return unchanged
	}
	for _, v := range pool {
		if *tries < 0 || s.spent() {
			return nil
		}
		if next := s.give(st, fields[0], v); next != nil {
			if found := s.try(next, g, done, fields[1:], tries); found != nil {
				return found
			}
		}
	}
	return nil
}

// fieldsOf returns the fields of a condition that events of the shape have, each once.
func (s *solver) fieldsOf(e ast.Expr) []*ast.Field {
	var out []*ast.Field
	ast.Walk(e, func(n ast.Node) bool {
		f, ok := n.(*ast.Field)
		if !ok {
			return true
		}
		_, _, why := s.place(f)
		if why == "" && !slices.ContainsFunc(out, func(g *ast.Field) bool { return g.Name == f.Name }) {
			out = append(out, f)
		}
		return true
	})
	return out
}

// give returns the state with a field of that value, nil if it cannot have it.
func (s *solver) give(st *state, f *ast.Field, v value.Value) *state {
	name, part, _ := s.place(f)
	if list, ok := s.shape.Joined[name]; ok {
		return s.giveList(st, list, words(v.Text()))
	}
	if list, ok := s.shape.Counted[name]; ok {
		return s.giveList(st, list, slices.Repeat([]value.Value{value.String("x")}, int(min(max(v.Int(), 0), maxPadding))))
	}
	switch part {
	case Directory:
		v = value.String(v.Text() + "/x")
	case Base:
		v = value.String("/x/" + v.Text())
	case Extension:
		v = value.String("/x/x." + v.Text())
	default:
	}
	c := *s.cell(st, name)
	values := []value.Value{v}
	if c.many {
		values = append(slices.Clone(c.values), v)
	}
	if c.values = values; c.fixed || c.isText() && !c.format.holds(v) || !c.answers() {
		return nil
	}
	next := st.set(&c)
	if joined, counted := s.shape.derived(name); joined != "" || counted != "" {
		return s.giveList(next, name, values)
	}
	return next
}

func (s *solver) giveList(st *state, list string, values []value.Value) *state {
	joined, counted := s.shape.derived(list)
	l := listCells{list: s.cell(st, list), joined: st.cells[joined], counted: st.cells[counted]}
	if !l.fits(values) {
		return nil
	}
	c := *l.list
	c.values = values
	return st.set(&c)
}

// pool makes values of the conditions' constants.
func pool(goals []goal, t value.Type) []value.Value {
	texts, numbers := constants(goals)
	var out []value.Value
	switch t {
	case value.Boolean:
		return []value.Value{value.Bool(true), value.Bool(false)}
	case value.Number:
		for _, n := range numberPool(numbers) {
			out = append(out, value.Int(n))
		}
	default:
		for _, text := range textPool(texts, numbers) {
			out = append(out, value.String(text))
		}
	}
	return out[:min(len(out), maxPool)]
}

// constants returns the texts and numbers of conditions, and the numbers in the texts.
func constants(goals []goal) (texts []string, numbers []int64) {
	for _, g := range goals {
		ast.Walk(g.expr, func(n ast.Node) bool {
			switch l, ok := n.(*ast.Literal); {
			case !ok:
			case l.Kind == ast.Text:
				texts = append(texts, l.Text)
			case l.Kind == ast.Int:
				numbers = append(numbers, l.Int)
			case l.Kind == ast.Float:
				numbers = append(numbers, int64(l.Float))
			}
			return true
		})
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	for _, text := range texts {
		for _, digits := range strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
			if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	return texts, numbers
}

// numberPool makes numbers of numbers: with one operator they are solutions of
// most equations that anybody writes.
func numberPool(numbers []int64) []int64 {
	numbers = append(numbers, 0, 1, 2)
	var out []int64
	for _, a := range numbers {
		out = append(out, a, a+1, a-1, -a)
		for _, b := range numbers {
			out = append(out, a+b, a-b, a*b, a*b+1, a+b+1, a-b-1)
			if b > 0 {
				out = append(out, a/b, a/b+1)
			}
		}
	}
	slices.SortFunc(out, func(a, b int64) int {
		switch { // Small ones first, and negative ones last: few fields have those.
		case (a < 0) != (b < 0):
			return int(min(max(b, -1), 1) - min(max(a, -1), 1))
		case a < b:
			return -1
		default:
			return 1
		}
	})
	return slices.Compact(out)
}

// textPool makes texts of texts, each also behind and in front of as many other
// characters as the condition's numbers say, and texts of the numbers themselves.
func textPool(texts []string, numbers []int64) []string {
	joined := sums(texts, fillerFor(texts))
	out := slices.Clone(joined)
	for _, n := range numberPool(numbers) {
		out = append(out, strconv.FormatInt(n, 10))
	}
	for _, n := range numbers {
		for _, shift := range []int64{n, n + 1, n - 1} {
			if shift < 1 || shift > maxShift {
				continue
			}
			filler := strings.Repeat(fillerFor(texts), int(shift))
			out = append(out, filler)
			for _, b := range joined {
				out = append(out, filler+b, b+filler)
			}
		}
	}
	return out[:min(len(out), maxPool)]
}

// fillerFor returns a letter that stands in none of the texts.
func fillerFor(texts []string) string {
	all := strings.ToLower(strings.Join(texts, ""))
	for r := 'z'; r >= 'a'; r-- {
		if !strings.ContainsRune(all, r) {
			return string(r)
		}
	}
	return "~"
}

// sums are texts, up to three of them one behind the other, and what is left of
// one where another is cut out.
func sums(texts []string, filler string) []string {
	const few = 4
	out := append([]string{filler}, texts...)
	if len(texts) > few {
		return out
	}
	for _, a := range texts {
		for _, b := range texts {
			out = append(out, a+b, a+filler+b)
			if a != b {
				out = append(out, strings.Split(a, b)...)
			}
			for _, c := range texts {
				out = append(out, a+b+c)
			}
		}
	}
	return out
}
