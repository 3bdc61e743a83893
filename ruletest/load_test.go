package ruletest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/rule"
)

const one = "- {name: a, events: [], detections: []}\n"

func TestWhatIsRead(t *testing.T) {
	t.Parallel()
	shell, _, _ := strings.Cut(twoRules, "---")
	files := map[string]string{
		"shell.yaml": shell, "shell_test.yaml": testFile("shell", one),
		"deep/other.yml": strings.Replace(shell, "name: shell", "name: other", 1), "deep/other_test.yml": testFile("other", one),
		"tests/far_test.yaml": testFile("shell, other", one),
		"README.md":           "words",
	}
	for name, row := range map[string]struct {
		paths []string
		tests int
	}{
		"folder":                    {[]string{"."}, 3},
		"folder twice":              {[]string{".", "deep"}, 3},
		"test file":                 {[]string{"shell_test.yaml"}, 1},
		"test file twice":           {[]string{"shell_test.yaml", "./shell_test.yaml"}, 1},
		"rule file":                 {[]string{"shell.yaml"}, 1},
		"rule file with .yml":       {[]string{"deep/other.yml"}, 1},
		"rule and its test":         {[]string{"shell.yaml", "shell_test.yaml"}, 1},
		"two folders":               {[]string{"deep", "tests", "shell.yaml"}, 3},
		"rules without their tests": {[]string{"deep/other_test.yml", "shell.yaml", "tests/far_test.yaml"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := written(t, files)
			paths := make([]string, len(row.paths))
			for i, p := range row.paths {
				paths[i] = dir + "/" + p
			}
			if got := runSuite(t, load(t, paths...), Options{}).Tests; got != row.tests {
				t.Errorf("%d tests, want %d", got, row.tests)
			}
		})
	}
}

// Rules that are there only because a test file is have no need of tests.
func TestOnlyNamedRulesNeedTests(t *testing.T) {
	t.Parallel()
	dir := written(t, map[string]string{"rules.yaml": twoRules, "rules_test.yaml": testFile("shell", one)})
	for path, want := range map[string]int{"": 2, "rules.yaml": 2, "rules_test.yaml": 1} {
		if got := len(runSuite(t, load(t, filepath.Join(dir, path)), Options{}).Rules); got != want {
			t.Errorf("%q: %d rules are to have tests, want %d", path, got, want)
		}
	}
}

// elasticRule is a rule as Elastic writes them.
const elasticRule = `[metadata]
maturity = "production"

[rule]
name = "Shell"
description = "Somebody started a shell."
risk_score = 21
rule_id = "1"
severity = "low"
type = "eql"
query = '''
process where process.name == "sh"
'''
`

func TestElasticsRulesAreTestedAsWell(t *testing.T) {
	t.Parallel()
	const tests = "- name: a\n  events: [{at: 0s, extends: shell}]\n  detections: [{}]\n"
	dir := written(t, map[string]string{
		"elastic/execution_shell.toml": elasticRule,
		"elastic/broken.toml":          strings.Replace(elasticRule, "where", "were", 1),
		"elastic/other.toml":           strings.NewReplacer(`"eql"`, `"threshold"`, `"1"`, `"2"`).Replace(elasticRule),
		"tests/shell_test.yaml":        testFile("execution-shell", tests),
		"beside/one.toml":              elasticRule,
		"beside/one_test.yaml":         testFile("one", tests),
		"untested/two.toml":            elasticRule,
	})
	for name, row := range map[string]struct {
		paths        []string
		tests, rules int
	}{
		"folders":              {[]string{"elastic", "tests"}, 1, 1},
		"rule and its test":    {[]string{"beside/one.toml"}, 1, 1},
		"test and its rule":    {[]string{"beside/one_test.yaml"}, 1, 1},
		"nothing asks for any": {[]string{"untested"}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			paths := make([]string, len(row.paths))
			for i, p := range row.paths {
				paths[i] = filepath.Join(dir, p)
			}
			report := runSuite(t, load(t, paths...), Options{})
			if report.Tests != row.tests || report.Failed > 0 || len(report.Rules) != row.rules {
				t.Errorf("%+v", report)
			}
		})
	}
}

// Each row has one mistake, told in one line that begins with its place.
func TestMistakes(t *testing.T) {
	t.Parallel()
	test := func(text string) string { return testFile("shell", "- name: a\n"+text) }
	for name, row := range map[string]struct{ text, want string }{
		"unknown key":            {testFile("shell", one) + "test: []\n", `21:1: error: unknown field "test", known are apiVersion,`},
		"unknown key of a test":  {test("  evnets: []\n  events: []\n  detections: []\n"), `21:3: error: tests[0]: unknown field "evnets"`},
		"unknown key of event":   {test("  events: [{at: 0s, extend: shell}]\n  detections: []\n"), `21:21: error: tests[0].events[0]: unknown field "extend"`},
		"unknown key of result":  {test("  events: []\n  detections: [{severity: low}]\n"), `22:17: error: tests[0].detections[0]: unknown field "severity"`},
		"no detections":          {test("  events: []\n"), "20:3: error: tests[0].detections: is missing"},
		"no time":                {test("  events: [{extends: shell}]\n  detections: []\n"), "21:12: error: tests[0].events[0].at: is missing"},
		"wrong kind":             {strings.Replace(testFile("shell", one), "DetectionRuleTest", "DetectionRule", 1), "2:7: error: kind: must be one of DetectionRuleTest"},
		"no such rule":           {testFile("shel", one), `3:9: error: rules[0]: there is no rule "shel", did you mean "shell"?`},
		"no rules":               {testFile("", one), "3:8: error: rules: name the rules"},
		"rule twice":             {testFile("shell, shell", one), "3:16: error: rules[1]: is there twice"},
		"test twice":             {testFile("shell", one+one), "21:10: error: tests[1].name: another test has that name"},
		"id twice":               {test("  events: [{id: x, at: 0s, extends: shell}, {id: x, at: 1s, extends: shell}]\n  detections: []\n"), "21:50: error: tests[0].events[1].id: another event"},
		"no such template":       {test("  events: [{at: 0s, extends: shel}]\n  detections: []\n"), `21:30: error: tests[0].events[0].extends: there is no template "shel", did you mean "shell"?`},
		"no such base":           {strings.Replace(testFile("shell", one), "extends: in-cart", "extends: in-card", 1), `9:14: error: templates.shell.extends: there is no template "in-card", did you mean "in-cart"?`},
		"template of itself":     {strings.Replace(testFile("shell", one), "extends: in-cart", "extends: shell", 1), "9:14: error: templates.shell.extends: the template extends itself"},
		"templates in a circle":  {strings.Replace(testFile("shell", one), "templates:\n", "templates:\n  a: {extends: b}\n  b: {extends: a}\n", 1), "6:16: error: templates.b.extends: the template extends itself"},
		"no such event":          {test("  events: []\n  detections: [{events: [x]}]\n"), `22:26: error: tests[0].detections[0].events[0]: no event of the test has the id "x"`},
		"another rule":           {test("  events: []\n  detections: [{rule: read-then-used}]\n"), `22:23: error: tests[0].detections[0].rule: the file is not about a rule "read-then-used"`},
		"which rule":             {testFile("shell, read-then-used", "- name: a\n  events: []\n  detections: [{at: 1s}]\n"), "22:16: error: tests[0].detections[0]: say the rule"},
		"negative time":          {test("  events: [{at: -1s, extends: shell}]\n  detections: []\n"), "21:17: error: tests[0].events[0].at: must be a duration"},
		"time as a field":        {test("  events: [{at: 0s, fields: {\"@timestamp\": x}}]\n  detections: []\n"), "21:44: error: tests[0].events[0].fields.@timestamp: is the test's start"},
		"unknown ECS field":      {test("  events: [{at: 0s, fields: {process.nam: sh}}]\n  detections: []\n"), "21:30: error: tests[0].events[0].fields.process.nam: unknown field \"process.nam\", did you mean process.name?"},
		"unknown ECS field deep": {test("  events:\n  - at: 0s\n    fields:\n      process:\n        nam: sh\n  detections: []\n"), "25:9: error: tests[0].events[0].fields.process.nam: unknown field"},
		"unknown in a template":  {strings.Replace(test("  events: [{at: 0s, extends: shell}, {at: 1s, extends: shell}]\n  detections: []\n"), "process: {name:", "process: {nam:", 1), "10:24: error: templates.shell.fields.process.nam: unknown field"},
		"wrong type":             {test("  events: [{at: 0s, fields: {process.interactive: 5}}]\n  detections: []\n"), "21:30: error: tests[0].events[0].fields.process.interactive: want true or false, got 5"},
		"alias":                  {strings.Replace(testFile("shell", one), "fields: {process", "fields: &x {process", 1), "10:13: error: anchors and aliases"},
		"no YAML":                {"a: [", "1:1: error: not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := written(t, map[string]string{"rules.yaml": twoRules, "rules_test.yaml": row.text})
			_, err := Load([]string{dir})
			var invalid *rule.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error is %v", err)
			}
			lines := strings.Split(strings.ReplaceAll(err.Error(), dir+"/rules_test.yaml:", ""), "\n")[1:]
			if len(lines) != 1 || !strings.HasPrefix(lines[0], row.want) {
				t.Errorf("want only %s\ngot  %s", row.want, strings.Join(lines, "\n     "))
			}
		})
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	dir := written(t, map[string]string{
		"rules.yaml":  twoRules,
		"a_test.yaml": testFile("shel", "- {name: a, events: [{at: 0s, fields: {process.nam: x, process.pid: y}}]}\n"),
		"b_test.yaml": testFile("shell", one+"- {}\n"),
	})
	_, err := Load([]string{dir})
	for _, want := range []string{
		"a_test.yaml:3:9", "tests[0].detections: is missing", "process.nam", "process.pid", "tests[1].name: is missing", "tests[1].events: is missing",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in\n%v", want, err)
		}
	}
}

func TestMistakesInRulesAreToldFirst(t *testing.T) {
	t.Parallel()
	dir := written(t, map[string]string{"rules.yaml": strings.Replace(twoRules, "process.name", "process.nam", 1), "rules_test.yaml": testFile("shell", one)})
	_, err := Load([]string{dir})
	var invalid *rule.InvalidError
	if !errors.As(err, &invalid) || !strings.Contains(invalid.Render(), "process.nam") || strings.Contains(invalid.Render(), "there is no rule") {
		t.Errorf("error is %v", err)
	}
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"none", "none.yaml", "none_test.yaml"} {
		if _, err := Load([]string{filepath.Join(t.TempDir(), path)}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error is %v", path, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(testFile("shell", one))
	f.Add(testFile("shell, read-then-used", "- name: a\n  mode: enforce\n  start: 2026-02-03\n  events: [{at: 0s, extends: use, fields: {kubernetes.audit.requestObject: {a: 1}, kubernetes.audit.requestObject.b: [1]}}]\n  detections: [{rule: shell}]\n"))
	schema := field.New()
	rules := rulesOf(f, f.TempDir(), schema)
	f.Fuzz(func(t *testing.T, text string) {
		files, problems := parse(token.NewFile("f_test.yaml", text), schema, rules)
		if problems.HasErrors() {
			_ = problems.Render()
			return
		}
		s := &Suite{schema: schema, rules: rules, files: files, subjects: map[string]bool{"shell": true, "read-then-used": true}}
		report, err := s.Run(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for _, file := range report.Files {
			for _, result := range file.Tests {
				if !result.Passed() {
					failed++
				}
			}
		}
		if failed != report.Failed {
			t.Fatalf("%d tests failed, the report says %d", failed, report.Failed)
		}
	})
}

func rulesOf(tb testing.TB, dir string, schema *field.Schema) *rule.Set {
	tb.Helper()
	path := filepath.Join(dir, "rules.yaml")
	if err := os.WriteFile(path, []byte(twoRules), 0o600); err != nil {
		tb.Fatal(err)
	}
	set, err := rule.LoadFiles([]string{path}, rule.Options{Schema: schema})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func TestRunShowsMistakesWithTheirLines(t *testing.T) {
	t.Parallel()
	dir := written(t, map[string]string{"rules.yaml": twoRules, "rules_test.yaml": testFile("shel", one)})
	if _, err := Run(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "^^^^") {
		t.Errorf("error is %v", err)
	}
	if _, err := Run(t.Context(), filepath.Join(dir, "none")); err == nil {
		t.Error("no error")
	}
	if report, err := Run(t.Context(), written(t, map[string]string{"rules.yaml": twoRules, "rules_test.yaml": testFile("shell", one)})); err != nil || report.Tests != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}
