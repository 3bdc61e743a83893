package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/config"
)

func TestCheckAcceptsTheShippedRules(t *testing.T) {
	var out bytes.Buffer
	if err := Check(config.Default(), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "6 rules are right") {
		t.Errorf("said %q", out.String())
	}
}

func TestCheckPointsAtAMistake(t *testing.T) {
	dir := t.TempDir()
	text := `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: mine}
spec:
  title: Mine
  description: A rule with a mistake.
  severity: low
  riskScore: 1
  query: |
    process where process.nam == "sh"
`
	if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.RuleDirectories = []string{dir}
	err := Check(cfg, &bytes.Buffer{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"mine.yaml:10:19", "^", "process.name"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not show %q:\n%v", want, err)
		}
	}
}

func TestSettingsOfUnknownRulesAreRefused(t *testing.T) {
	cfg := config.Default()
	cfg.Rules = map[string]config.RuleConfig{"no-such-rule": {Mode: config.Enforce}}
	if err := Check(cfg, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "no-such-rule") {
		t.Errorf("got %v", err)
	}
}

func TestMissingRuleDirectoryIsAnError(t *testing.T) {
	cfg := config.Default()
	cfg.RuleDirectories = []string{"/does/not/exist"}
	if err := Check(cfg, &bytes.Buffer{}); err == nil {
		t.Error("no error")
	}
}
