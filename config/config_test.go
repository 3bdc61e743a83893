package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEmptyFileIsTheDefault(t *testing.T) {
	c, err := Parse(nil)
	if err != nil {
		t.Fatalf("Parse of an empty file: %v", err)
	}
	if c.Mode != Observe || !*c.ShippedRules || c.Lateness.Duration != 2*time.Minute {
		t.Errorf("an empty file means %+v", c)
	}
}

func TestFileOverridesDefault(t *testing.T) {
	c, err := Parse([]byte("mode: enforce\nrules: {exec-into-pod: {mode: observe}}\naudit: {listen: '127.0.0.1:0'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode != Enforce || c.Rules["exec-into-pod"].Mode != Observe || c.Audit.Listen != "127.0.0.1:0" {
		t.Errorf("got %+v", c)
	}
	if c.Audit.CanaryConfigMap != "portcullis-canary" {
		t.Errorf("a key beside an overridden one lost its default: %+v", c.Audit)
	}
}

func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":   {"mood: enforce", []string{"mood"}},
		"not YAML":      {"mode: [", []string{"decode configuration"}},
		"every one":     {"mode: deny\nlateness: 5h\nmaxSpan: 0s\ndataDirectory: data\nwebhook: {listen: nowhere}", []string{"mode:", "lateness:", "maxSpan:", "dataDirectory:", "webhook.listen:"}},
		"rule mode":     {"rules: {x: {mode: loud}}", []string{"rules[x].mode", `"observe"`}},
		"extra name":    {"pki: {extraNames: ['not a name']}", []string{"pki.extraNames[0]"}},
		"token on http": {"notify: {http: {url: 'http://siem', bearerTokenFile: /t}}", []string{"notify.http.url", "https"}},
		"not a url":     {"notify: {http: {url: 'siem'}}", []string{"notify.http.url"}},
		"token no url":  {"notify: {http: {bearerTokenFile: /t}}", []string{"notify.http.url"}},
		"canary":        {"audit: {canaryPeriod: 1ms}", []string{"audit.canaryPeriod"}},
		"no body":       {"audit: {maxBodyMegabytes: 0}", []string{"audit.maxBodyMegabytes"}},
		"huge body":     {"audit: {maxBodyMegabytes: 65}", []string{"audit.maxBodyMegabytes"}},
		"tokens":        {"pki: {sinkTokensSecret: A}", []string{"pki.sinkTokensSecret"}},
		"rule dir":      {"ruleDirectories: [rules]", []string{"ruleDirectories[0]"}},
		"elastic dir":   {"elasticRuleDirectories: [/ok, rules]", []string{"elasticRuleDirectories[1]"}},
		"name":          {"namespace: 'Bad Name'", []string{"namespace:"}},
		"store": {"store: {maxMegabytes: 1000, busMaxMegabytes: 1, reserve: -1s}",
			[]string{"store.busMaxMegabytes", "store.reserve"}},
		"files": {"pki: {servingFiles: {certificate: a}}\nwebhook: {clientCAFile: b}", []string{"pki.servingFiles", "pki.servingFiles.certificate", "webhook.clientCAFile"}},
		"gate": {"gate: {failMode: shut, breakGlassGroups: [''], barrier: {timeout: 1m}, breaker: {perRulePerHour: 0}}",
			[]string{"gate.failMode", "gate.breakGlassGroups[0]", "gate.barrier.timeout", "gate.breaker.perRulePerHour"}},
		"store too small": {"store: {maxMegabytes: 1000}", []string{"store.maxMegabytes", "at least 1664"}},
		"telemetry log": {"telemetryLog: {path: log, maxMegabytes: 0, maxFiles: -1}",
			[]string{"telemetryLog.path", "telemetryLog.maxMegabytes", "telemetryLog.maxFiles"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tc.text))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("mode: deny"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name the file", err)
	}
	if _, err := Load(path + "x"); err == nil {
		t.Error("a missing file is no error")
	}
}
