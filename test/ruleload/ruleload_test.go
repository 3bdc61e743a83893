package ruleload

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// The numbers are those of the public families' 71 rules.
func TestShape(t *testing.T) {
	t.Parallel()
	c := counter{rules: map[string]int{}, stages: map[string]int{}, patterns: map[string]int{}, predicates: map[string]int{}}
	for i := range Block {
		c.count(t, Query(i))
	}
	want := map[string]int{
		"and": 71, "==": 70, "like": 62, "like list": 31, "in": 59, "or": 50, "not": 38, "/* */": 25, "like~": 15,
		"sequence by, maxspan": 10, "backquoted": 7, "!=": 7, "true": 7, "null": 4, "//": 4, ":": 5, "?field": 3, "regex": 2,
		"raw string": 2, "with runs": 1,
	}
	if diff := cmp.Diff(want, c.rules); diff != "" {
		t.Errorf("rules that have it: want (-), made (+)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"process": 53, "any": 16, "file": 12}, c.stages); diff != "" {
		t.Errorf("categories: want (-), made (+)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"*x*": 399, "x*": 192, "x": 184, "x*y": 147, "*": 26, "*x": 9}, c.patterns); diff != "" {
		t.Errorf("patterns: want (-), made (+)\n%s", diff)
	}
	total := 0
	for _, n := range c.predicates {
		total += n
	}
	if total != 744 || len(c.predicates) != 387 {
		t.Errorf("%d predicates, %d distinct: want 744 and 387", total, len(c.predicates))
	}
	slices.Sort(c.ins)
	if median, most := c.ins[len(c.ins)/2], c.ins[len(c.ins)-1]; median != 6 || most != 58 {
		t.Errorf("lists of in have %d texts in the median and %d at most: want 6 and 58", median, most)
	}
	if most := slices.Max(c.likes); most != 88 {
		t.Errorf("the longest list of patterns has %d, want 88", most)
	}
}

// counter counts the constructs of queries.
type counter struct {
	rules, stages, patterns map[string]int
	predicates              map[string]int
	ins, likes              []int
}

func (c *counter) count(t *testing.T, text string) {
	t.Helper()
	query, problems := parse.Query(token.NewFile("", text), parse.Limits{})
	if problems.HasErrors() {
		t.Fatalf("%s\n%s", text, problems.Render())
	}
	has := map[string]bool{
		"/* */": strings.Contains(text, "/* "), "//": strings.Contains(text, "// "), "raw string": strings.Contains(text, `"""`),
		"backquoted": strings.Contains(text, "`"),
	}
	ast.Walk(query, func(n ast.Node) bool { return c.node(n, has) })
	for construct, found := range has {
		if found {
			c.rules[construct]++
		}
	}
}

// node notes what a node is, and whether to go on below it.
func (c *counter) node(n ast.Node, has map[string]bool) bool {
	switch n := n.(type) {
	case *ast.Sequence:
		has["sequence by, maxspan"] = n.MaxSpan != nil && (len(n.By) > 0 || len(n.Terms[0].By) > 0)
	case *ast.Term:
		has["with runs"] = has["with runs"] || n.Runs != nil
	case *ast.Filter:
		if n.Any {
			c.stages["any"]++
		} else {
			c.stages[n.Category]++
		}
	case *ast.Logical:
		has[n.Op.String()] = true
	case *ast.Unary:
		has[n.Op.String()] = true
	case *ast.Compare:
		has[n.Op.String()] = true
	case *ast.In:
		has["in"] = true
		c.ins = append(c.ins, len(n.List))
	case *ast.Match:
		c.match(n, has)
	case *ast.Field:
		has["?field"] = has["?field"] || n.Optional
	case *ast.Literal:
		has["true"] = has["true"] || n.Kind == ast.Bool && n.Bool
		has["null"] = has["null"] || n.Kind == ast.Null
	}
	switch n.(type) {
	case *ast.Compare, *ast.In, *ast.Match:
		c.predicates[ast.Print(n)]++
	}
	return true
}

func (c *counter) match(n *ast.Match, has map[string]bool) {
	name := n.Op.String()
	if n.Op == ast.Like && n.Fold {
		name += "~"
	}
	has[name] = true
	if n.Op == ast.Regex {
		return
	}
	c.likes = append(c.likes, len(n.Patterns))
	has["like list"] = has["like list"] || name == "like" && len(n.Patterns) > 1
	for _, p := range n.Patterns {
		c.patterns[shapeName(p.Text)]++
	}
}

func shapeName(pattern string) string {
	text := strings.Trim(pattern, "*")
	name := "x"
	switch {
	case text == "":
		return "*"
	case strings.ContainsAny(text, "*?"):
		return "x*y"
	}
	if strings.HasPrefix(pattern, "*") {
		name = "*" + name
	}
	if strings.HasSuffix(pattern, "*") {
		name += "*"
	}
	return name
}

func TestManyRulesCompile(t *testing.T) {
	t.Parallel()
	set, err := Rules(1000, field.New())
	if err != nil {
		t.Fatal(err)
	}
	if n := set.Len(); n != 1000 {
		t.Errorf("%d rules", n)
	}
	if n := len(set.Warnings()); n > 0 {
		t.Errorf("%d warnings, the first: %v", n, set.Warnings()[0])
	}
}
