package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const uid = "11111111-2222-3333-4444-555555555555"

// happened is a pod whose token was used: one detection, one quarantine.
func happened() *story {
	return &story{plot: tokenUsed, mark: "m", rules: []string{tokenRule}, pod: &pod{namespace: "shop", name: "web-0", uid: uid}}
}

// tell is a notice of it, as it should be.
func tell(life int, change func(*notice)) notice {
	n := notice{life: life}
	n.Rule.ID, n.Event.ID, n.Kubernetes.Audit.AuditID = tokenRule, "id-1", "m"
	n.Orchestrator.Resource.ID = uid
	n.Portcullis.Detection.Action, n.Portcullis.Detection.State = "quarantine", "provisional"
	if change != nil {
		change(&n)
	}
	return n
}

// withEvent makes a notice of one event.
func withEvent(id string) func(*notice) {
	return func(n *notice) {
		events := &n.Portcullis.Detection.Events
		*events = slices.Grow(*events, 1)[:1]
		(*events)[0].ID = id
	}
}

func TestJudge(t *testing.T) {
	inQuarantine := map[string]bool{uid: true}
	for name, test := range map[string]struct {
		story   func(*story)
		seen    evidence
		want    verdict
		because string
	}{
		"all is well": {
			seen: evidence{notices: []notice{tell(1, nil), tell(1, func(n *notice) { n.Portcullis.Detection.State = "final" })}, quarantined: inQuarantine},
			want: verdict{expected: 1, made: 1, notices: 2, quarantines: 1},
		},
		"nobody was told": {
			seen:    evidence{quarantined: inQuarantine},
			want:    verdict{expected: 1, lost: 1, quarantines: 1},
			because: "lost: " + tokenRule,
		},
		"nobody was told after damage": {
			story: func(s *story) { s.atRisk = true },
			want:  verdict{expected: 1, damaged: 1},
		},
		"not made, as it came too late": {
			story: func(s *story) { s.late, s.rules = true, []string{clientRule} },
			want:  verdict{expected: 1, tooLate: 1},
		},
		"not made, and came too late for others": {
			story:   func(s *story) { s.late = true },
			seen:    evidence{quarantined: inQuarantine},
			want:    verdict{expected: 1, lost: 1, quarantines: 1},
			because: "lost: " + tokenRule,
		},
		"told again after a kill": {
			seen: evidence{notices: []notice{tell(1, nil), tell(2, nil)}, quarantined: inQuarantine},
			want: verdict{expected: 1, made: 1, notices: 2, repeated: 1, quarantines: 1},
		},
		"told again after a graceful stop": {
			seen:    evidence{notices: []notice{tell(1, nil), tell(2, nil)}, graceful: map[int]bool{1: true}, quarantined: inQuarantine},
			want:    verdict{expected: 1, made: 1, doubled: 1, notices: 2, quarantines: 1},
			because: "told twice",
		},
		"told again by the same process": {
			seen:    evidence{notices: []notice{tell(1, nil), tell(1, nil)}, quarantined: inQuarantine},
			want:    verdict{expected: 1, made: 1, doubled: 1, notices: 2, quarantines: 1},
			because: "told twice",
		},
		"told again with other gaps": {
			seen: evidence{notices: []notice{tell(1, nil), tell(1, func(n *notice) { n.coverage = "holes" })}, quarantined: inQuarantine},
			want: verdict{expected: 1, made: 1, notices: 2, updated: 1, quarantines: 1},
		},
		"told differently after a kill": {
			seen:    evidence{notices: []notice{tell(1, nil), tell(2, func(n *notice) { n.Process.EntityID = "another" })}, quarantined: inQuarantine},
			want:    verdict{expected: 1, made: 1, doubled: 1, notices: 2, quarantines: 1},
			because: "told in two ways",
		},
		"told of another event after that was forgotten": {
			story: func(s *story) { s.forgotten = true },
			seen:  evidence{notices: []notice{tell(1, nil), tell(2, withEvent("another"))}, quarantined: inQuarantine},
			want:  verdict{expected: 1, made: 1, repeated: 1, notices: 2, quarantines: 1},
		},
		"told of another event": {
			seen:    evidence{notices: []notice{tell(1, nil), tell(2, withEvent("another"))}, quarantined: inQuarantine},
			want:    verdict{expected: 1, made: 1, doubled: 1, notices: 2, quarantines: 1},
			because: "told in two ways",
		},
		"two ids": {
			seen:    evidence{notices: []notice{tell(1, nil), tell(2, func(n *notice) { n.Event.ID = "id-2" })}, quarantined: inQuarantine},
			want:    verdict{expected: 1, made: 1, doubled: 1, notices: 2, quarantines: 1},
			because: "[id-1 id-2]",
		},
		"of another pod": {
			seen:    evidence{notices: []notice{tell(1, func(n *notice) { n.Orchestrator.Resource.ID = "other" })}, quarantined: inQuarantine},
			want:    verdict{expected: 1, wrong: 1, lost: 1, notices: 1, quarantines: 1},
			because: "is said to be of other",
		},
		"of what did not happen": {
			seen:    evidence{notices: []notice{tell(1, nil), tell(1, func(n *notice) { n.Kubernetes.Audit.AuditID = "x" })}, quarantined: inQuarantine},
			want:    verdict{expected: 1, made: 1, wrong: 1, notices: 2, quarantines: 1},
			because: "nothing that happened",
		},
		"taken back": {
			seen:    evidence{notices: []notice{tell(1, nil), tell(1, func(n *notice) { n.Portcullis.Detection.State = "superseded" })}, quarantined: inQuarantine},
			want:    verdict{expected: 1, made: 1, wrong: 1, notices: 2, quarantines: 1},
			because: "taken back",
		},
		"nothing done about it": {
			seen:    evidence{notices: []notice{tell(1, func(n *notice) { n.Portcullis.Detection.Action = "none" })}, quarantined: inQuarantine},
			want:    verdict{expected: 1, wrong: 1, lost: 1, notices: 1, quarantines: 1},
			because: "action is none",
		},
		"not in quarantine": {
			seen:    evidence{notices: []notice{tell(1, nil)}},
			want:    verdict{expected: 1, made: 1, notices: 1, quarantines: 1, quarantinesWrong: 1},
			because: "is not in quarantine",
		},
		"released": {
			seen: evidence{notices: []notice{tell(1, nil)}, released: inQuarantine},
			want: verdict{expected: 1, made: 1, notices: 1, released: 1},
		},
		"released, and that forgotten": {
			seen: evidence{notices: []notice{tell(1, nil)}, released: inQuarantine, quarantined: inQuarantine, forgotten: inQuarantine},
			want: verdict{expected: 1, made: 1, notices: 1, released: 1, undone: 1},
		},
		"released, and in quarantine again": {
			seen:    evidence{notices: []notice{tell(1, nil)}, released: inQuarantine, quarantined: inQuarantine},
			want:    verdict{expected: 1, made: 1, notices: 1, released: 1, quarantinesWrong: 1},
			because: "was released and is in quarantine again",
		},
		"released, and in quarantine for a while": {
			seen:    evidence{notices: []notice{tell(1, nil)}, released: inQuarantine, returned: inQuarantine},
			want:    verdict{expected: 1, made: 1, notices: 1, released: 1, quarantinesWrong: 1},
			because: "for a while",
		},
		"an innocent pod in quarantine": {
			story: func(s *story) { s.rules = nil },
			seen:  evidence{quarantined: inQuarantine},
			want:  verdict{quarantinesWrong: 1}, because: "has done nothing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := happened()
			if test.story != nil {
				test.story(s)
			}
			got := judge([]*story{s}, test.seen)
			said := strings.Join(got.complaints, "\n")
			if !strings.Contains(said, test.because) || test.because == "" && said != "" {
				t.Errorf("it says %q", said)
			}
			got.complaints = nil
			if diff := cmp.Diff(&test.want, got, cmp.AllowUnexported(verdict{})); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}
