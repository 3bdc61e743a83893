package ruleimport

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func execute(t *testing.T, args ...string) (out, stderr string, err error) {
	t.Helper()
	streams, _, stdout, errOut := genericiooptions.NewTestIOStreams()
	command := New(streams)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(args)
	err = command.ExecuteContext(t.Context())
	return stdout.String(), errOut.String(), err
}

var collection = filepath.Join("..", "..", "rule", "elastic", "testdata", "collection") //nolint:gochecknoglobals // a constant

const good = `[metadata]
maturity = "production"
[rule]
name = "A shell"
description = "Somebody started a shell."
severity = "low"
risk_score = 21
type = "eql"
query = 'process where process.name == "sh" and container.id != null'
`

// folder writes rule files: name to text.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCountsAsJSON(t *testing.T) {
	t.Parallel()
	out, stderr, err := execute(t, collection, "-o", "json")
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s", err, stderr)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	var rules []entry
	if err := json.Unmarshal(got["rules"], &rules); err != nil {
		t.Fatal(err)
	}
	delete(got, "rules")
	numbers := map[string]counts{}
	for name, text := range got {
		var c counts
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		numbers[name] = c
	}
	one := counts{Total: 1, NotSupported: 1}
	want := map[string]counts{
		"eql":   {Total: 15, Runs: 15, LeftOut: 2},
		"query": one, "new_terms": one, "esql": one, "threshold": one, "machine_learning": one, "threat_match": one,
	}
	if diff := cmp.Diff(want, numbers); diff != "" {
		t.Error(diff)
	}
	if len(rules) != 23 {
		t.Errorf("%d rules", len(rules))
	}
	for _, r := range rules {
		if r.Name == "" || r.File == "" || r.Title == "" || (r.Why == "") != (r.Result == runs) || r.Result == runs && r.Variations == 0 {
			t.Errorf("%+v", r)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	out, _, err := execute(t, collection)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`RULE +TYPE +RESULT +WHY\n`,
		`execution-token-read-then-used +eql +runs *\n`,
		`execution-forgotten +eql +left out +its maturity is deprecated, only production rules run\n`,
		`discovery-never-seen-before +new_terms +not supported +rules of type new_terms \(KQL\) are not supported yet\n`,
		`\n\n15 of 15 EQL rules run\. Not supported yet: 1 esql, 1 machine_learning, .* Left out: 2 eql\.\n`,
		`1 rule with warnings: `,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
}

// What does not run says why, next to what does, and is an error.
func TestRulesThatDoNotRun(t *testing.T) {
	t.Parallel()
	query := func(q string) string { return strings.Replace(good, `process.name == "sh"`, q, 1) }
	dir := folder(t, map[string]string{
		"a_good.toml": good, "b_unknown.toml": query(`process.pe.name == "x"`), "c_never.toml": query(`process.name == "x" and process.name == "y"`),
		"d_broken.toml": query(`process.name = "x"`), "e_no.toml": "[rule", "f_other.toml": strings.Replace(good, `"eql"`, `"sigma"`, 1),
	})
	out, _, err := execute(t, dir)
	if err == nil || err.Error() != "2 EQL rules would not run, 2 files cannot be used" {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{
		`a-good +eql +runs`,
		`b-unknown +eql +does not run +no event can make it fire: process.pe.name == "x": there is no field process.pe.name\n`,
		`c-never +eql +does not run +no event can make it fire: process.name == "y": no value of process.name was found`,
		`d-broken +eql +broken +9:37: rule.query: = does not compare`,
		`e-no +unreadable +broken +not TOML: `,
		`f-other +other +not supported +rules of type sigma are not supported yet`,
		`d_broken.toml:9:37: error: .*\n.*process.name = "x"`,
		`1 of 4 EQL rules run\.`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if _, _, err := execute(t, filepath.Join(dir, "a_good.toml")); err != nil {
		t.Errorf("one file: %v", err)
	}
}

func TestNothingToImport(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no argument": {}, "two": {collection, collection}, "missing": {"/does/not/exist"},
		"no rules": {folder(t, map[string]string{"pyproject.toml": "[project]\nname = 'x'"})},
		"format":   {collection, "-o", "yaml"},
	} {
		if out, _, err := execute(t, args...); err == nil || out != "" {
			t.Errorf("%s: error %v, output %q", name, err, out)
		}
	}
}

func TestTextIsHarmless(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"a.toml": strings.NewReplacer(`"A shell"`, `"\u001b[2J\u202e"`, `"sh"`, `"sh\u001b[2J`).Replace(good),
		"b.toml": strings.NewReplacer(`"eql"`, `"\u001b[2J"`, `[metadata]`, "[metadata]\nx = 1").Replace(good),
		"c.toml": strings.Replace(good, `"production"`, `"\u001b[31m"`, 1),
	})
	for _, args := range [][]string{{dir}, {dir, "-o", "json"}} {
		out, _, err := execute(t, args...)
		if err == nil || strings.ContainsAny(out+err.Error(), "\x1b\u202e") {
			t.Errorf("%v\n%q", err, out)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	command := New(streams)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs([]string{collection})
	if err := command.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
