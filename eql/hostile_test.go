package eql_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// repeat returns n times what one makes, with something between.
func repeat(n int, between string, one func(i int) string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = one(i)
	}
	return strings.Join(parts, between)
}

func always(text string) func(int) string { return func(int) string { return text } }

// TestHostileQueries: a query that was made to cost too much is refused with a
// sentence that says so, or costs little after all. Either way compiling it and
// saying what is wrong with it takes a bounded amount of memory.
func TestHostileQueries(t *testing.T) {
	for name, tc := range map[string]struct {
		query string
		want  string // in one of the errors
		runs  bool
	}{
		"text":                {query: "any where " + strings.Repeat(" ", 200_000) + "true", want: "query is too long"},
		"parentheses":         {query: "any where " + strings.Repeat("(", 60_000) + "true", want: "nested too deep"},
		"nots":                {query: "any where " + strings.Repeat("not ", 30_000) + "true", want: "nested too deep"},
		"nots in parentheses": {query: "any where " + strings.Repeat("not (", 99) + "true" + strings.Repeat(")", 99), want: "nested too deep"},
		"deep, but not too":   {query: "any where " + strings.Repeat("not (", 48) + repeat(4000, " and ", always(`user.name=="x"`)) + strings.Repeat(")", 48), runs: true},
		"deep truths":         {query: "any where " + strings.Repeat("(", 90) + `user.name == "x"` + strings.Repeat(") == true", 90), runs: true},
		"functions":           {query: "any where " + strings.Repeat("concat(", 90) + "user.name" + strings.Repeat(")", 90) + ` == "x"`, runs: true},
		"arguments":           {query: "any where concat(" + repeat(10_000, ",", always("user.name")) + `) == "x"`, runs: true},
		"many parts":          {query: "any where process.pid in (" + repeat(30_000, ",", always("1")) + ")", want: "too many parts"},
		"long list":           {query: "any where process.pid in (" + repeat(19_000, ",", always("1")) + ")", runs: true},
		"long list of texts":  {query: "any where user.name in (" + repeat(15_000, ",", func(i int) string { return fmt.Sprintf(`"%d"`, i) }) + ")", runs: true},
		"patterns":            {query: "any where user.name like (" + repeat(9_000, ",", func(i int) string { return fmt.Sprintf(`"*%d*"`, i) }) + ")", runs: true},
		"wide patterns": {query: "any where " + repeat(200, " or ", func(i int) string {
			return "user.name : (" + repeat(6, ",", func(j int) string { return fmt.Sprintf(`"*%d%d%s*"`, i, j, printable()) }) + ")"
		}), runs: true},
		"expensive patterns": {query: `any where user.name like "` + strings.Repeat("*a", 1_000) + `*b" or user.name : "` + strings.Repeat("*?", 1_000) + `b" or user.name like "` + strings.Repeat("*?a?", 500) + `*b"`, runs: true},
		"runs":               {query: "sequence with maxspan=1s [any where true] with runs=1000000 [any where true]", want: "runs must be from 1 to 100"},
		"endless runs":       {query: "sequence with maxspan=1s [any where true] with runs=" + strings.Repeat("9", 50_000), want: "number is out of range"},
		"runs of many":       {query: "sequence with maxspan=1s " + repeat(300, " ", always("[any where true] with runs=100")), want: "30000 steps, at most 256"},
		"steps":              {query: "sequence with maxspan=1s " + repeat(5_000, " ", always("[any where true]")), want: "5000 steps, at most 256"},
		"keys":               {query: "sequence by " + repeat(5_000, ",", always("user.name")) + " with maxspan=1s [any where true] [any where true]", want: "joined by 5000 keys, at most 16"},
		"span":               {query: "sequence with maxspan=" + strings.Repeat("9", 50_000) + "d [any where true] [any where true]", want: "length of time is too large"},
		"long regex":         {query: `any where user.name regex "` + strings.Repeat("a", 60_000) + `"`, want: "longer than 4096 bytes"},
		"large regex":        {query: `any where user.name regex "((a{1000}){1000}){1000}"`, want: "too large"},
		"regex, many times":  {query: `any where user.name regex "((((((a{9}){9}){9}){9}){9}){9})"`, want: "too large"},
		"deep regex":         {query: `any where user.name regex "` + strings.Repeat("(", 2_000) + strings.Repeat(")", 2_000) + `"`, want: "nested too deep"},
		"many regexes":       {query: "any where " + repeat(2_400, " or ", func(i int) string { return fmt.Sprintf(`user.name regex "x{1000}x{1000}x{1000}x{99%d}"`, i%10) }), want: "too large together"},
		"regexes in a list":  {query: "any where user.name regex (" + repeat(2_400, ",", always(`"x{1000}x{1000}x{1000}"`)) + ")", want: "too large together"},
		"expensive regexes":  {query: `any where user.name regex ("(a*)*b", "(a|a)*b", "(.*.*.*)*x", "a?a?a?a?a?a?a?a?a?a?a?a?aaaaaaaaaaaa")`, runs: true},
		"unknown fields":     {query: "any where " + repeat(5_500, " or ", func(i int) string { return fmt.Sprintf("pr%d == 1", i) }), want: "5480 more errors"},
		"unknown functions":  {query: "any where " + repeat(5_500, " or ", func(i int) string { return fmt.Sprintf("starsW%d()", i) }), want: "5480 more errors"},
		"wrong types":        {query: "any where " + repeat(5_500, " or ", always("user.name==1")), want: "5480 more errors"},
		"warnings":           {query: "any where " + repeat(5_500, " or ", always(`user.name=="*"`)), runs: true},
		"syntax errors":      {query: "any where " + repeat(5_500, " or ", always("(a = 1)")), want: "after so many errors"},
		"signs":              {query: "any where " + strings.Repeat("&|$§", 10_000), want: "after so many errors"},
		"escapes":            {query: `any where user.name == "` + strings.Repeat(`\q`, 40_000) + `"`, want: "after so many errors"},
		"long name":          {query: "any where " + strings.Repeat("a", 100_000) + " == 1", want: "unknown field"},
		"long function":      {query: "any where " + strings.Repeat("a", 100_000) + "()", want: "unknown function"},
		"control":            {query: "any where \x1b[2J\u202e == 1", want: "unexpected character"},
		"bytes":              {query: "any where user.name == \"\xff\xfe\"", want: "not valid UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p, diags := eql.Compile("hostile.eql", tc.query, schema(), eql.Options{})
			text := diags.Render()
			runtime.ReadMemStats(&after)
			if (p == nil) == tc.runs {
				t.Fatalf("runs is %v\n%.2000s", p != nil, text)
			}
			if !strings.Contains(text, tc.want) {
				t.Errorf("what is wrong is not said: want %q in\n%.2000s", tc.want, text)
			}
			if len(text) > 16<<10 {
				t.Errorf("%d bytes of messages", len(text))
			}
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 400 {
				t.Errorf("%d MiB were allocated", used)
			}
			if p != nil {
				matchHostile(p.Stages()[0])
			}
		})
	}
}

func printable() string {
	var b strings.Builder
	for c := '!'; c <= '~'; c++ {
		if c != '"' && c != '\\' && c != '*' && c != '?' {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// matchHostile evaluates a stage for an event that makes it work. What takes
// exponential time would not return.
func matchHostile(s interface{ Match(r value.Record) bool }) {
	s.Match(schema().Event(map[string]value.Value{"user.name": value.String(strings.Repeat("a", 2_000) + "c")}))
}
