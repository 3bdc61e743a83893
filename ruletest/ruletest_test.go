package ruletest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/rule"
)

// twoRules are a rule over one event and a sequence, both with an exception.
const twoRules = `apiVersion: portcullis.dev/v1alpha1
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
---
apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: read-then-used}
spec:
  title: A token is read, then used
  description: Somebody tries a token.
  severity: high
  riskScore: 50
  query: |
    sequence with maxspan=1m
      [file where file.name == "token"] by orchestrator.resource.name
      [any where event.dataset == "kubernetes.audit_logs"] by ` + "`kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`" + `
  exceptions:
  - {name: migration, reason: until March, where: orchestrator.namespace == "shop", expires: 2026-03-01}
  response:
    quarantine: {subject: pod, duration: 1h}
`

const templates = `templates:
  in-cart:
    fields:
      orchestrator: {namespace: web, resource: {name: cart-0, id: uid-1}}
  shell:
    extends: in-cart
    fields: {process: {name: sh, args: [sh]}}
  read:
    extends: in-cart
    fields: {process.name: cat, file.path: /t/token}
  use:
    fields:
      kubernetes.audit:
        verb: get
        user: {username: "system:serviceaccount:web:cart", extra: {authentication.kubernetes.io/pod-uid: [uid-1]}}
`

// testFile is a test file around a list of tests.
func testFile(rules, tests string) string {
	return "apiVersion: portcullis.dev/v1alpha1\nkind: DetectionRuleTest\nrules: [" + rules + "]\n" + templates + "tests:\n" + tests
}

// written writes files: name to text.
func written(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs the tests of one file against twoRules.
func run(t *testing.T, rules, tests string) *Report {
	t.Helper()
	return runSuite(t, load(t, written(t, map[string]string{"rules.yaml": twoRules, "rules_test.yaml": testFile(rules, tests)})), Options{})
}

func load(t *testing.T, paths ...string) *Suite {
	t.Helper()
	suite, err := Load(paths)
	var invalid *rule.InvalidError
	if errors.As(err, &invalid) {
		t.Fatal(invalid.Render())
	}
	if err != nil {
		t.Fatal(err)
	}
	return suite
}

func runSuite(t *testing.T, s *Suite, o Options) *Report {
	t.Helper()
	report, err := s.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestWhatIsSaidOfDetectionsIsCompared(t *testing.T) {
	t.Parallel()
	const event = "- name: a\n  events: [{id: it, at: 1s, extends: shell}]\n  detections:\n"
	const none = "- name: a\n  events: [{id: it, at: 1s, extends: shell}]\n  detections: []\n"
	const chain = "- name: a\n  events: [{id: second, at: 1m, extends: use}, {id: first, at: 0s, extends: read}]\n  detections:\n"
	for name, row := range map[string]struct{ rules, tests, want string }{
		"all that can be said": {"read-then-used", chain + "  - {rule: read-then-used, at: 1m, pod: web/cart-0, podUID: uid-1," +
			" user: \"system:serviceaccount:web:cart\", action: would-quarantine, events: [first, second]}", ""},
		"nothing":        {"shell", event + "  - {}", ""},
		"time":           {"shell", event + "  - at: 2s", "  rule: shell|-   at: 2s|+   at: 1s"},
		"pod":            {"shell", event + "  - pod: shop/cart-0", "  rule: shell|-   pod: shop/cart-0|+   pod: web/cart-0"},
		"pod's UID":      {"shell", event + "  - podUID: uid-2", "  rule: shell|-   podUID: uid-2|+   podUID: uid-1"},
		"user":           {"shell", event + "  - user: alice", "  rule: shell|-   user: alice"},
		"action":         {"read-then-used", chain + "  - {action: quarantine}", "  rule: read-then-used|-   action: quarantine|+   action: would-quarantine"},
		"events' order":  {"read-then-used", chain + "  - {events: [second, first]}", "  rule: read-then-used|-   events: [second, first]|+   events: [first, second]"},
		"one too few":    {"shell", none, "+ rule: shell|+   at: 1s|+   pod: web/cart-0|+   podUID: uid-1|+   action: none|+   events: [it]"},
		"one too many":   {"shell", event + "  - {}\n  - at: 9s", "- rule: shell|-   at: 9s"},
		"of two rules":   {"shell, read-then-used", event + "  - {rule: read-then-used}", "- rule: read-then-used|+ rule: shell|+   at: 1s|+   pod: web/cart-0|+   podUID: uid-1|+   action: none|+   events: [it]"},
		"enforced":       {"read-then-used", "- name: a\n  mode: enforce\n  events: [{at: 0s, extends: read}, {at: 1s, extends: use}]\n  detections: [{action: quarantine}]", ""},
		"number as name": {"shell", "- name: a\n  events: [{at: 1s, extends: shell}]\n  detections: [{events: [\"1\"]}]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := run(t, row.rules, row.tests).Files[0].Tests[0]
			if got := strings.Join(result.Difference, "|"); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", strings.ReplaceAll(got, "|", "\n"), strings.ReplaceAll(row.want, "|", "\n"))
			}
			if result.Passed() != (row.want == "") {
				t.Errorf("passed is %t", result.Passed())
			}
		})
	}
}

// What is said loosely of one detection must not take the only one away that
// fits what is said of another.
func TestExpectationsFindTheirDetections(t *testing.T) {
	t.Parallel()
	report := run(t, "shell", `
- name: a
  events: [{at: 1s, extends: shell}, {at: 2s, extends: shell}, {at: 3s, extends: shell}]
  detections: [{}, {pod: web/cart-0}, {at: 1s}]
`)
	if report.Failed > 0 {
		t.Errorf("difference:\n%s", strings.Join(report.Files[0].Tests[0].Difference, "\n"))
	}
}

func TestFieldsAreMerged(t *testing.T) {
	t.Parallel()
	report := run(t, "shell", `
- name: a field replaces the template's, however it is written
  events: [{at: 0s, extends: shell, fields: {process.name: ls}}, {at: 1s, extends: shell, fields: {process: {name: ls}}}]
  detections: []
- name: what is beside it stays
  events: [{at: 0s, extends: shell, fields: {process: {interactive: true}}}]
  detections: [{pod: web/cart-0}]
- name: null takes a field away
  events: [{at: 0s, extends: shell, fields: {process.name: null}}]
  detections: []
- name: null takes all fields of an object away
  events: [{at: 0s, extends: shell, fields: {process: null, host.name: n}}]
  detections: []
- name: a list is replaced as a whole
  events: [{at: 0s, extends: shell, fields: {process.args: [sh, -c]}}, {at: 1s, extends: shell, fields: {process.args: [sh, -l]}}]
  detections: [{at: 1s}]
- name: an event needs no template
  events: [{at: 0s, fields: {process.name: sh}}]
  detections: [{}]
`)
	for _, result := range report.Files[0].Tests {
		if !result.Passed() {
			t.Errorf("%s:\n%s", result.Name, strings.Join(result.Difference, "\n"))
		}
	}
}

// Keys in an object of the API are names of their own: a dot in them separates nothing.
func TestObjectsOfTheAPIAreKeptAsTheyAre(t *testing.T) {
	t.Parallel()
	const rules = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: privileged}
spec:
  title: x
  description: x
  severity: low
  riskScore: 1
  query: any where kubernetes.audit.requestObject.spec.containers.securityContext.privileged == true and kubernetes.audit.requestObject.spec.hostNetwork == true
`
	const tests = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRuleTest
rules: [privileged]
templates:
  pod:
    fields:
      kubernetes.audit:
        verb: create
        requestObject:
          metadata: {labels: {app.kubernetes.io/name: x}}
          spec: {containers: [{securityContext: {privileged: true}}]}
tests:
- name: a path into it is set in it
  events: [{at: 0s, extends: pod, fields: {kubernetes.audit.requestObject.spec.hostNetwork: true}}]
  detections: [{}]
- name: and in no other event's
  events: [{at: 0s, extends: pod}]
  detections: []
- name: it is replaced as a whole
  events: [{at: 0s, extends: pod, fields: {kubernetes.audit.requestObject: {spec: {hostNetwork: true}}}}]
  detections: []
`
	report := runSuite(t, load(t, written(t, map[string]string{"privileged.yaml": rules, "privileged_test.yaml": tests})), Options{})
	for _, result := range report.Files[0].Tests {
		if !result.Passed() {
			t.Errorf("%s:\n%s", result.Name, strings.Join(result.Difference, "\n"))
		}
	}
}

func TestExceptionsEndAtTheTimeOfTheTest(t *testing.T) {
	t.Parallel()
	const events = "\n  events: [{at: 0s, extends: read, fields: {orchestrator.namespace: shop}}, {at: 1s, extends: use}]\n"
	report := run(t, "read-then-used", "- name: before\n  start: 2026-02-28T23:59:59Z"+events+"  detections: []\n"+
		"- name: after\n  start: 2026-03-01"+events+"  detections: [{}]\n")
	if report.Failed > 0 || report.Tests != 2 {
		t.Errorf("%+v", report.Files)
	}
}

func TestFailuresAreExplained(t *testing.T) {
	t.Parallel()
	report := run(t, "read-then-used", `
- name: a
  events: [{id: r, at: 0s, extends: read, fields: {orchestrator.namespace: shop}}, {id: u, at: 1s, extends: use}, {at: 2s, extends: shell}]
  detections: [{}]
`)
	want := []string{
		"read-then-used, event r at 0s: hit of [term 1], but for the exceptions [migration]",
		"read-then-used, event u at 1s: hit of [term 2]",
		"read-then-used, event 3 at 2s: no hit",
	}
	if diff := cmp.Diff(want, report.Files[0].Tests[0].Explanation); diff != "" {
		t.Error(diff)
	}
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	const fires = "- name: fires\n  events: [{at: 0s, extends: shell}]\n  detections: [{}]\n"
	const quiet = "- name: quiet\n  events: []\n  detections: []\n"
	const excepted = "- name: excepted\n  events: [{at: 0s, extends: shell, fields: {process.args: [sh, -c]}}]\n  detections: []\n"
	const other = "rules.yaml:13: rule read-then-used has no test"
	for name, row := range map[string]struct {
		tests string
		want  string
	}{
		"complete":     {fires + excepted, ""},
		"no near miss": {fires, "rules.yaml:1: rule shell fires in every test: there is no near miss; exception probe is in no test"},
		"no exception": {fires + quiet, "rules.yaml:1: rule shell exception probe is in no test"},
		"never fires":  {excepted, "rules.yaml:1: rule shell fires in no test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := written(t, map[string]string{"rules.yaml": twoRules, "rules_test.yaml": testFile("shell", row.tests)})
			suite := load(t, dir)
			got := strings.ReplaceAll(strings.Join(runSuite(t, suite, Options{}).Gaps(), "|"), dir+"/", "")
			if want := strings.TrimPrefix(row.want+"|"+other, "|"); !sameLines(want, got) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if rules := runSuite(t, suite, Options{Only: regexp.MustCompile("fires")}).Rules; rules != nil {
				t.Errorf("some tests alone say %+v of the rules", rules)
			}
		})
	}
}

func sameLines(a, b string) bool {
	sorted := func(s string) map[string]bool {
		lines := map[string]bool{}
		for line := range strings.SplitSeq(s, "|") {
			lines[line] = true
		}
		return lines
	}
	return cmp.Equal(sorted(a), sorted(b))
}

func TestOnlySomeTests(t *testing.T) {
	t.Parallel()
	suite := load(t, written(t, map[string]string{"rules.yaml": twoRules, "rules_test.yaml": testFile("shell",
		"- {name: one, events: [], detections: []}\n- {name: two, events: [], detections: []}\n")}))
	for expression, want := range map[string]int{"one": 1, `rules_test\.yaml: two$`: 1, "o": 2, "three": 0} {
		if got := runSuite(t, suite, Options{Only: regexp.MustCompile(expression)}).Tests; got != want {
			t.Errorf("%s: %d tests, want %d", expression, got, want)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	suite := load(t, written(t, map[string]string{"rules.yaml": twoRules, "rules_test.yaml": testFile("shell", "- {name: a, events: [], detections: []}\n")}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := suite.Run(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
