package ruletest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/ruletest"
)

const shell = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: shell}
spec:
  title: A shell
  description: Somebody started a shell.
  severity: low
  riskScore: 1
  query: process where process.name == "sh"
  exceptions:
  - {name: probe, reason: it is harmless, where: process.args == "-c"}
`

const tests = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRuleTest
rules: [shell]
templates:
  sh:
    fields: {process: {name: sh}, orchestrator: {namespace: shop, resource: {name: cart-0, id: u}}}
tests:
- name: fires
  events: [{at: 0s, extends: sh}]
  detections: [{pod: shop/cart-0}]
- name: near miss
  events: [{at: 0s, extends: sh, fields: {process.name: ls}}]
  detections: []
`

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	command := New(streams)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(args)
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

// folder writes files (name to text) and makes their folder the current one, so
// that what is printed has short paths.
func folder(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func TestGood(t *testing.T) {
	folder(t, map[string]string{"shell.yaml": shell, "shell_test.yaml": tests})
	out, err := execute(t, ".")
	if err != nil {
		t.Fatal(err)
	}
	const want = `ok    shell_test.yaml  2 tests

Not tested:
    shell.yaml:1: rule shell exception probe is in no test

2 tests in 1 file, 0 failed
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	out, err = execute(t, "-v", "--run", "near", "shell_test.yaml")
	const verbose = `ok    shell_test.yaml  1 test
  ok    line 11: near miss (0 detections)

1 test in 1 file, 0 failed
`
	if diff := cmp.Diff(verbose, out); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestFailure(t *testing.T) {
	folder(t, map[string]string{"shell.yaml": shell, "shell_test.yaml": strings.NewReplacer("shop/cart-0}]", "shop/web-0}]", "name: ls", "args: [-c]").Replace(tests)})
	out, err := execute(t, "--verbose", ".")
	if err == nil || err.Error() != "1 of 2 tests failed" {
		t.Errorf("error is %v", err)
	}
	const want = `FAIL  shell_test.yaml  2 tests, 1 failed
  FAIL  line 8: fires (1 detection)
  ok    line 11: near miss (0 detections)

shell_test.yaml:8: fires
  Detections: - wanted, + concluded
      rule: shell
    -   pod: shop/web-0
    +   pod: shop/cart-0
  What the rules made of the events:
    shell, event 1 at 0s: hit of [term 1]

2 tests in 1 file, 1 failed
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
}

func TestJSON(t *testing.T) {
	folder(t, map[string]string{"shell.yaml": shell, "shell_test.yaml": strings.Replace(tests, "shop/cart-0}]", "shop/web-0}]", 1)})
	out, err := execute(t, "-o", "json", ".")
	if err == nil {
		t.Error("a failed test is no error")
	}
	var got ruletest.Report
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	want := ruletest.Report{
		Tests: 2, Failed: 1,
		Files: []ruletest.FileResult{{Path: "shell_test.yaml", Failed: 1, Tests: []ruletest.TestResult{
			{Name: "fires", Line: 8, Detections: 1, Difference: []string{"  rule: shell", "-   pod: shop/web-0", "+   pod: shop/cart-0"},
				Explanation: []string{"shell, event 1 at 0s: hit of [term 1]"}},
			{Name: "near miss", Line: 11},
		}}},
		Rules: []ruletest.RuleCoverage{{Rule: "shell", File: "shell.yaml", Line: 1, Tests: 2, Detects: 1, StaysQuiet: 1, UntestedExceptions: []string{"probe"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrors(t *testing.T) {
	folder(t, map[string]string{"shell.yaml": shell, "shell_test.yaml": tests, "bad_test.yaml": strings.Replace(tests, "events", "evnets", 1), "other.txt": ""})
	for name, row := range map[string]struct {
		args          []string
		want, printed string
	}{
		"mistake":           {[]string{"."}, "2 errors: no test was run", `unknown field "evnets"`},
		"tests are missing": {[]string{"--require-tests", "shell_test.yaml"}, "1 rule without enough tests", "exception probe is in no test"},
		"no such test":      {[]string{"--run", "nothing", "shell.yaml"}, "--run matches no test", ""},
		"bad expression":    {[]string{"--run", "(", "shell.yaml"}, "--run: ", ""},
		"no such file":      {[]string{"none"}, "none", ""},
		"no arguments":      {nil, "requires at least 1 arg", ""},
		"format":            {[]string{"-o", "xml", "."}, "must be json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := execute(t, row.args...)
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(out, row.printed) {
				t.Errorf("error %v, printed\n%s", err, out)
			}
		})
	}
	if err := os.Remove("shell_test.yaml"); err != nil {
		t.Fatal(err)
	}
	if _, err := execute(t, "shell.yaml"); err == nil || !strings.Contains(err.Error(), "there are no tests") {
		t.Errorf("error is %v", err)
	}
}

// TestHarmless: files of others cannot steer the terminal.
func TestHarmless(t *testing.T) {
	folder(t, map[string]string{"shell.yaml": shell, "shell_test.yaml": strings.Replace(tests, "name: fires", `name: "\e[2Jfires\u202e"`, 1)})
	for _, args := range [][]string{{"-v", "."}, {"-o", "json", "."}} {
		out, err := execute(t, args...)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out {
			if r != '\n' && !unicode.IsGraphic(r) {
				t.Errorf("%v: U+%04X reaches the terminal", args, r)
			}
		}
	}
}

// TestEnds: a run that is interrupted says so.
func TestEnds(t *testing.T) {
	folder(t, map[string]string{"shell.yaml": shell, "shell_test.yaml": tests})
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	command := New(streams)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs([]string{"."})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := command.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
