package format_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/format"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files; commit the diff only if you understand it")

// TestLayout compares what queries of testdata look like, formatted. Each stands
// before its result, with a line of dashes between and one of equals behind.
func TestLayout(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("find queries: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("read queries: %v", err)
			}
			var got strings.Builder
			for _, pair := range strings.SplitAfter(string(text), "\n======\n") {
				query, _, found := strings.Cut(pair, "\n------\n")
				if !found {
					got.WriteString(pair)
					continue
				}
				// What the file says about the query is a comment in front of it.
				fmt.Fprintf(&got, "%s\n------\n%s\n======\n", query, mustFormat(t, query))
			}
			eqltest.Golden(t, path, got.String(), *rewrite)
		})
	}
}

func mustFormat(t testing.TB, query string) string {
	t.Helper()
	out, diags := format.Query(token.NewFile("", query), parse.Limits{})
	if diags.HasErrors() {
		t.Fatalf("format %s\n%s", query, diags.Render())
	}
	return out
}

// check checks what must hold for every formatted query. It is told how to
// format, parse and compare.
func check[T ast.Node](t testing.TB, text string, layOut func(*token.File, parse.Limits) (string, diag.List),
	parseTree func(*token.File, parse.Limits) (T, diag.List),
) {
	t.Helper()
	limits := parse.Limits{Source: 10 << 20}
	out, diags := layOut(token.NewFile("", text), limits)
	if diags.HasErrors() {
		t.Fatalf("format %s\n%s", text, diags.Render())
	}
	before, _ := parseTree(token.NewFile("", text), limits)
	after, diags := parseTree(token.NewFile("", out), limits)
	if diags.HasErrors() {
		t.Fatalf("%s\n----- is formatted to\n%s\n----- which does not parse:\n%s", text, out, diags.Render())
	}
	if !eqltest.SameTree(before, after) {
		t.Fatalf("%s\n----- is formatted to\n%s\n----- which is another query:\n%s", text, out, ast.Print(after))
	}
	if diff := cmp.Diff(outline(text), outline(out)); diff != "" {
		t.Fatalf("%s\n----- is formatted to\n%s\n----- in which words or comments moved:\n%s", text, out, diff)
	}
	again, _ := layOut(token.NewFile("", out), limits)
	if diff := cmp.Diff(out, again); diff != "" {
		t.Fatalf("%s\n----- is formatted to\n%s\n----- and then to\n%s\n----- %s", text, out, again, diff)
	}
	if strings.Trim(out, " \t\r\n") != out || strings.Contains(out, " \n") || strings.Contains(out, "\n\n\n") && !strings.Contains(out, "/*") {
		t.Fatalf("%s\n----- is formatted with space where none should be:\n%q", text, out)
	}
}

// outline returns the words and comments of a query in their order, without the
// operators and commas that a comment may change places with.
func outline(text string) []string {
	var list []string
	file := token.NewFile("", text)
	for _, tok := range parse.Tokens(file) {
		switch tok.Kind {
		case token.And, token.Or, token.Comma:
		case token.Comment:
			lines := strings.Split(tok.Text, "\n")
			for i, l := range lines {
				lines[i] = strings.TrimSpace(l)
			}
			list = append(list, strings.Join(lines, "\n"))
		default:
			list = append(list, file.Slice(tok.Span))
		}
	}
	return list
}

// TestFormattedIsTheSame: random queries, written in a random way with comments
// anywhere, are the same queries when formatted.
func TestFormattedIsTheSame(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 1))
		check(t, scramble(r, ast.Print(eqltest.RandomQuery(r))), format.Query, parse.Query)
	}
}

// TestFormattedConditionsAreTheSame does it for conditions that stand alone.
func TestFormattedConditionsAreTheSame(t *testing.T) {
	conditions := 0
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		if f, ok := eqltest.RandomQuery(r).Body.(*ast.Filter); ok {
			check(t, scramble(r, ast.Print(f.Where)), format.Condition, parse.Expr)
			conditions++
		}
	}
	if conditions < 300 {
		t.Errorf("only %d conditions", conditions)
	}
}

// scramble writes the words of a query with other space and comments between.
func scramble(r *rand.Rand, query string) string {
	file := token.NewFile("", query)
	var b strings.Builder
	wild := r.IntN(3)
	for _, tok := range parse.Tokens(file) {
		b.WriteString(" ")
		for range r.IntN(3) * r.IntN(2) {
			switch n := r.IntN(10); {
			case n < 4:
				b.WriteString(" ")
			case n < 8 && wild > 0:
				b.WriteString("\n")
			case n == 8 && wild > 1:
				fmt.Fprintf(&b, "/* block %d*/", r.IntN(100))
				if r.IntN(5) == 0 {
					b.WriteString("/* several\n\t lines\n    of it\n*/")
				}
			case n == 9 && wild > 1:
				fmt.Fprintf(&b, "// line %d \n", r.IntN(100))
			}
		}
		b.WriteString(file.Slice(tok.Span))
	}
	return b.String()
}

// TestCorpusIsTheSame does it for the queries by which the parser is tested.
func TestCorpusIsTheSame(t *testing.T) {
	text, err := os.ReadFile("../parse/testdata/queries.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for query := range strings.Lines(string(text)) {
		if query != "\n" && query[0] != '#' {
			check(t, query, format.Query, parse.Query)
			n++
		}
	}
	if n < 150 {
		t.Errorf("only %d queries", n)
	}
}

func TestLinesAreNotTooLong(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		list := make([]string, 1+r.IntN(60))
		for i := range list {
			list[i] = fmt.Sprintf("process.f%d == %q and x in (%s)", i, strings.Repeat("x", r.IntN(30)), strings.Repeat("1, ", r.IntN(40))+"2")
			if r.IntN(4) == 0 {
				list[i] = "(" + list[i] + " or not (a == 1 or b == 2))"
			}
		}
		query := "process where " + strings.Join(list, " and ")
		for l := range strings.Lines(mustFormat(t, query)) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(l, "\n")); n > 120 {
				t.Fatalf("%d characters in a line of\n%s", n, mustFormat(t, query))
			}
		}
	}
}

// TestHostile: queries that were made to cost much cost little.
func TestHostile(t *testing.T) {
	for name, query := range map[string]string{
		"comments in a line":  "any where a " + strings.Repeat("/**/", 30_000),
		"comments":            "any where a" + strings.Repeat("//\n", 30_000),
		"operands":            "any where a" + strings.Repeat(" and b", 15_000),
		"operands, commented": "any where a" + strings.Repeat(" /*x\ny*/ and b // c\n", 4_000),
		"list":                "any where a in (1" + strings.Repeat(",1", 15_000) + ")",
		"depth":               "any where " + strings.Repeat("(a and f(", 45) + "1" + strings.Repeat("))", 45),
		"groups":              "any where " + strings.Repeat("(a) == ", 1) + "b" + strings.Repeat(" or (a or b)", 4_000),
		"steps":               "sequence " + strings.Repeat("[any where a]", 9_000),
	} {
		t.Run(name, func(t *testing.T) { check(t, query, format.Query, parse.Query) })
	}
}

func TestWhatDoesNotParse(t *testing.T) {
	if out, diags := format.Query(token.NewFile("", "any where ("), parse.Limits{}); out != "" || !diags.HasErrors() {
		t.Errorf("%q, %v", out, diags)
	}
	if out, diags := format.Condition(token.NewFile("", "a ="), parse.Limits{}); out != "" || !diags.HasErrors() {
		t.Errorf("%q, %v", out, diags)
	}
}
