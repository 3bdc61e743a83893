package elastic

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/source"
)

func options() rule.Options { return rule.Options{Schema: field.New()} }

// minimal is a rule file that is right but for what replaces its parts.
func minimal(replace ...string) string {
	const text = `[metadata]
maturity = "production"

[rule]
description = "A rule."
name = "Minimal"
risk_score = 21
rule_id = "1"
severity = "low"
type = "eql"
query = '''
process where process.name == "sh"
'''
`
	return strings.NewReplacer(replace...).Replace(text)
}

func load(t testing.TB, files map[string]string) *Import {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	found, err := LoadFS(fsys, "dir", options())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func loadText(t testing.TB, text string) File {
	t.Helper()
	found := load(t, map[string]string{"a_rule.toml": text})
	if len(found.Files) != 1 {
		t.Fatalf("%d files", len(found.Files))
	}
	return found.Files[0]
}

// TestCollection: a folder like the public one, with every construct that rules
// there use.
func TestCollection(t *testing.T) {
	t.Parallel()
	found, err := Load(filepath.Join("testdata", "collection"), options())
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, f := range found.Files {
		count[f.Type+" "+string(f.Result)]++
		if f.Result == Broken {
			t.Errorf("%s: %s", f.Path, f.Why)
		}
	}
	want := map[string]int{
		"eql loaded": 15, "eql left out": 2, "query not supported": 1, "new_terms not supported": 1, "esql not supported": 1,
		"threshold not supported": 1, "machine_learning not supported": 1, "threat_match not supported": 1,
	}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Error(diff)
	}
	set, err := found.Set()
	if err != nil || set.Len() != found.Count(Loaded) {
		t.Fatalf("%d rules, %v", set.Len(), err)
	}
	warnings := set.Warnings()
	if len(warnings) != 1 || !strings.Contains(warnings[0].String(), "execution_slow_sequence.toml:") || !strings.Contains(warnings[0].Message, "without maxspan") {
		t.Errorf("warnings\n%s", warnings.Render())
	}
}

func TestFieldsAreTakenOver(t *testing.T) {
	t.Parallel()
	found, err := Load(filepath.Join("testdata", "collection"), options())
	if err != nil {
		t.Fatal(err)
	}
	set, err := found.Set()
	if err != nil {
		t.Fatal(err)
	}
	r := set.Get("execution-session-by-person")
	if r == nil {
		t.Fatal("no such rule")
	}
	type plain struct {
		Title, Severity, Origin, Mode string
		Risk                          int
		Tags                          []string
		Threats                       []rule.Threat
		Response                      *rule.Response
	}
	want := plain{
		Title: "Session opened by a person", Severity: "medium", Origin: "elastic", Risk: 47,
		Tags: []string{"Domain: Containers", "Use Case: Test"},
		Threats: []rule.Threat{
			{TacticID: "TA0006", TacticName: "Credential Access", TechniqueID: "T1552.001", TechniqueName: "Unsecured Credentials: Credentials In Files"},
			{TacticID: "TA0006", TacticName: "Credential Access", TechniqueID: "T1552.007", TechniqueName: "Unsecured Credentials: Container API"},
			{TacticID: "TA0002", TacticName: "Execution", TechniqueID: "T1609", TechniqueName: "Container Administration Command"},
		},
	}
	got := plain{r.Title, string(r.Severity), string(r.Origin), string(r.Mode), r.RiskScore, r.Tags, r.Threats, r.Response}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.HasSuffix(r.File, "execution_session_by_person.toml") || r.Line == 0 || !strings.HasPrefix(r.Description, "A rule of the test suite") {
		t.Errorf("file %s:%d, description %q", r.File, r.Line, r.Description)
	}
}

// Mistakes stand where they are in the TOML file, in whichever quotes the query is.
func TestPlacesOfMistakes(t *testing.T) {
	t.Parallel()
	query := func(written string) string {
		return strings.Replace(minimal(), "query = '''\nprocess where process.name == \"sh\"\n'''", "query = "+written, 1)
	}
	for name, row := range map[string]struct{ text, want string }{
		"literal lines":       {query("'''\nprocess where\n  process.name = \"x\"\n'''"), "13:16"},
		"literal lines, same": {query("'''process where process.name = \"x\"'''"), "11:39"},
		"basic lines":         {query("\"\"\"\nprocess where\n  process.name = \"x\"\n\"\"\""), "13:16"},
		"escapes before":      {query("\"\"\"\nprocess where process.args == \"\\u00e9\\\\n\" and \\\n\n   process.name = \"x\"\"\"\""), "14:17"},
		"basic":               {query(`"process where process.args == \"\u00e9\" and process.name = \"x\""`), "11:68"},
		"literal":             {query(`'process where process.name = "x"'`), "11:37"},
		"wide characters":     {query("'''\nprocess where process.args == \"語é\" and process.name = \"x\"'''"), "12:53"},
		"end of query":        {query("'''\nprocess where\n'''"), "12:14"},
		"quotes at the end":   {query("'''process where process.name = \"x\"\"'''"), "11:39"},
		"carriage returns":    {strings.ReplaceAll(query("'''\nprocess where\n  process.name = \"x\"\n'''"), "\n", "\r\n"), "13:16"},
		"dotted key":          {"rule.name = 'x'\nrule.type = 'eql'\nrule.query = 'process where process.name = 1'", "3:42"},
		"inline table":        {`rule = {name = "x", type = "eql", query = "any where process.name = 1"}`, "1:67"},
		"spaced table":        {strings.Replace(query("'process where process.name = \"x\"'"), "[rule]", "[ rule ]", 1), "11:37"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := loadText(t, row.text)
			var places []string
			for _, d := range f.Problems.Errors() {
				if strings.HasPrefix(d.Message, "rule.query: ") {
					p := d.Position()
					places = append(places, fmt.Sprintf("%d:%d", p.Line, p.Column))
				}
			}
			if f.Result != Broken || !slices.Contains(places, row.want) {
				t.Errorf("%s at %s, want %s\n%s", f.Result, places, row.want, f.Problems.Render())
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ text, want string }{
		"no TOML":           {"[rule\nname = 1", "dir/a_rule.toml:1:6: error: not TOML: "},
		"key twice":         {minimal("severity", "name = \"again\"\nseverity"), "dir/a_rule.toml:9:1: error: "},
		"wrong type":        {minimal("21", `"high"`), "dir/a_rule.toml:7:14: error: rule.risk_score: "},
		"severity":          {minimal(`"low"`, `"mild"`), `dir/a_rule.toml:9:12: error: rule.severity: "mild" must be one of low, medium`},
		"risk":              {minimal("21", "101"), "dir/a_rule.toml:7:14: error: rule.risk_score: must be a whole number from 0 to 100"},
		"no risk":           {minimal("risk_score = 21\n", ""), "dir/a_rule.toml:1:1: error: rule.risk_score: must be"},
		"no name":           {minimal(`name = "Minimal"`, ""), "rule.name: is missing"},
		"no query":          {minimal("process where process.name == \"sh\"\n", ""), "dir/a_rule.toml:11:9: error: rule.query: is missing"},
		"title too long":    {minimal("Minimal", strings.Repeat("x", 201)), "rule.name: has 201 bytes, at most 200"},
		"other category":    {minimal("severity", "event_category_override = \"kind\"\nseverity"), "dir/a_rule.toml:9:27: error: rule.event_category_override: is not supported"},
		"sample":            {minimal("process where process.name", "sample by process.name [any where true] [any where process.name"), "rule.query: "},
		"pipe":              {minimal(`"sh"`, `"sh" | head 5`), "rule.query: pipes are not supported"},
		"two fields":        {minimal(`"sh"`, `process.executable`), "two fields of an event cannot be compared"},
		"unknown function":  {minimal(`process.name == "sh"`, `startWith(process.name, "x")`), "did you mean startsWith?"},
		"not read":          {strings.Repeat("#", source.MaxFile+1), "dir/a_rule.toml:1:1: error: file has more than"},
		"no UTF-8":          {minimal("Minimal", "\xff"), "dir/a_rule.toml:6:"},
		"control character": {minimal("Minimal", "\x1b[31m"), "dir/a_rule.toml:6:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := loadText(t, row.text)
			errs := f.Problems.Errors()
			if f.Result != Broken || f.Rule != nil || len(errs) == 0 || f.Why == "" {
				t.Fatalf("result %s, rule %v, problems %v", f.Result, f.Rule, f.Problems)
			}
			if !slices.ContainsFunc(errs, func(d diag.Diagnostic) bool { return strings.Contains(d.String(), row.want) }) {
				t.Errorf("want %s\ngot\n%s", row.want, f.Problems.Render())
			}
		})
	}
}

func TestUnknownFieldsAreWarnings(t *testing.T) {
	t.Parallel()
	f := loadText(t, minimal(`== "sh"`, `== "sh" and process.pe.original_file_name == "x"`))
	if f.Result != Loaded || len(f.Problems) != 1 || len(f.Rule.Warnings) != 1 {
		t.Fatalf("%s\n%s", f.Result, f.Problems.Render())
	}
	if got := f.Problems[0].String(); !strings.HasPrefix(got, "dir/a_rule.toml:12:40: warning: rule.query: unknown field process.pe.original_file_name") {
		t.Error(got)
	}
}

// What would change the results and is not applied is said.
func TestWhatIsIgnoredIsSaid(t *testing.T) {
	t.Parallel()
	f := loadText(t, minimal(`references`, ``)+`
references = ["https://example.com/", "javascript:alert(1)"]
event_category_override = "event.category"
[rule.alert_suppression]
group_by = ["process.name"]
[[rule.filters]]
query = "x"
[[rule.exceptions_list]]
id = "x"
`)
	got := make([]string, 0, len(f.Problems))
	for _, d := range f.Problems {
		got = append(got, d.Severity.String()+" "+strings.SplitN(d.Message, " is ", 2)[0])
	}
	want := []string{"warning rule.references: [1]", "warning rule.alert_suppression:", "warning rule.filters:", "warning rule.exceptions_list:"}
	if diff := cmp.Diff(want, got); diff != "" || f.Result != Loaded {
		t.Errorf("%s %s\n%s", f.Result, f.Why, diff)
	}
	if diff := cmp.Diff([]string{"https://example.com/"}, f.Rule.References); diff != "" {
		t.Error(diff)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long_", 20)
	for path, want := range map[string]string{
		"a/b/execution_user_exec.toml": "execution-user-exec",
		"Odd  File.name_ .toml":        "odd-file-name",
		"--.toml":                      "rule-5dc7b03f",
		long + "a.toml":                "long-long-long-long-long-long-long-long-long-long-long-35b3b68e",
		long + "b.toml":                "long-long-long-long-long-long-long-long-long-long-long-47cd4905",
	} {
		if got := nameOf(path); got != want || len(got) > maxName {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestSameRuleTwice(t *testing.T) {
	t.Parallel()
	found := load(t, map[string]string{
		"a/one.toml": minimal(), "b/copy_of_one.toml": minimal(), "c/one.toml": minimal(`rule_id = "1"`, `rule_id = "2"`),
		"d/no_id.toml": minimal(`rule_id = "1"`, ``), "e/no_id_either.toml": minimal(`rule_id = "1"`, ``),
	})
	got := make([]string, 0, len(found.Files))
	for _, f := range found.Files {
		got = append(got, fmt.Sprintf("%s: %s %s", f.Path, f.Result, f.Why))
	}
	want := []string{
		"dir/a/one.toml: loaded ",
		"dir/b/copy_of_one.toml: left out it is the same rule as dir/a/one.toml: both have the rule_id 1",
		"dir/c/one.toml: broken a rule is called like its file, and dir/a/one.toml is called one as well: rename one of them",
		"dir/d/no_id.toml: loaded ", "dir/e/no_id_either.toml: loaded ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if set, err := found.Set(); err != nil || set.Len() != 3 {
		t.Errorf("%d rules, %v", set.Len(), err)
	}
}

// One broken file leaves the others as they are.
func TestOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	found := load(t, map[string]string{"a.toml": "[[[", "b.toml": minimal(), "c.toml": "a = 1", "d.toml": minimal("sh\"", "sh")})
	if found.Count(Loaded) != 1 || found.Count(Broken) != 2 || len(found.Files) != 3 {
		t.Errorf("%+v", found.Files)
	}
	if errs := found.Problems().Errors(); len(errs) < 2 {
		t.Errorf("%v", errs)
	}
}

func TestReadingFails(t *testing.T) {
	t.Parallel()
	if _, err := Load(filepath.Join(t.TempDir(), "none"), options()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := LoadFiles([]string{filepath.Join(t.TempDir(), "none")}, options()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Load(t.TempDir(), rule.Options{}); err == nil || !strings.Contains(err.Error(), "Schema") {
		t.Errorf("no schema: %v", err)
	}
	one := filepath.Join("testdata", "collection", "rules_building_block", "discovery_who_am_i.toml")
	if found, err := LoadFiles([]string{one}, options()); err != nil || found.Count(Loaded) != 1 {
		t.Errorf("one file: %v, %v", found, err)
	}
}

func TestHostileFilesCostLittle(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"deep arrays":  "x = " + strings.Repeat("[", 200_000),
		"deep tables":  "x = " + strings.Repeat("{a=", 200_000),
		"dotted key":   strings.Repeat("a.", 200_000) + "a = 1",
		"many tables":  strings.Repeat("[[rule.threat]]\n", 50_000),
		"many threats": minimal() + strings.Repeat("[[rule.threat]]\n[rule.threat.tactic]\nid='TA0001'\n[[rule.threat.technique]]\nid='T1609'\n", 8_000),
		"long query":   minimal(`"sh"`, `"`+strings.Repeat("x", 200<<10)+`"`),
		"deep query":   minimal(`process.name == "sh"`, strings.Repeat("(", 50_000)+"true"+strings.Repeat(")", 50_000)),
		"wide query":   minimal(`"sh"`, `"sh"`+strings.Repeat(` or process.name == "a"`, 5_000)),
		"rude name":    minimal("Minimal", `\u001b[2J\u202e`, `"eql"`, `"\u001b[31m"`),
		"open string":  "x = '''" + strings.Repeat("\n", 500_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := load(t, map[string]string{"a.toml": text})
			if shown := found.Problems().Render(); len(shown) > 64<<10 || strings.ContainsRune(shown, 0x1b) {
				t.Errorf("%d bytes of problems", len(shown))
			}
			for _, f := range found.Files {
				if len(f.Why) > 4096 || (f.Rule == nil) == (f.Result == Loaded) {
					t.Errorf("result %s, rule %v, %d bytes of why", f.Result, f.Rule, len(f.Why))
				}
				if f.Rule != nil && len(f.Rule.Threats) > maxList {
					t.Errorf("%d threats", len(f.Rule.Threats))
				}
			}
		})
	}
}

// FuzzParse: a file has a rule or a reason; places of problems are inside the file.
func FuzzParse(f *testing.F) {
	f.Add(minimal())
	f.Add("rule = {name = \"x\", type = \"eql\", query = \"any where \\u00e9\"}")
	for _, path := range []string{"collection/rules/integrations/cloud_defend/execution_quotes_multiline.toml", "collection/rules/integrations/kubernetes/execution_session_by_person.toml"} {
		text, err := os.ReadFile(filepath.Join("testdata", path))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	o := options()
	f.Fuzz(func(t *testing.T, text string) {
		found, err := LoadFS(fstest.MapFS{"f.toml": {Data: []byte(text)}}, "", o)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found.Files {
			if (file.Rule != nil) != (file.Result == Loaded) || (file.Why == "") != (file.Result == Loaded) {
				t.Fatalf("%+v", file)
			}
			if (file.Result == Broken) != file.Problems.HasErrors() {
				t.Fatalf("%s with %v", file.Result, file.Problems)
			}
			for _, d := range file.Problems {
				if d.Span.Start < 0 || int(d.Span.End) > len(text) || d.Span.End < d.Span.Start {
					t.Fatalf("%v is outside of the file of %d bytes", d.Span, len(text))
				}
			}
			_ = file.Problems.Render()
		}
	})
}
