package rule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule/source"
)

func options() Options { return Options{Schema: field.New()} }

const full = `# a comment
apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata:
  name: full-rule
spec:
  title: Everything
  description: >-
    All fields that a rule
    can have.
  severity: critical
  riskScore: 99
  threats:
  - tactic: {id: TA0002, name: Execution}
    technique: {id: T1059.004, name: Unix Shell}
  query: |
    process where process.name == "sh"
  exceptions:
  - name: for-a-while
    reason: a migration
    where: process.args == "-c"
    expires: 2026-09-01
  - name: for-ever
    reason: it is harmless
    where: |
      container.name == "main" and
      process.interactive == true
  response:
    quarantine:
      subject: user
      duration: 90m
  mode: enforce
  tags: [one, two]
  references: ["https://example.com/a?b=c"]
`

// minimal is a rule that is right but for what replaces its parts.
func minimal(replace ...string) string {
	text := `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata:
  name: minimal
spec:
  title: Minimal
  description: Minimal
  severity: low
  riskScore: 1
  query: process where true
`
	return strings.NewReplacer(replace...).Replace(text)
}

func loadText(texts ...string) (*Set, error) {
	files := fstest.MapFS{}
	for i, text := range texts {
		files[fmt.Sprintf("rules/%c.yaml", 'a'+i)] = &fstest.MapFile{Data: []byte(text)}
	}
	return Load(files, options())
}

// TestSpanIsBounded: what could be part of a sequence is kept for several times its span.
func TestSpanIsBounded(t *testing.T) {
	t.Parallel()
	sequence := func(span string) string {
		return minimal("process where true", "sequence by container.id with maxspan="+span+" [process where true] [any where true]")
	}
	set, err := loadText(sequence("24h"))
	if err != nil {
		t.Fatal(err)
	}
	if span, ok := set.Get("minimal").Program.MaxSpan(); !ok || span != MaxSpan {
		t.Errorf("the longest span that is right is %s, not %s", span, MaxSpan)
	}
	for _, span := range []string{"86401s", "25h", "30d"} {
		_, err = loadText(sequence(span))
		if err == nil || !strings.Contains(err.Error(), "rules/a.yaml:10:48: error: spec.query: maxspan is longer than 24h") {
			t.Errorf("%s: error is %v", span, err)
		}
	}
	r := Rule{Name: "imported", Query: "sequence by container.id with maxspan=7d [process where true] [any where true]"}
	if compiled, found := r.Compile(options()); compiled != nil || !strings.Contains(found.Render(), "maxspan is longer than 24h") {
		t.Errorf("a rule of another format: %s", found.Render())
	}
}

func TestEveryFieldIsRead(t *testing.T) {
	t.Parallel()
	set, err := loadText(full)
	if err != nil {
		t.Fatal(err)
	}
	want := &Rule{
		Name: "full-rule", Title: "Everything", Description: "All fields that a rule can have.",
		Severity: Critical, RiskScore: 99,
		Threats: []Threat{{"TA0002", "Execution", "T1059.004", "Unix Shell"}},
		Tags:    []string{"one", "two"}, References: []string{"https://example.com/a?b=c"},
		Query: "process where process.name == \"sh\"\n",
		Exceptions: []Exception{
			{Name: "for-a-while", Reason: "a migration", Where: `process.args == "-c"`, Expires: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)},
			{Name: "for-ever", Reason: "it is harmless", Where: "container.name == \"main\" and\nprocess.interactive == true\n"},
		},
		Response: &Response{Quarantine: &Quarantine{Subject: SubjectUser, Duration: 90 * time.Minute}},
		Mode:     Enforce, File: "rules/a.yaml", Line: 2, Origin: Portcullis,
	}
	got := set.Get("full-rule")
	compiled := cmpopts.IgnoreFields(Rule{}, "Program", "schema")
	if diff := cmp.Diff(want, got, compiled, cmpopts.IgnoreFields(Exception{}, "Condition")); diff != "" {
		t.Error(diff)
	}
	if got.Program == nil || got.Exceptions[0].Condition == nil || got.Exceptions[1].Condition == nil {
		t.Error("query and exceptions must be compiled")
	}
	ends := got.Exceptions[0].Expires
	if !got.Exceptions[0].InForce(ends.Add(-1)) || got.Exceptions[0].InForce(ends) || !got.Exceptions[1].InForce(ends) {
		t.Error("an exception is in force until it expires, and for ever without expiry")
	}
}

// Each row's text has one mistake, told in one line that begins with its place.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ text, want string }{
		"no YAML":             {"a: [", "rules/a.yaml:1:1: error: not YAML"},
		"not YAML further on": {minimal("kind:", "\tkind:"), "rules/a.yaml:2:1: error: not YAML"},
		"no mapping":          {"- a", "rules/a.yaml:1:1: error: must be a mapping with the fields apiVersion"},
		"wrong version":       {minimal("v1alpha1", "v1"), "rules/a.yaml:1:13: error: apiVersion: must be one of portcullis.dev/v1alpha1"},
		"wrong kind":          {minimal("DetectionRule", "Rule"), "rules/a.yaml:2:7: error: kind: must be one of DetectionRule"},
		"no name":             {minimal("  name: minimal", "  {}"), "rules/a.yaml:4:3: error: metadata.name: is missing"},
		"name with capitals":  {minimal("name: minimal", "name: Minimal"), "rules/a.yaml:4:9: error: metadata.name: must be small letters"},
		"unknown field":       {minimal("  title:", "  titel: x\n  title:"), `rules/a.yaml:6:3: error: spec: unknown field "titel", known are title, `},
		"field twice":         {minimal("  title:", "  title: x\n  title:"), "rules/a.yaml:7:3: error: spec.title: is there twice"},
		"empty field":         {minimal("title: Minimal", "title:"), "rules/a.yaml:6:9: error: spec.title: is empty"},
		"number for text":     {minimal("title: Minimal", "title: 1"), "rules/a.yaml:6:10: error: spec.title: must be a text"},
		"title too long":      {minimal("title: Minimal", "title: "+strings.Repeat("x", 201)), "rules/a.yaml:6:10: error: spec.title: has 201 bytes, at most 200"},
		"severity":            {minimal("low", "bad"), "rules/a.yaml:8:13: error: spec.severity: must be one of low, medium, high, critical"},
		"risk":                {minimal("riskScore: 1", "riskScore: 101"), "rules/a.yaml:9:14: error: spec.riskScore: must be a whole number from 0 to 100"},
		"risk in words":       {minimal("riskScore: 1", "riskScore: ten"), "rules/a.yaml:9:14: error: spec.riskScore: must be a whole number"},
		"mode":                {minimal("  query", "  mode: kill\n  query"), "rules/a.yaml:10:9: error: spec.mode: must be one of observe, enforce"},
		"threat":              {minimal("  query", "  threats: [{tactic: {id: TA2, name: x}, technique: {id: T1609, name: y}}]\n  query"), "rules/a.yaml:10:27: error: spec.threats[0].tactic.id: is no ATT&CK id such as TA0002"},
		"no technique":        {minimal("  query", "  threats: [{tactic: {id: TA0002, name: x}}]\n  query"), "rules/a.yaml:10:13: error: spec.threats[0].technique: is missing"},
		"reference":           {minimal("  query", "  references: ['javascript:alert(1)']\n  query"), "rules/a.yaml:10:16: error: spec.references[0]: must be the address of a page"},
		"no list":             {minimal("  query", "  tags: x\n  query"), "rules/a.yaml:10:9: error: spec.tags: must be a list"},
		"alias":               {minimal("title: Minimal", "title: &a x"), "rules/a.yaml:6:10: error: anchors and aliases are not supported"},
		"expiry":              {minimal("  query", "  exceptions: [{name: a, reason: b, where: 'true', expires: soon}]\n  query"), "rules/a.yaml:10:61: error: spec.exceptions[0].expires: must be a date"},
		"exception twice":     {minimal("  query", "  exceptions: [{name: a, reason: b, where: 'true'}, {name: a, reason: c, where: 'true'}]\n  query"), "rules/a.yaml:10:60: error: spec.exceptions[1].name: another exception"},
		"no reason":           {minimal("  query", "  exceptions: [{name: a, where: 'true'}]\n  query"), "rules/a.yaml:10:16: error: spec.exceptions[0].reason: is missing"},
		"no query":            {minimal("  query: process where true\n", ""), "rules/a.yaml:6:3: error: spec.query: is missing"},

		"query, plain":       {minimal("where true", "where process.nmae == \"x\""), "rules/a.yaml:10:24: error: spec.query: "},
		"query, quoted":      {minimal("process where true", `'process where process.nmae == "x"'`), "rules/a.yaml:10:25: error: spec.query: "},
		"query, block":       {minimal("process where true", "|\n    process where\n      process.nmae == \"x\""), "rules/a.yaml:12:7: error: spec.query: "},
		"query, indented":    {minimal("process where true", "|2\n     process where\n        process.nmae == \"x\""), "rules/a.yaml:12:9: error: spec.query: "},
		"query, blank lines": {minimal("process where true", "|\n\n\n    process where\n\n      process.nmae == \"x\""), "rules/a.yaml:15:7: error: spec.query: "},
		"query, wide runes":  {minimal("process where true", "|\n    process where process.name == \"… é\" and process.nmae == \"x\""), "rules/a.yaml:11:45: error: spec.query: "},
		"query, folded":      {minimal("process where true", ">\n    process where\n    process.nmae == \"x\""), "rules/a.yaml:10:10: error: spec.query, line 1, column 15 of it: "},
		"query, escapes":     {minimal("process where true", `"process where process.nmae == \"x\""`), "rules/a.yaml:10:10: error: spec.query, line 1, column 15 of it: "},
		"query ends early":   {minimal("where true", "where"), "rules/a.yaml:10:23: error: spec.query: "},
		"predicate":          {minimal("  query", "  exceptions:\n  - name: a\n    reason: b\n    where: process.nmae == \"x\"\n  query"), "rules/a.yaml:13:12: error: spec.exceptions[0].where: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := loadText(row.text)
			var invalid *InvalidError
			if !errors.As(err, &invalid) || set != nil {
				t.Fatalf("set %v, error %v", set, err)
			}
			lines := strings.Split(err.Error(), "\n")[1:]
			if len(lines) != 1 || !strings.HasPrefix(lines[0], row.want) {
				t.Errorf("want only %s\ngot  %s", row.want, strings.Join(lines, "\n     "))
			}
		})
	}
}

func TestQueryMistakeIsShownInTheFile(t *testing.T) {
	t.Parallel()
	_, err := loadText(minimal("process where true", "|\n    process where\n      process.nmae == \"x\""))
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	const want = `  12 |       process.nmae == "x"
     |       ^^^^^^^^^^^^
`
	if got := invalid.Render(); !strings.Contains(got, want) || !strings.Contains(got, "process.name") {
		t.Errorf("got\n%s", got)
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := loadText(minimal("low", "bad", "riskScore: 1", "riskScore: -1"), minimal("where true", "where nonsense"), full)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"a.yaml:8:13", "a.yaml:9:14", "b.yaml:10:24"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in\n%v", want, err)
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	_, err := loadText(minimal(), minimal())
	if err == nil || !strings.Contains(err.Error(), `rules/b.yaml:4:9: error: metadata.name: rules/a.yaml:1 has a rule "minimal" already`) {
		t.Errorf("error is %v", err)
	}
	one, err := loadText(minimal())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Merge(one, one); err == nil || !strings.Contains(err.Error(), `rule "minimal"`) {
		t.Errorf("merging: error is %v", err)
	}
}

func TestSeveralRulesInOneFile(t *testing.T) {
	t.Parallel()
	set, err := loadText("---\n" + minimal() + "---\n# nothing\n---\n" + full)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, set.Len())
	for _, r := range set.All() {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"full-rule", "minimal"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestSetsMerge(t *testing.T) {
	t.Parallel()
	o := options()
	a, errA := Load(fstest.MapFS{"a.yaml": {Data: []byte(minimal())}}, o)
	b, errB := Load(fstest.MapFS{"b.yaml": {Data: []byte(full)}}, o)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	both, err := Merge(a, b, nil)
	if err != nil || both.Len() != 2 || both.Get("minimal") == nil || both.Get("nobody") != nil {
		t.Errorf("%d rules, error %v", both.Len(), err)
	}
	if other, err := loadText(full); err != nil {
		t.Fatal(err)
	} else if _, err := Merge(a, other); err == nil || !strings.Contains(err.Error(), "another schema") {
		t.Errorf("sets of two schemas: error is %v", err)
	}
	var none *Set
	if none.Len() != 0 || none.Get("minimal") != nil || none.Warnings() != nil {
		t.Error("the nil Set is empty")
	}
}

// A folder as Kubernetes mounts a ConfigMap: links into a folder that starts with dots.
func TestLoadDirOfAMountedConfigMap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "..2026_08_22")
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(data, "minimal.yaml"), minimal())
	write(filepath.Join(dir, "deep", "full.yml"), full)
	write(filepath.Join(dir, "full_test.yaml"), "a unit test")
	write(filepath.Join(dir, "README.md"), "words")
	if err := errors.Join(os.Symlink("..2026_08_22", filepath.Join(dir, "..data")),
		os.Symlink("..data/minimal.yaml", filepath.Join(dir, "minimal.yaml"))); err != nil {
		t.Fatal(err)
	}
	set, err := LoadDir(dir, options())
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 2 {
		t.Errorf("%d rules, want 2", set.Len())
	}
	if got, want := set.Get("full-rule").File, filepath.Join(dir, "deep", "full.yml"); got != want {
		t.Errorf("file is %s, want %s", got, want)
	}
	again, err := LoadFiles([]string{filepath.Join(dir, "minimal.yaml")}, options())
	if err != nil || again.Len() != 1 {
		t.Errorf("%d rules, error %v", again.Len(), err)
	}
}

func TestReadingFails(t *testing.T) {
	t.Parallel()
	if _, err := LoadDir(filepath.Join(t.TempDir(), "none"), options()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	if _, err := LoadFiles([]string{filepath.Join(t.TempDir(), "none")}, options()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	if _, err := Load(fstest.MapFS{}, Options{}); err == nil || !strings.Contains(err.Error(), "Schema") {
		t.Errorf("error is %v", err)
	}
}

func TestHostileFilesCostLittle(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"too large":       strings.Repeat("#", source.MaxFile+1),
		"deep":            strings.Repeat("[", 100_000),
		"many mistakes":   "spec:\n" + strings.Repeat("  ? x\n", 100_000),
		"many documents":  strings.Repeat("---\na: b\n", 50_000),
		"bomb":            "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
		"control letters": minimal("low", "\"\\e[31m\""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := loadText(text)
			if err == nil {
				t.Fatal("no error")
			}
			if len(err.Error()) > 64<<10 || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{full, minimal(), minimal("where true", "where nonsense"), "---\n---\n", "a: |\n  b", "? {a: b}\n: c", "spec: {query: |2\n}"} {
		f.Add(seed)
	}
	schema := field.New()
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Load(fstest.MapFS{"f.yaml": {Data: []byte(text)}}, Options{Schema: schema})
		if (set == nil) == (err == nil) {
			t.Fatalf("set %v, error %v", set, err)
		}
		var invalid *InvalidError
		if errors.As(err, &invalid) {
			_ = invalid.Render()
		}
		for _, r := range set.All() {
			if r.Program == nil || r.Name == "" || r.Title == "" || r.Severity == "" {
				t.Fatalf("an incomplete rule was accepted: %+v", r)
			}
		}
	})
}
