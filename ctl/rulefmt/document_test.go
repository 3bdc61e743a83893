package rulefmt

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// ruleOf is a rule file with that text behind "query:".
func ruleOf(query string) string {
	return "kind: DetectionRule\nspec:\n  title: x # a title\n  query: " + query + "\n  tags: [a,  b]\n"
}

func mustLayOut(t testing.TB, text string) string {
	t.Helper()
	out, problems := document("rule.yaml", []byte(text))
	if problems.HasErrors() {
		t.Fatalf("lay out\n%s\n%s", text, problems.Render())
	}
	return string(out)
}

// TestStyles: whatever way a query is written in YAML, it is laid out there.
func TestStyles(t *testing.T) {
	const long = `process where process.name == "sh" and process.parent.name == "runc" and process.args == "-c" and process.interactive == true`
	const broken = "process where process.name == \"sh\" and\n      process.parent.name == \"runc\" and\n      process.args == \"-c\" and\n      process.interactive == true"
	for name, row := range map[string]struct{ query, want string }{
		"literal":               {"|\n    any where   a==1\n", "|\n    any where a == 1\n"},
		"literal, as it should": {"|\n    any where a == 1 and\n      b == 2 // x\n", "|\n    any where a == 1 and\n      b == 2 // x\n"},
		"literal, stripped":     {"|-   # why\n     any where   a==1", "|-   # why\n     any where a == 1"},
		"literal, kept":         {"|+\n    any where   a==1\n\n\n", "|+\n    any where a == 1\n\n\n"},
		"literal, empty lines":  {"|\n\n    any where a and\n\n\n     b\n", "|\n\n    any where a and\n\n      b\n"},
		"literal, comments":     {"|\n    // about\n    any where a // x\n      and b\n", "|\n    // about\n    any where a and // x\n      b\n"},
		"folded":                {">-\n    any where   a==1\n    and b", ">-\n    any where a == 1 and\n      b"},
		"folded, with comment":  {">-\n    any where   a==1 // b\n    and c", ">-\n    any where a == 1 // b and c"},
		"folded to literal":     {">-\n    any where /* a */\n    a==1", ">-\n    any where /* a */\n      a == 1"},
		"plain":                 {"any where   a==1 # why", "any where a == 1 # why"},
		"plain that cannot be":  {`any where a:"x" # why`, "|- # why\n    any where a : \"x\""},
		"plain, two lines":      {"any where a==1\n    and b", "|-\n    any where a == 1 and\n      b"},
		"plain, too long":       {long, "|-\n    " + broken},
		"single quotes":         {"'any where a==\"it''s\"'", "'any where a == \"it''s\"'"},
		"double quotes":         {`"any where a==\"x<\""`, `"any where a == \"x<\""`},
		"double quotes, long":   {`"` + strings.ReplaceAll(long, `"`, `\"`) + `" # why`, "|- # why\n    " + broken},
		"on the next line":      {"\n    any where a==1", "\n    any where a == 1"},
		"with anchor":           {"&a any where   a", "&a any where   a"},
		"with tag":              {"!!str any where   a", "!!str any where   a"},
		"with indicator":        {"|2\n    any where   a", "|2\n    any where   a"},
	} {
		t.Run(name, func(t *testing.T) {
			got := mustLayOut(t, ruleOf(row.query))
			if diff := cmp.Diff(ruleOf(row.want), got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if again := mustLayOut(t, got); again != got {
				t.Errorf("laid out twice:\n%s", cmp.Diff(got, again))
			}
		})
	}
}

// TestFlowMapping: what stands in braces stays on its line.
func TestFlowMapping(t *testing.T) {
	got := mustLayOut(t, "{kind: DetectionRule,   spec: {query: 'any where   a==1', exceptions: [{where: a==1}, {where:   'a:(\"b\", \"c\")'}]}}\n")
	want := "{kind: DetectionRule,   spec: {query: 'any where a == 1', exceptions: [{where: a == 1}, {where:   'a : (\"b\", \"c\")'}]}}\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEverythingAroundStays: comments, spacing, line ends, other documents and
// other fields that look like queries.
func TestEverythingAroundStays(t *testing.T) {
	const text = `# Head.
%s
---
apiVersion:   portcullis.dev/v1alpha1 # version
kind: "DetectionRule"
metadata: {name:   x}
spec:
    exceptions:
    -   where: |
            a==1   or
            b   // why
        # between
        name:   one
    -   {name: two, where: c==1}
    # foot
    query:   |   # comment
        any   where d
           # no comment
    description: |
        any where   a==1
---
kind: Other
spec: {query: any where   a==1}
...
---
kind: DetectionRule
spec:
  query: any where  a==1`
	// A # in a query is an error, so that line goes.
	input := strings.ReplaceAll(strings.ReplaceAll(text, "           # no comment\n", ""), "%s\n", "")
	want := strings.NewReplacer("a==1   or", "a == 1 or", "b   // why", "b // why", "where: c==1", "where: c == 1",
		"        any   where d", "        any where d").Replace(input)
	i := strings.LastIndex(want, "any where  a==1")
	want = want[:i] + "any where a == 1"
	if diff := cmp.Diff(want, mustLayOut(t, input)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	windows := strings.ReplaceAll(input, "\n", "\r\n")
	if diff := cmp.Diff(strings.ReplaceAll(want, "\n", "\r\n"), mustLayOut(t, windows)); diff != "" {
		t.Errorf("with line ends of Windows: want (-), got (+):\n%s", diff)
	}
}

// TestMistakes are told at their place in the file; nothing is laid out then.
func TestMistakes(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"in a block":    {ruleOf("|\n    any where a ==\n      (b"), "rule.yaml:6:9: error: expected \")\""},
		"in a line":     {ruleOf("any where a = 1"), "rule.yaml:4:22: error: = does not compare"},
		"in quotes":     {ruleOf("'any where a = 1'"), "rule.yaml:4:23: error: = does not compare"},
		"escaped":       {ruleOf(`"any where \u0061 = 1"`), "rule.yaml:4:10: error: line 1, column 13 of it: = does not compare"},
		"folded":        {ruleOf(">\n    any where\n    a = 1"), "rule.yaml:6:7: error: = does not compare"},
		"exception":     {"kind: DetectionRule\nspec:\n  query: any where a\n  exceptions:\n  - where: a b", "rule.yaml:5:14: error: expected end of query"},
		"no YAML":       {"a: [", "not YAML"},
		"no UTF-8":      {"a: \xff", "not valid UTF-8"},
		"deep":          {ruleOf("any where " + strings.Repeat("(", 500)), "nested too deep"},
		"a YAML bomb":   {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a]\n" + ruleOf("any where ("), "expected a field or value"},
		"steers a term": {ruleOf("any where a == \"\u202e\" b"), `\u{202e}`},
	} {
		out, problems := document("rule.yaml", []byte(row.text))
		if out != nil || !strings.Contains(problems.Render(), row.want) {
			t.Errorf("%s: want %q, got\n%s%s", name, row.want, out, problems.Render())
		}
	}
}

// TestShippedRules: they are laid out.
func TestShippedRules(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "rules", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("find rules: %v, %v", files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		checkLaidOut(t, string(text))
		if diff := cmp.Diff(string(text), mustLayOut(t, string(text))); diff != "" {
			t.Errorf("run portcullisctl rule fmt config/rules:\n%s", diff)
		}
	}
}

// checkLaidOut checks what must hold for every file that can be laid out.
func checkLaidOut(t testing.TB, text string) {
	t.Helper()
	out := mustLayOut(t, text)
	if again := mustLayOut(t, out); again != out {
		t.Fatalf("laid out once and twice:\n%s", cmp.Diff(out, again))
	}
	if !reflect.DeepEqual(around(t, text), around(t, out)) {
		t.Fatalf("what is around the queries differs before and after:\n%s\n%s", text, out)
	}
	before, err := embeddedTexts([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if !unchanged(before, out) {
		t.Fatalf("queries differ:\n%s\n%s", text, out)
	}
}

// around returns a file's documents with comments, but without the texts that are
// laid out and without places.
func around(t testing.TB, text string) []yaml.Node {
	t.Helper()
	var documents []yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var n yaml.Node
		if err := decoder.Decode(&n); errors.Is(err, io.EOF) {
			return documents
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if len(n.Content) == 1 {
			for _, e := range textsOfRule(n.Content[0]) {
				e.value.Value, e.value.Style = "", 0
			}
		}
		forgetPlaces(&n, map[*yaml.Node]bool{})
		documents = append(documents, n)
	}
}

func forgetPlaces(n *yaml.Node, seen map[*yaml.Node]bool) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	n.Line, n.Column = 0, 0
	for _, child := range n.Content {
		forgetPlaces(child, seen)
	}
	n.Alias = nil
}

// FuzzDocument: files that can be laid out keep everything around their queries,
// and laying them out again changes nothing.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		ruleOf("|\n    any where a==1 and // x\n      (b or\n     c)"), ruleOf("any where   a==1 # x"), ruleOf("'any where a:\"it''s\"'"),
		ruleOf(">-\n    any where a\n    and b // c\n"), ruleOf(`"any where a == \"\u0061\""`),
		"{kind: DetectionRule, spec: {query: any where a, exceptions: [{where: b==1}]}}\n---\n" + ruleOf("\n    any where  a\n    or b"),
		strings.ReplaceAll(ruleOf("|\n    any where a\n"), "\n", "\r\n"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, problems := document("", []byte(text))
		if (out == nil) != problems.HasErrors() {
			t.Fatalf("%q together with %v", out, problems)
		}
		if out != nil {
			checkLaidOut(t, text)
		}
	})
}
