package rulebook

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
)

// elasticRule is a rule in Elastic's format.
func elasticRule(kind, query string) string {
	return fmt.Sprintf(`[metadata]
maturity = "production"

[rule]
name = "A shell"
description = "Somebody started a shell."
risk_score = 21
rule_id = "%s-%d"
severity = "low"
type = "%s"
language = "eql"
query = '''
%s
'''
`, kind, len(query), kind, query)
}

func TestSourcesOfAConfiguration(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse([]byte("shippedRules: false\nruleDirectories: [/a]\nelasticRuleDirectories: [/b]\nrules: {b: {mode: enforce}, a: {}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Sources{Directories: []string{"/a"}, Elastic: []string{"/b"}, Named: []string{"a", "b"}}
	if diff := cmp.Diff(want, SourcesOf(cfg)); diff != "" {
		t.Error(diff)
	}
	if !SourcesOf(config.Default()).Shipped {
		t.Error("the shipped rules are left out")
	}
}

func TestAllSourcesMakeOneSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "own", "a.yaml"), ruleText("a"))
	write(t, filepath.Join(dir, "own", "a_test.yaml"), "a test")
	write(t, filepath.Join(dir, "elastic", "shell_of_elastic.toml"), elasticRule("eql", `process where process.name == "sh"`))
	write(t, filepath.Join(dir, "elastic", "unsupported.toml"), elasticRule("threshold", "x: y"))
	s := Sources{Shipped: true, Directories: []string{filepath.Join(dir, "own")}, Elastic: []string{filepath.Join(dir, "elastic")}}
	loaded, err := s.Load(field.New())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "shell-of-elastic", "exec-into-pod"} {
		if loaded.Set.Get(name) == nil {
			t.Errorf("%s is not among %v", name, names(loaded.Set))
		}
	}
	if len(loaded.NotRun) != 1 || loaded.NotRun[0].Type != "threshold" {
		t.Errorf("what does not run is %+v", loaded.NotRun)
	}
}

// Everything that is wrong with all folders is told, each with its place.
func TestMistakesOfAllSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "own", "a.yaml"), broken("a"))
	write(t, filepath.Join(dir, "elastic", "b.toml"), elasticRule("eql", `process where process.name = "sh"`))
	s := Sources{Directories: []string{filepath.Join(dir, "own"), filepath.Join(dir, "none")}, Elastic: []string{filepath.Join(dir, "elastic")}}
	_, err := s.Load(field.New())
	for _, want := range []string{"a.yaml:9:24", "process.name?", "^^^", filepath.Join(dir, "none"), "b.toml:13:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not show %q:\n%v", want, err)
		}
	}
}
