package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

// TestJudge: what the comparison must find, by two pods of one name, the first of which read its token and used it.
func TestJudge(t *testing.T) {
	begin := time.Unix(1e9, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	first := &pod{namespace: "team", name: "web", uid: "uid-1", asked: at(0), made: at(0), gone: at(60), acts: []act{
		{kind: readToken, at: at(50), mark: "read"}, {kind: request, at: at(51), mark: "ask"},
	}}
	second := &pod{namespace: "team", name: "web", uid: "uid-2", asked: at(60), made: at(60), acts: []act{
		{kind: request, at: at(61), mark: "early", nameless: true}, {kind: request, at: at(90), mark: "ask-2", nameless: true},
	}}
	pods := []*pod{first, second}
	told := func(uid, done, state string, candidates ...string) serverprocess.Detection {
		var d serverprocess.Detection
		d.Rule.ID, d.Event.ID = tokenRule, uid+done
		d.Orchestrator.Resource.ID, d.Process.EntityID, d.UserAgent.Original = uid, "read", "curl "+done
		p := &d.Portcullis.Detection
		p.State, p.Confidence, p.Action = state, "exact", "none"
		if len(candidates) > 0 {
			p.Confidence, p.Candidates = "ambiguous", candidates
		}
		return d
	}
	right := []serverprocess.Detection{told("uid-1", "ask", provisional), told("uid-1", "ask", final)}
	both := []string{"uid-1", "uid-2"}
	for name, test := range map[string]struct {
		lines []serverprocess.Detection
		want  score
	}{
		"right":                         {right, score{1, 1, 0, 0, 0}},
		"final as it was told":          {right[:1], score{1, 1, 0, 0, 0}},
		"nothing":                       {nil, score{1, 0, 0, 1, 0}},
		"taken back":                    {append(right[:1:1], told("uid-1", "ask", superseded)), score{1, 0, 0, 1, 0}},
		"told again":                    {append(right[:2:2], right[1]), score{1, 1, 0, 0, 1}},
		"something else after the end":  {append(right[:2:2], told("uid-1", "ask", final, both...), right[1]), score{1, 1, 1, 0, 0}},
		"another's":                     {append(right[:2:2], told("uid-1", "ask-2", final)), score{1, 2, 1, 0, 0}},
		"another's for a while":         {append(right[:2:2], told("uid-1", "ask-2", provisional), told("uid-1", "ask-2", superseded)), score{1, 1, 1, 0, 0}},
		"perhaps another's, rightly":    {append(right[:2:2], told("uid-1", "early", final, both...)), score{1, 1, 0, 0, 0}},
		"perhaps another's, needlessly": {append(right[:2:2], told("uid-1", "ask-2", final, both...)), score{1, 2, 1, 0, 0}},
		"perhaps another's than all":    {append(right[:2:2], told("uid-1", "early", final, "uid-1", "uid-3")), score{1, 2, 1, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			rules := chains(time.Minute)
			j := &judge{chains: rules, want: truth(pods, rules), acts: index(pods), evidence: newEvidence(pods, nil, nil)}
			j.run(test.lines)
			if diff := cmp.Diff(test.want, j.score, cmp.AllowUnexported(score{})); diff != "" {
				t.Errorf("%s\n%v", diff, j.complaints)
			}
		})
	}
}

// TestRecordedForms: every kind of event can be made of the recorded ones, and says what it has to.
func TestRecordedForms(t *testing.T) {
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{namespace: "team-7", name: "web-9", node: "node-3", uid: "uid-1"}
	got := map[string]auditFields{}
	take := func(name string, a act) {
		for _, s := range c.stages(p, a, 0) {
			var f auditFields
			if err := json.Unmarshal(s.event, &f); err != nil {
				t.Fatalf("%s: %v: %s", name, err, s.event)
			}
			got[name] = f
		}
	}
	take("request", act{kind: request, mark: "m1"})
	take("nameless", act{kind: request, mark: "m2", nameless: true})
	take("refused watch", act{kind: request, mark: "m3", refused: true, lasts: time.Minute})
	take("exec", act{kind: exec, mark: "m4", lasts: time.Minute})
	for name, want := range map[string][6]string{
		"request":       {"m1", "uid-1", "web-9", "team-7", complete, "list"},
		"nameless":      {"m2", "", "web-9", "team-7", complete, "list"},
		"refused watch": {"m3", "uid-1", "web-9", "team-7", complete, "watch"},
		"exec":          {"m4", "", "", "team-7", complete, "get"},
	} {
		f := got[name]
		found := [6]string{markOf(f.UserAgent), f.extra("pod-uid"), f.extra("pod-name"), f.ObjectRef.Namespace, f.Stage, f.Verb}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
