package app

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

func TestCheckAcceptsTheShippedRules(t *testing.T) {
	var out bytes.Buffer
	if err := Check(config.Default(), &out); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^configuration and [1-9][0-9]* rules are right\n$`).MatchString(out.String()) {
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

func TestCheckSaysWhatDoesNotRun(t *testing.T) {
	dir := t.TempDir()
	text := "[metadata]\nmaturity = \"production\"\n\n[rule]\nname = \"Kube\"\nrule_id = \"1\"\nrisk_score = 1\nseverity = \"low\"\ntype = \"threshold\"\nquery = \"a: b\"\n"
	if err := os.WriteFile(filepath.Join(dir, "kube.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.ElasticRuleDirectories = []string{dir}
	var out bytes.Buffer
	if err := Check(cfg, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kube.toml", "not supported", " rules are right"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said:\n%s", want, out.String())
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

// A rule that is right by itself, and that the join cannot run.
func TestCheckRunsTheRules(t *testing.T) {
	cfg := config.Default()
	cfg.RuleDirectories = []string{t.TempDir()}
	text := strings.Replace(ruleText("long"), `any where event.action == "exec"`, "sequence with maxspan=400d [any where true] [any where true]", 1)
	if err := os.WriteFile(filepath.Join(cfg.RuleDirectories[0], "long.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(cfg, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "long") {
		t.Errorf("error is %v", err)
	}
}

// ruleText is a rule of that name.
func ruleText(name string) string {
	return `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: ` + name + `}
spec: {title: A rule, description: A rule., severity: low, riskScore: 1, query: 'any where event.action == "exec"'}
`
}

// ruleSet has rules of these names.
func ruleSet(t *testing.T, names ...string) *rule.Set {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range names {
		files[name+".yaml"] = &fstest.MapFile{Data: []byte(ruleText(name))}
	}
	set, err := rule.Load(files, rule.Options{Schema: field.New()})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// setter records the rules that it is to run.
type setter struct {
	got correlator.RuleOptions
	err error
}

func (s *setter) SetRules(r correlator.RuleOptions) error {
	s.got = r
	return s.err
}

// Changed rules run in the modes that the configuration says.
func TestChangedRulesKeepTheirSettings(t *testing.T) {
	s := &setter{err: errors.New("no room")}
	cfg := config.Default()
	cfg.Mode = config.Enforce
	cfg.Rules = map[string]config.RuleConfig{"a": {Mode: config.Observe}, "b": {}, "gone": {Mode: config.Enforce}}
	rules := ruleSet(t, "a", "b")
	if err := (ruleUser{config: cfg, correlator: s, retain: func(*rule.Set) { t.Error("the retention is that of rules that were refused") }}).UseRules(rules); !errors.Is(err, s.err) {
		t.Errorf("error is %v", err)
	}
	if s.got.Rules != rules || s.got.Mode != rule.Enforce || !cmp.Equal(s.got.Overrides, map[string]rule.Mode{"a": rule.Observe}) {
		t.Errorf("asked for %+v", s.got)
	}
}

// What became of changed rule files is an Event on the server's pod.
func TestChangesOfRulesAreToldOnTheServersPod(t *testing.T) {
	pod := event.Pod{Namespace: "portcullis", Name: "portcullis-0", UID: "uid-0"}
	for name, row := range map[string]struct {
		failure            error
		kind, reason, note string
	}{
		"success": {nil, "Normal", "RulesChanged", "in force"},
		"failure": {errors.New("rules in /r: a.yaml:9:24: error: " + strings.Repeat("é", 2000)), "Warning", "RulesRefused", "a.yaml:9:24"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			written, err := client.EventsV1().Events(pod.Namespace).Watch(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer written.Stop()
			s, err := newSelf(pod, client, quiet())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.start(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer s.broadcaster.Shutdown()
			ruleUser{self: s}.RulesChanged(row.failure)
			got := (<-written.ResultChan()).Object.(*eventsv1.Event)
			if got.Type != row.kind || got.Reason != row.reason || !strings.Contains(got.Note, row.note) || len(got.Note) > 1024 {
				t.Errorf("wrote %+v", got)
			}
			if r := got.Regarding; r.Kind != "Pod" || r.Name != pod.Name || string(r.UID) != pod.UID {
				t.Errorf("it regards %+v", r)
			}
		})
	}
}

func TestServerOutsideOfAPodTellsNobody(t *testing.T) {
	s, err := newSelf(event.Pod{}, fake.NewClientset(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	s.tell("RulesChanged", "nobody hears this")
	s.broadcaster.Shutdown()
	if _, err := newSelf(event.Pod{Name: "portcullis-0"}, fake.NewClientset(), quiet()); err == nil {
		t.Error("a pod that is half known is no error")
	}
}
