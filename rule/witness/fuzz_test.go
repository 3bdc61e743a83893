package witness

import (
	"testing"
)

// FuzzQuery: there are events or there is a reason, and the language agrees with
// the events.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		`process where process.name == "bash" and process.pid == 5`,
		`any where process.name like ("x*", "*y") and not process.name like "x*"`,
		`any where process.name regex "[a-f]{3}[0-9]+x?" and process.name != "aaa0"`,
		`any where process.command_line like "*curl*http*" and process.args == "-k" and process.args_count > 2`,
		`any where file.extension in ("sh", "py") and file.directory == "/tmp" and not file.name like "x*"`,
		`any where source.ip == "10.0.0.0/8" and source.ip != "10.0.0.0/9" and user.groups == "system:masters"`,
		`any where substring(process.name, 0, 3) == "abc" and process.pid % 7 == 3 and load > 0.5`,
		`any where (process.name == "a" or ?no.such == 2) and not (process.name == "b" and process.interactive == true)`,
		`sequence by pod, ?nothing with maxspan=1m [any where process.pid == 1] with runs=2 ![any where process.pid == 3] [any where process.pid == 2]`,
		`sequence with maxspan=1s [process where true] by pod [any where verb : "g*t"] by caller until [any where verb == "delete"] by caller`,
		`sequence by pod, ?no.such with maxspan=1m ![any where process.interactive] [any where process.pid != 0]`,
		`any where length(process.command_line) > 50 and process.args == "-x" and concat(process.name, "/", user.id) == "sh/7"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		g, schema := generator(t)
		got, err := g.Query("", query)
		if (got == nil) == (err == nil) {
			t.Fatalf("result %v, error %v", got, err)
		}
		if got == nil {
			return
		}
		if !fires(t, schema, query, got.Hit) {
			t.Fatalf("%s: is not for %v", query, got.Hit)
		}
		for _, m := range got.Misses {
			if fires(t, schema, query, m.Events) {
				t.Fatalf("%s: %s: is for %v", query, m.But, m.Events)
			}
		}
	})
}
