package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// module writes a module with a target that holds, one that does not, and what is
// no target.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.26\n",
		"good/good_test.go": `package good

import "testing"

func FuzzGood(f *testing.F) {
	f.Add("x")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 3 && s[0] == 'a' && s[1] == 'b' { t.Log(s) }
	})
}

func FuzzyHelper(x int) int { return x }
`,
		"bad/bad_test.go": `package bad_test

import "testing"

func FuzzBad(f *testing.F) {
	f.Add("x")
	f.Fuzz(func(t *testing.T, s string) {
		if s != "x" { t.Fatal("this is what went wrong") }
	})
}
`,
		"none/none.go": "package none\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTargetsAreFoundAndRun(t *testing.T) {
	t.Setenv("GOFLAGS", "")
	dir := module(t)
	var out strings.Builder
	o := options{dir: dir, patterns: []string{"./..."}, each: 500 * time.Millisecond, processors: 2, out: &out}
	err := fuzz(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "1 of the targets failed: bad FuzzBad") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"good FuzzGood", "  ok\n", "bad FuzzBad", "FAILED", "this is what went wrong", "Failing input written to testdata/fuzz/FuzzBad/"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "blind") || strings.Contains(out.String(), "FuzzyHelper") {
		t.Errorf("said\n%s", out.String())
	}
	if kept, err := filepath.Glob(filepath.Join(dir, "bad/testdata/fuzz/FuzzBad/*")); err != nil || len(kept) != 1 {
		t.Errorf("kept %v, %v", kept, err)
	}
	out.Reset()
	o.patterns = []string{"./good"}
	if err := fuzz(t.Context(), o); err != nil || strings.Contains(out.String(), "FuzzBad") {
		t.Errorf("%v\n%s", err, out.String())
	}
	o.patterns = []string{"./none"}
	if err := fuzz(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no fuzz targets") {
		t.Errorf("error %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	t.Setenv("GOFLAGS", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fuzz(ctx, options{dir: module(t), patterns: []string{"./good"}, each: time.Hour, processors: 1, out: os.Stderr}); err == nil {
		t.Error("no error")
	}
}

func TestFigures(t *testing.T) {
	table := newTable(nil, nil)
	const out = `fuzz: elapsed: 0s, gathering baseline coverage: 4/4 completed, now fuzzing with 2 workers
fuzz: elapsed: 3s, execs: 84593 (28182/sec), new interesting: 269 (total: 273)
fuzz: elapsed: 5s, execs: 174905 (43209/sec), new interesting: 304 (total: 308)
PASS`
	if execs, interesting := table.figures(out); execs != "174905" || interesting != "304" {
		t.Errorf("%s, %s", execs, interesting)
	}
	if execs, interesting := table.figures("--- FAIL"); execs != "0" || interesting != "0" {
		t.Errorf("%s, %s", execs, interesting)
	}
}

func TestEndOfTheTimeIsNoFailure(t *testing.T) {
	const clock = "fuzz: elapsed: 1s, execs: 48296 (93609/sec), new interesting: 0 (total: 4)\n" +
		"--- FAIL: FuzzGood (0.52s)\n    context deadline exceeded\nFAIL\n"
	for name, c := range map[string]struct {
		out  string
		want string
	}{
		"the clock":         {clock, "  ok\n"},
		"an input":          {strings.Replace(clock, "FAIL\n", "    Failing input written to testdata/fuzz/FuzzGood/1\nFAIL\n", 1), "FAILED"},
		"its own deadline":  {strings.Replace(clock, "    context", "    --- FAIL: FuzzGood (0.00s)\n        a_test.go:1: context", 1), "FAILED"},
		"something besides": {clock + "panic: lost\n", "FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			one := task{pkg: &pkg{}, target: "FuzzGood"}
			if err := newTable(&out, []task{one}).add(one, c.out, errors.New("exit status 1")); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("said\n%s", out.String())
			}
		})
	}
}
