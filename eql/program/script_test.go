package program_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/function"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// TestScripts holds programs against the tables of testdata.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("find scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { eqltest.RunFile(t, file, compile) })
	}
}

func compile(query string, schema value.Schema) (func(value.Record) bool, error) {
	p, diags := eql.Compile("", query, schema, eql.Options{})
	if p == nil {
		return nil, diags.Err()
	}
	return p.Stages()[0].Match, nil
}

// TestScriptsLinked holds the same tables against a Set of all their queries,
// where predicates are shared, looked up and scanned for instead of evaluated.
func TestScriptsLinked(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("find scripts: %v, %v", files, err)
	}
	for _, file := range files {
		script := mustRead(t, file)
		slots := make([]int, len(script.Schema))
		for i := range slots {
			slots[i] = i
		}
		for name, o := range map[string]program.SetOptions{
			"plain": {}, "in buckets": {Buckets: slots}, "costly": {Costly: func(int) bool { return true }},
		} {
			t.Run(filepath.Base(file)+" "+name, func(t *testing.T) { linked(t, script, o) })
		}
	}
}

func mustRead(t *testing.T, path string) *eqltest.Script {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read script: %v", err)
	}
	script, err := eqltest.Parse(string(text))
	if err != nil {
		t.Fatalf("%s:%v", path, err)
	}
	return script
}

func linked(t *testing.T, script *eqltest.Script, o program.SetOptions) {
	t.Helper()
	rows := rowsOf(t, script)
	stages := make([]*program.Stage, len(rows))
	for i, r := range rows {
		stages[i] = r.stage
	}
	memo := program.NewSet(stages, o).NewMemo()
	for _, e := range script.Events {
		memo.Reset(e.Event)
		candidates := memo.Candidates()
		for i, r := range rows {
			want := slices.Contains(r.matches, e.Name) != r.not
			if got := memo.Match(i); got != want {
				t.Errorf("line %d: %s of %s: %v in a set, want %v", r.line, r.stage, e.Name, got, want)
			}
			if want && !slices.Contains(candidates, int32(i)) {
				t.Errorf("line %d: %s of %s: it matches, but is no candidate", r.line, r.stage, e.Name)
			}
		}
	}
}

// row is a query of a script, or its not, with the events that the query matches.
type row struct {
	line    int
	stage   *program.Stage
	not     bool
	matches []string
}

func rowsOf(t *testing.T, script *eqltest.Script) []row {
	t.Helper()
	var rows []row
	add := func(c eqltest.Case, query string, not bool) {
		p, diags := eql.Compile("", query, script.Schema, eql.Options{})
		if p == nil {
			t.Fatalf("line %d: %s", c.Line, diags.Render())
		}
		rows = append(rows, row{c.Line, p.Stages()[0], not, c.Matches})
	}
	for _, c := range script.Cases {
		if c.Error == "" {
			add(c, c.Query, false)
		}
		if c.Error == "" && c.Condition != "" {
			add(c, "any where not ("+c.Condition+")", true)
		}
	}
	return rows
}

// TestLeavesAreComplete: no operator and no function is missing in the table of
// leaves, in none of its forms.
func TestLeavesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range mustRead(t, "testdata/leaves.script").Cases {
		q, diags := parse.Query(token.NewFile("", c.Query), parse.Limits{})
		if q == nil {
			t.Fatal(diags.Render())
		}
		ast.Walk(q, func(n ast.Node) bool {
			seen[form(n)] = true
			return true
		})
	}
	want := []string{
		"==", "!=", "<", "<=", ">", ">=", "in", "not in", "in~", "not in~", ":", "like", "like~", "regex", "regex~",
		": list", "like list", "like~ list", "regex list", "regex~ list", "+", "-", "*", "/", "%", "unary -", "unary +", "null", "?field",
	}
	for _, name := range function.Names() {
		want = append(want, name+"()")
		if f, _ := function.Lookup(name); f.Fold {
			want = append(want, name+"~()")
		}
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("there is no %s", w)
		}
	}
}

// form names the operator or function that a node is.
func form(n ast.Node) string {
	tilde := map[bool]string{true: "~"}
	switch n := n.(type) {
	case *ast.Literal:
		if n.Kind == ast.Null {
			return "null"
		}
	case *ast.Field:
		if n.Optional {
			return "?field"
		}
	case *ast.Unary:
		return "unary " + n.Op.String()
	case *ast.Compare:
		return n.Op.String()
	case *ast.Arith:
		return n.Op.String()
	case *ast.In:
		return map[bool]string{true: "not "}[n.Not] + "in" + tilde[n.Fold]
	case *ast.Match:
		name := n.Op.String() + tilde[n.Fold && n.Op != ast.Colon]
		return name + map[bool]string{true: " list"}[len(n.Patterns) > 1]
	case *ast.Call:
		return n.Name + tilde[n.Fold] + "()"
	}
	return ""
}
