package parse_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files; commit the diff only if you understand it")

func mustParse(t testing.TB, query string) *ast.Query {
	t.Helper()
	q, diags := parse.Query(token.NewFile("", query), parse.Limits{})
	if q == nil {
		t.Fatalf("parse %s\n%s", query, diags.Render())
	}
	return q
}

// equal compares trees without their places in the text.
func equal(a, b *ast.Query) string {
	return cmp.Diff(a, b, cmpopts.IgnoreTypes(ast.Place{}, token.Span{}))
}

// lines returns the entries of a file of testdata: one per line, # for comments.
func lines(t testing.TB, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read queries: %v", err)
	}
	var out []string
	for _, line := range strings.Split(string(text), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// TestRoundTrip: what a tree prints parses to the same tree, and prints the same.
func TestRoundTrip(t *testing.T) {
	for _, query := range lines(t, "testdata/queries.txt") {
		first := mustParse(t, query)
		text := ast.Print(first)
		second := mustParse(t, text)
		if diff := equal(first, second); diff != "" {
			t.Errorf("%s\nprints as\n%s\nwhich is another query:\n%s", query, text, diff)
		}
		if again := ast.Print(second); again != text {
			t.Errorf("%s\nprints as\n%s\nand then as\n%s", query, text, again)
		}
	}
}

// TestCanonical: the canonical form of some queries, word by word.
func TestCanonical(t *testing.T) {
	for query, want := range map[string]string{
		"any  where\ttrue":                   "any where true",
		"process where (a == 1)":             "process where a == 1",
		`"process" where a == 1`:             "process where a == 1",
		`"any" where a == 1`:                 `"any" where a == 1`,
		`"my-cat" where a == 1`:              `"my-cat" where a == 1`,
		"any where ((a) and (b or (c)))":     "any where a and (b or c)",
		"any where (a and b) and c":          "any where (a and b) and c",
		"any where a and b or c and d":       "any where a and b or c and d",
		"any where not (a == 1)":             "any where not a == 1",
		"any where not (a == 1 and b)":       "any where not (a == 1 and b)",
		"any where (a + b) * c == 1":         "any where (a + b) * c == 1",
		"any where (a * b) + c == 1":         "any where a * b + c == 1",
		"any where a - (b - c) == 1":         "any where a - (b - c) == 1",
		"any where (a - b) - c == 1":         "any where a - b - c == 1",
		"any where -(1) == a":                "any where -(1) == a",
		"any where - 1 == a":                 "any where -1 == a",
		`any where a:"x"`:                    `any where a : "x"`,
		`any where a like~ ("x")`:            `any where a like~ "x"`,
		`any where a in~ ("x","y")`:          `any where a in~ ("x", "y")`,
		`any where a not in("x")`:            `any where a not in ("x")`,
		`any where (a in ("x")) == true`:     `any where a in ("x") == true`,
		"any where `a.b` == 1":               "any where a.b == 1",
		"any where a.`b-c`.d == 1":           "any where `a.b-c.d` == 1",
		"any where `a``b` == 1":              "any where `a``b` == 1",
		"any where event.sequence == 1":      "any where event.sequence == 1",
		"any where `sequence` == 1":          "any where `sequence` == 1",
		"any where ?a.b == null":             "any where ?a.b == null",
		`any where a == """c:\d"""`:          `any where a == """c:\d"""`,
		`any where a == "c:\\d"`:             `any where a == """c:\d"""`,
		`any where a == "tab\tand\u{200f}"`:  `any where a == "tab\tand\u{200f}"`,
		`any where a == """say "hi" now"""`:  `any where a == "say \"hi\" now"`,
		`any where a == """x""""`:            `any where a == "x\""`,
		"any where a == 1.50":                "any where a == 1.5",
		"any where a == 2.0":                 "any where a == 2.0",
		"any where a == 1e30":                "any where a == 1e+30",
		"any where f~(a,1 , \"x\")":          `any where f~(a, 1, "x")`,
		"any where f()":                      "any where f()",
		"sequence[any where a][any where b]": "sequence\n  [any where a]\n  [any where b]",
		"sequence by x,y with maxspan=60s [a where true] by `z` ![b where true] by w": "sequence by x, y with maxspan=1m\n  [a where true] by z\n  ![b where true] by w",
		"sequence [a where true] with runs=3 until [b where true]":                    "sequence\n  [a where true] with runs=3\nuntil [b where true]",
		"any where true | head 5|unique a, b":                                         "any where true\n| head 5\n| unique a, b",
		"sample by a [b where true] [c where true]":                                   "sample by a\n  [b where true]\n  [c where true]",
		"process where child of [process where true] and a":                           "process where child of [process where true] and a",
	} {
		if got := ast.Print(mustParse(t, query)); got != want {
			t.Errorf("%s\nprints as\n%s\nwant\n%s", query, got, want)
		}
	}
}

// TestErrors compares the messages about broken queries, as people see them,
// with those of testdata.
func TestErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.eql")
	if err != nil || len(files) == 0 {
		t.Fatalf("find queries: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("read query: %v", err)
			}
			q, diags := parse.Query(token.NewFile(filepath.Base(path), string(text)), parse.Limits{})
			if q != nil || !diags.HasErrors() {
				t.Fatalf("parses to %s, want errors", ast.Print(q))
			}
			eqltest.Golden(t, strings.TrimSuffix(path, ".eql")+".txt", diags.Render(), *rewrite)
		})
	}
}

// TestSpans: every node spans the text it was made of.
func TestSpans(t *testing.T) {
	const query = "sequence by u with maxspan=1m\n [process where not (a.b in (1, -2)) and f(c, \"x\") : \"y\"] by `k`\n ![any where d + 1 == 2] with runs=2\nuntil [file where true]"
	file := token.NewFile("", query)
	q, diags := parse.Query(file, parse.Limits{})
	if q == nil {
		t.Fatal(diags.Render())
	}
	var got []string
	ast.Walk(q, func(n ast.Node) bool {
		if _, ok := n.(*ast.Query); !ok {
			got = append(got, strings.ReplaceAll(file.Slice(n.Span()), "\n", "⏎"))
		}
		return true
	})
	want := []string{
		strings.ReplaceAll(query, "\n", "⏎"), "u", "1m",
		"[process where not (a.b in (1, -2)) and f(c, \"x\") : \"y\"] by `k`",
		"process where not (a.b in (1, -2)) and f(c, \"x\") : \"y\"",
		"not (a.b in (1, -2)) and f(c, \"x\") : \"y\"",
		"not (a.b in (1, -2))", "a.b in (1, -2)", "a.b", "1", "-2",
		"f(c, \"x\") : \"y\"", "f(c, \"x\")", "c", "\"x\"", "\"y\"", "`k`",
		"![any where d + 1 == 2] with runs=2", "any where d + 1 == 2", "d + 1 == 2", "d + 1", "d", "1", "2", "2",
		"[file where true]", "file where true", "true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// TestHostile: queries made to cost too much get one clear error, whatever the depth.
func TestHostile(t *testing.T) {
	for name, tc := range map[string]struct{ query, want string }{
		"long":        {"any where a == \"" + strings.Repeat("x", 200<<10) + "\"", "query is too long"},
		"parentheses": {"any where " + strings.Repeat("(", 100_000), "nested too deep"},
		"not":         {"any where " + strings.Repeat("not ", 30_000) + "a", "nested too deep"},
		"minus":       {"any where " + strings.Repeat("- ", 60_000) + "a", "nested too deep"},
		"sum":         {"any where a" + strings.Repeat("+a", 60_000), "nested too deep"},
		"product":     {"any where a" + strings.Repeat("*a", 60_000), "nested too deep"},
		"calls":       {"any where " + strings.Repeat("f(", 60_000), "nested too deep"},
		"lists":       {"any where a in (" + strings.Repeat("(", 60_000), "nested too deep"},
		"lineage":     {"any where " + strings.Repeat("child of [a where ", 6000), "nested too deep"},
		"nodes":       {"any where a in (1" + strings.Repeat(",1", 50_000) + ")", "too many parts"},
		"terms":       {"sequence " + strings.Repeat("[a where b]", 11_000), "too many parts"},
		"keys":        {"sequence by a" + strings.Repeat(",a", 50_000), "too many parts"},
		"dots":        {"any where a" + strings.Repeat(".a", 60_000) + " == 1 b", "expected end of query"},
		"comment":     {"any where /*" + strings.Repeat("/* ", 40_000), "comment is not closed"},
		"utf8":        {"any where a == \"\xff\"", "not valid UTF-8"},
		"empty":       {"", "expected an event category"},
		"nul":         {"any where a == \x00", "unexpected character"},
	} {
		t.Run(name, func(t *testing.T) {
			q, diags := parse.Query(token.NewFile("", tc.query), parse.Limits{})
			if q != nil || len(diags) == 0 {
				t.Fatal("parses, want an error")
			}
			if got := diags[0].Message; !strings.Contains(got, tc.want) {
				t.Errorf("message is %q, want %q in it", got, tc.want)
			}
			if len(diags.Render()) > 4096 {
				t.Errorf("%d bytes of messages", len(diags.Render()))
			}
		})
	}
}

func TestErrorLimit(t *testing.T) {
	query := "any where " + strings.Repeat("(a = 1) and ", 100) + "b"
	_, diags := parse.Query(token.NewFile("", query), parse.Limits{Errors: 3})
	if len(diags) != 3 {
		t.Errorf("%d errors, want 3", len(diags))
	}
}

func TestLimitsAreRead(t *testing.T) {
	for _, limits := range []parse.Limits{{Source: 10}, {Depth: 2}, {Nodes: 2}} {
		if q, _ := parse.Query(token.NewFile("", "any where ((a == 1))"), limits); q != nil {
			t.Errorf("parses under %+v", limits)
		}
	}
}

func TestExpr(t *testing.T) {
	e, diags := parse.Expr(token.NewFile("", `a == 1 or b like "x*"`), parse.Limits{})
	if e == nil {
		t.Fatal(diags.Render())
	}
	if got := ast.Print(e); got != `a == 1 or b like "x*"` {
		t.Errorf("prints as %s", got)
	}
	for _, broken := range []string{"", "a ==", "a == 1 b", "any where a == 1"} {
		if e, diags := parse.Expr(token.NewFile("", broken), parse.Limits{}); e != nil || !diags.HasErrors() {
			t.Errorf("%q parses", broken)
		}
	}
}
