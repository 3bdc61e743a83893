package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

// score is one line of the comparison.
type score struct {
	expected, made, wrong, missed, doubled int
}

func (s score) perfect() bool { return s.wrong == 0 && s.missed == 0 && s.doubled == 0 }

// verdict is what became of the detections that the server made.
type verdict struct {
	score
	// takenBack were true chains that later events put together otherwise, and said to be superseded.
	takenBack int
	// unsure said themselves that the pod may be another, and named the right one among the candidates.
	unsure int
	// toldAgain are lines that repeat one that was told right before the server was killed.
	toldAgain int
	// complaints say what is not as it should be.
	complaints []string
}

// killed is one end of the server, by what it had told: a while before, and then.
type killed struct{ settled, end int64 }

// judge compares what the server told with the truth. To tell something again is a doubled detection, unless it was
// told right before the server was killed: then it cannot know that it has told it.
func judge(lines []serverprocess.Detection, kills []killed, want map[expected]bool, acts byMark) *verdict {
	v := &verdict{score: score{expected: len(want)}}
	last := map[string]serverprocess.Detection{}
	var order []string
	for _, d := range lines {
		if !slices.Contains(judged(), d.Rule.ID) {
			continue
		}
		before, known := last[d.Event.ID]
		switch {
		case !known:
			order = append(order, d.Event.ID)
		case same(before, d):
			v.repeated(before, d, kills)
		}
		last[d.Event.ID] = d
	}
	found := map[expected]bool{}
	for _, id := range order {
		v.weigh(last[id], want, found, acts)
	}
	for _, e := range sorted(want) {
		if !found[e] {
			v.missed++
			v.complain("missed: %s of %s, completed by %s", e.rule, describe(acts[e.mark].pod), e.mark)
		}
	}
	return v
}

// same reports whether nothing is new in what is told of a detection.
func same(a, b serverprocess.Detection) bool {
	x, y := a.Portcullis.Detection, b.Portcullis.Detection
	if x.State != y.State || len(x.Events) != len(y.Events) {
		return false
	}
	for i := range x.Events {
		if x.Events[i].ID != y.Events[i].ID {
			return false
		}
	}
	return true
}

func (v *verdict) repeated(before, again serverprocess.Detection, kills []killed) {
	if slices.ContainsFunc(kills, func(k killed) bool {
		return k.settled <= before.Offset && before.Offset < k.end && k.end <= again.Offset
	}) {
		v.toldAgain++
		return
	}
	v.doubled++
	v.complain("doubled: %s %s was told at %s, and again with nothing new", again.Rule.ID, again.Event.ID, before.Event.Created.Format("15:04:05.000"))
}

// weigh judges one detection by the last that was told of it.
func (v *verdict) weigh(d serverprocess.Detection, want, found map[expected]bool, acts byMark) {
	mark := strings.TrimPrefix(d.UserAgent.Original, agentPrefix)
	done, ok := acts[mark]
	if !ok {
		v.wrong++
		v.complain("wrong: %s is about nothing that happened: %+v", d.Rule.ID, d)
		return
	}
	e := expected{d.Rule.ID, done.pod.uid, mark}
	sure := d.Orchestrator.Resource.ID == done.pod.uid
	candidate := d.Portcullis.Detection.Confidence == "ambiguous" && slices.Contains(d.Portcullis.Detection.Candidates, done.pod.uid)
	own := trueChainOf(d, done, acts)
	switch {
	case d.Portcullis.Detection.State == "superseded" && sure && own:
		v.takenBack++
	case !sure && candidate && d.Portcullis.Detection.Action == "none" && (!want[e] || d.Rule.ID != execRule || found[e]):
		v.unsure++
	case !want[e] || !own || !sure && !candidate:
		v.made++
		v.wrong++
		v.complain("wrong: %s says that %s/%s (%s) did it, but %s of %s did; first act of %s; %s, %s", d.Rule.ID,
			d.Orchestrator.Namespace, d.Orchestrator.Resource.Name, d.Orchestrator.Resource.ID, mark, describe(done.pod),
			describe(acts[d.Process.EntityID].pod), d.Portcullis.Detection.Confidence, d.Portcullis.Detection.State)
	case found[e]:
		v.made++
		v.doubled++
		v.complain("doubled: %s of %s, completed by %s", e.rule, describe(done.pod), mark)
	default:
		v.made++
		found[e] = true
		if !sure {
			v.unsure++
		}
	}
}

// trueChainOf reports whether the detection's first act was done in the same pod, and such that the rule is right
// to say so.
func trueChainOf(d serverprocess.Detection, done owned, acts byMark) bool {
	if d.Rule.ID == execRule {
		return done.act.kind == exec
	}
	begun := acts[d.Process.EntityID]
	if begun.pod != done.pod {
		return false
	}
	for _, c := range chains() {
		if c.rule == d.Rule.ID {
			return c.trueChain(begun.act, done.act)
		}
	}
	return false
}

func (v *verdict) complain(format string, args ...any) {
	v.complaints = append(v.complaints, fmt.Sprintf(format, args...))
}

func describe(p *pod) string {
	if p == nil {
		return "nobody"
	}
	return fmt.Sprintf("%s/%s (%s on %s, %s to %s)", p.namespace, p.name, p.uid, p.node, p.made.Format("15:04:05.000"), p.gone.Format("15:04:05.000"))
}
