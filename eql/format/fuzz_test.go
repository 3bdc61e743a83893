package format_test

import (
	"testing"

	"github.com/portcullis-dev/portcullis/eql/format"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// FuzzQuery: what parses, and nothing else, is formatted, and is the same query
// afterwards, with all its words and comments in their order.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"process where process.name == \"sh\" // shell\n and a in (1, /* two */ 2)",
		"sequence by a with maxspan=5m\n[any where b and\n(c or d)] by e with runs=3 // x\n\n\n![file where true]\nuntil [any where f~(x)]\n| head 5",
		"any where not (a : (\"x*\",\n\"y\") or /* multi\n  line */ -(b) + - 1 > .5)",
		"process where child of [process where true] and `a``b`.c.and == \"\"\"raw\"\"\"\r\n// end\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if q, _ := parse.Query(token.NewFile("", query), parse.Limits{}); q != nil {
			check(t, query, format.Query, parse.Query)
		} else if out, diags := format.Query(token.NewFile("", query), parse.Limits{}); out != "" || !diags.HasErrors() {
			t.Fatalf("%q together with %v", out, diags)
		}
		if e, _ := parse.Expr(token.NewFile("", query), parse.Limits{}); e != nil {
			check(t, query, format.Condition, parse.Expr)
		}
	})
}
