package rulecheck

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

const good = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata:
  name: NAME
spec:
  title: A shell
  description: Somebody started a shell.
  severity: low
  riskScore: 21
  query: |
    process where process.name == "sh"
`

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	command := New(streams)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(args)
	err := command.Execute()
	return out.String(), err
}

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

func named(name string) string { return strings.Replace(good, "NAME", name, 1) }

func TestGood(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": named("a"), "b.yml": named("b"), "notes.txt": "no rule"})
	for name, args := range map[string][]string{
		"folder":         {dir},
		"files":          {filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yml")},
		"file and other": {filepath.Join(dir, "a.yaml"), folder(t, map[string]string{"c.yaml": named("c")})},
	} {
		out, err := execute(t, args...)
		if err != nil || !strings.Contains(out, "2 rules, 0 warnings") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// TestShippedRules: what comes with the server passes its own check.
func TestShippedRules(t *testing.T) {
	if out, err := execute(t, filepath.Join("..", "..", "config", "rules")); err != nil || !strings.Contains(out, " rules, 0 warnings") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestMistakes: all of all files, each with its place.
func TestMistakes(t *testing.T) {
	one := folder(t, map[string]string{
		"a.yaml": strings.Replace(named("a"), "process.name", "process.nmae", 1),
		"b.yaml": strings.Replace(named("b"), "severity: low", "severity: mild", 1),
	})
	other := filepath.Join(folder(t, map[string]string{"c.yaml": strings.Replace(named("c"), "title", "titel", 1)}), "c.yaml")
	out, err := execute(t, one, other)
	if err == nil || !strings.Contains(err.Error(), "errors") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"a.yaml:11:", "process.nmae", "b.yaml:8:", "mild", "c.yaml:", "titel", "^"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestSameNameTwice(t *testing.T) {
	one, other := folder(t, map[string]string{"a.yaml": named("a")}), folder(t, map[string]string{"b.yaml": named("a")})
	if _, err := execute(t, one, other); err == nil || !strings.Contains(err.Error(), "a.yaml") || !strings.Contains(err.Error(), "b.yaml") {
		t.Errorf("error %v, want both places", err)
	}
}

func TestNothingToCheck(t *testing.T) {
	for name, args := range map[string][]string{
		"no argument":  {},
		"missing file": {"/does/not/exist.yaml"},
		"empty folder": {t.TempDir()},
	} {
		if out, err := execute(t, args...); err == nil {
			t.Errorf("%s: %q is no error", name, out)
		}
	}
}

const toml = `[rule]
name = "A shell"
description = "Somebody started a shell."
severity = "low"
risk_score = 21
type = "eql"
query = 'process where process.name == "sh"'
`

// TestElasticRules: both formats are one set, and a broken file of Elastic's
// format leaves the others as they are.
func TestElasticRules(t *testing.T) {
	good := map[string]string{
		"a.yaml": named("a"), "b_rule.toml": toml, "c.toml": strings.Replace(toml, `"eql"`, `"esql"`, 1),
		"d.toml": strings.Replace(toml, "'process where", "'sequence [any where true] [process where", 1),
	}
	good["d.toml"] = strings.Replace(good["d.toml"], `"sh"'`, `"sh"]'`, 1)
	out, err := execute(t, folder(t, good))
	if err != nil || !strings.Contains(out, "3 rules, 1 warning, 1 more file not supported or left out") || !strings.Contains(out, "d.toml:7:10: warning") {
		t.Errorf("%v\n%s", err, out)
	}
	one := filepath.Join(folder(t, good), "b_rule.toml")
	if out, err = execute(t, one, filepath.Join(folder(t, good), "a.yaml")); err != nil || !strings.Contains(out, "2 rules") {
		t.Errorf("files: %v\n%s", err, out)
	}
	if _, err = execute(t, folder(t, map[string]string{"a-b.yaml": named("a-b")}), folder(t, map[string]string{"a_b.toml": toml})); err == nil || !strings.Contains(err.Error(), "a_b.toml") {
		t.Errorf("one name in both formats: %v", err)
	}
	bad := folder(t, map[string]string{"a.yaml": named("a"), "b.toml": "[rule", "c.toml": strings.Replace(toml, "process.name", "process.nmae =", 1)})
	out, err = execute(t, bad)
	if err == nil || !strings.Contains(err.Error(), "rules with errors would not run") || !strings.Contains(out, "b.toml:1:5: error: not TOML") || !strings.Contains(out, "c.toml:7:") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTextIsHarmless(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": strings.Replace(named("a"), `"sh"`, "\"sh\x1b[2J", 1)})
	out, err := execute(t, dir)
	if err == nil || strings.ContainsRune(out, 0x1b) {
		t.Errorf("%v, %q", err, out)
	}
}
