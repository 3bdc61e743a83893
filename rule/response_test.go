package rule

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// responding is a rule with that response.
func responding(response string) string {
	return minimal("  query", "  response: "+response+"\n  query")
}

func TestResponses(t *testing.T) {
	t.Parallel()
	pod := Quarantine{Subject: SubjectPod, Duration: time.Hour}
	with := func(change func(*Quarantine)) *Quarantine {
		q := pod
		change(&q)
		return &q
	}
	for text, want := range map[string]Response{
		"{deny: true}":        {Deny: true},
		"{killSession: true}": {KillSession: true},
		"{quarantine: {subject: pod, duration: 1h}}":                                {Quarantine: &pod},
		"{quarantine: {subject: pod, duration: 1h, ambiguous: deny}}":               {Quarantine: &pod},
		"{quarantine: {subject: pod, duration: 1h, ambiguous: allow}}":              {Quarantine: with(func(q *Quarantine) { q.Ambiguous = true })},
		"{quarantine: {subject: node, duration: 1h}}":                               {Quarantine: with(func(q *Quarantine) { q.Subject = SubjectNode })},
		"{quarantine: {subject: pod, duration: 1h, operations: [exec, proxy]}}":     {Quarantine: with(func(q *Quarantine) { q.Operations = []string{"exec", "proxy"} })},
		"{deny: true, killSession: true, quarantine: {subject: pod, duration: 1h}}": {Deny: true, KillSession: true, Quarantine: &pod},
	} {
		set, err := loadText(responding(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(&want, set.Get("minimal").Response); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
}

func TestMistakesInResponses(t *testing.T) {
	t.Parallel()
	quarantine := func(fields string) string { return responding("{quarantine: {" + fields + "}}") }
	sequence := strings.Replace(responding("{deny: true}"), "process where true", "'sequence by container.id [process where true] [process where true]'", 1)
	for name, row := range map[string]struct{ text, want string }{
		"nothing":   {responding("{}"), "rules/a.yaml:10:13: error: spec.response: needs one of the fields deny, quarantine, killSession"},
		"no word":   {responding("{deny: maybe}"), "rules/a.yaml:10:20: error: spec.response.deny: must be true or false"},
		"sequence":  {sequence, "rules/a.yaml:10:20: error: spec.response.deny: is for rules of a single event"},
		"subject":   {quarantine("subject: host, duration: 1h"), "rules/a.yaml:10:36: error: spec.response.quarantine.subject: must be one of pod, user"},
		"duration":  {quarantine("subject: pod, duration: 1d"), "rules/a.yaml:10:51: error: spec.response.quarantine.duration: must be a duration"},
		"operation": {quarantine("subject: pod, duration: 1h, operations: [log]"), "rules/a.yaml:10:68: error: spec.response.quarantine.operations[0]: must be one of exec, attach"},
		"ambiguous": {quarantine("subject: pod, duration: 1h, ambiguous: maybe"), "rules/a.yaml:10:66: error: spec.response.quarantine.ambiguous: must be one of deny, allow"},
		"user":      {quarantine("subject: user, duration: 1h, ambiguous: allow"), "rules/a.yaml:10:67: error: spec.response.quarantine.ambiguous: is for pods"},
		"unknown":   {quarantine("subject: pod, duration: 1h, mode: x"), `rules/a.yaml:10:55: error: spec.response.quarantine: unknown field "mode", known are subject, duration, operations, ambiguous`},
	} {
		_, err := loadText(row.text)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error is %v, want %s", name, err, row.want)
		}
	}
}
