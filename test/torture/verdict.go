package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

// score is one line of the comparison.
type score struct {
	expected, made, wrong, missed, doubled int
}

func (s score) perfect() bool { return s.wrong == 0 && s.missed == 0 && s.doubled == 0 }

// verdict is what became of the detections that the server made. What is made are its final ones.
type verdict struct {
	score
	// provisional are the detections that were told before they were final, each as often as it changed.
	provisional int
	// silent became final as they were told, and were not told again.
	silent int
	// takenBack were true chains that later events put together otherwise, and said to be superseded.
	takenBack int
	// unsure are final detections of the right pod that name others as well, aside those of another pod which say
	// themselves that it may be the right one. Nobody could know; where somebody could, they are wrong.
	unsure, aside int
	// repeated are lines that say what was said right before the server was killed, word for word.
	repeated int
	// holes are how many final detections speak of something unseen, by its cause; lasting those of requests that last.
	holes, lasting map[string]int
	// complaints say what is not as it should be.
	complaints []string
}

// killed is one end of the server: what it had told a while before, and then, and when it was there again.
type killed struct {
	settled, end int64
	at, back     time.Time
}

// judge is who compares what the server told with the truth.
type judge struct {
	*verdict
	chains   []chain
	kills    []killed
	want     map[expected]bool
	acts     byMark
	evidence *evidence

	// told is what was told of each detection, in order.
	told  map[string][]serverprocess.Detection
	found map[expected]bool
	// accused are the detections that are wrong: each once, however often it was told.
	accused map[string]bool
}

// accuse counts a detection as wrong.
func (j *judge) accuse(d serverprocess.Detection, format string, args ...any) {
	if !j.accused[d.Event.ID] {
		j.accused[d.Event.ID] = true
		j.wrong++
		j.complain("wrong: "+format, args...)
	}
}

// run judges all that was told. Order has the detections by when they were told first.
func (j *judge) run(lines []serverprocess.Detection) {
	j.verdict = &verdict{score: score{expected: len(j.want)}, holes: map[string]int{}, lasting: map[string]int{}}
	j.told, j.found, j.accused = map[string][]serverprocess.Detection{}, map[expected]bool{}, map[string]bool{}
	var order []string
	for _, d := range lines {
		if !j.judged(d.Rule.ID) {
			continue
		}
		before := j.told[d.Event.ID]
		if len(before) == 0 {
			order = append(order, d.Event.ID)
		}
		j.hear(before, d)
	}
	for _, id := range order {
		told := j.told[id]
		j.conclude(told[len(told)-1])
	}
	for _, e := range sorted(j.want) {
		if !j.found[e] {
			j.missed++
			j.complain("missed: %s of %s, completed by %s%s", e.rule, describe(j.acts[e.mark].pod), e.mark, how(j.acts[e.mark].act))
		}
	}
}

// judged reports whether the simulation knows of a rule what it must detect.
func (j *judge) judged(rule string) bool {
	return rule == execRule || slices.ContainsFunc(j.chains, func(c chain) bool { return c.rule == rule })
}

// hear takes one line. To say something again is a doubled detection, unless it was said right
// before the server was killed: then it cannot know that it has said it. To say something else after the end is wrong.
func (j *judge) hear(before []serverprocess.Detection, d serverprocess.Detection) {
	if n := len(before); n > 0 {
		last := before[n-1]
		if same(last, d) {
			j.repeat(last, d)
			return
		}
		if last.Portcullis.Detection.State == final {
			j.accuse(d, "%s %s was final, and is %s now: %s", d.Rule.ID, d.Event.ID, d.Portcullis.Detection.State, content(d))
		}
	}
	j.told[d.Event.ID] = append(before, d)
	if d.Portcullis.Detection.State == provisional {
		j.provisional++
		if done, ok := j.acts[markOf(d.UserAgent.Original)]; ok && !j.isTrue(d, done) {
			j.accuse(d, "provisional, and not true: %s", j.describe(d))
		}
	}
}

// The states of a detection.
const (
	provisional = "provisional"
	final       = "final"
	superseded  = "superseded"
)

// same reports whether nothing is new in what is told of a detection.
func same(a, b serverprocess.Detection) bool { return content(a) == content(b) }

// content is what a line says of a detection.
func content(d serverprocess.Detection) string {
	p := d.Portcullis.Detection
	events := make([]string, len(p.Events))
	for i, e := range p.Events {
		events[i] = e.ID
	}
	return fmt.Sprint(p.State, p.SupersededBy, d.Orchestrator.Resource, p.Confidence, p.Candidates, p.Action, events)
}

func (j *judge) repeat(before, again serverprocess.Detection) {
	if slices.ContainsFunc(j.kills, func(k killed) bool {
		return k.settled <= before.Offset && before.Offset < k.end && k.end <= again.Offset
	}) {
		j.repeated++
		return
	}
	j.doubled++
	j.complain("doubled: %s %s was told at %s, and again with nothing new", again.Rule.ID, again.Event.ID, before.Event.Created.Format("15:04:05.000"))
}

// conclude judges one detection by the last that was told of it.
func (j *judge) conclude(d serverprocess.Detection) {
	done, ok := j.acts[markOf(d.UserAgent.Original)]
	if !ok {
		j.accuse(d, "%s is about nothing that happened: %+v", d.Rule.ID, d)
		return
	}
	switch d.Portcullis.Detection.State {
	case superseded:
		j.takenBack++
		if by := d.Portcullis.Detection.SupersededBy; by != "" && j.told[by] == nil {
			j.accuse(d, "superseded by %s, of which nothing was told: %s", by, j.describe(d))
		}
	case provisional: // It became final just as it was told.
		j.silent++
		j.weigh(d, done)
	default:
		j.weigh(d, done)
	}
}

// weigh judges a final detection.
func (j *judge) weigh(d serverprocess.Detection, done owned) {
	e := expected{d.Rule.ID, done.pod.uid, markOf(d.UserAgent.Original)}
	j.lookForHoles(d, done)
	switch {
	case !j.isTrue(d, done):
		j.made++
		j.accuse(d, "%s", j.describe(d))
	case !right(d, done) && d.Rule.ID != execRule: // The one of the right pod is another detection.
		j.aside++
	case !j.want[e]:
		j.made++
		j.accuse(d, "no such thing was to be detected: %s", j.describe(d))
	case j.found[e]:
		j.made++
		j.doubled++
		j.complain("doubled: %s", j.describe(d))
	default:
		j.made++
		j.found[e] = true
		if ambiguous(d) {
			j.unsure++
		}
	}
}

// lookForHoles counts a detection by the causes that it names.
func (j *judge) lookForHoles(d serverprocess.Detection, done owned) {
	causes := map[string]bool{}
	for _, h := range d.Portcullis.Detection.Coverage.Holes {
		causes[h.Cause] = true
	}
	for cause := range causes {
		j.holes[cause]++
		if done.act.lasts > 0 {
			j.lasting[cause]++
		}
	}
}

// isTrue reports whether what is said is true: it was the pod, by a chain of its acts, or it is said that the
// pod may be another, the right one among them, and nobody could have known, and nothing is done about it.
func (j *judge) isTrue(d serverprocess.Detection, done owned) bool {
	if ambiguous(d) {
		p := d.Portcullis.Detection
		if j.evidence.suffices(done.pod, done.act) || p.Action != "none" || !slices.Contains(p.Candidates, done.pod.uid) {
			return false
		}
		return j.isChain(d, done)
	}
	return right(d, done) && j.isChain(d, done)
}

func ambiguous(d serverprocess.Detection) bool {
	return d.Portcullis.Detection.Confidence == "ambiguous"
}

// right reports whether the detection names the pod that did it. An exec is named by the API server: there may be
// no saying whom it meant.
func right(d serverprocess.Detection, done owned) bool {
	return d.Orchestrator.Resource.ID == done.pod.uid
}

// isChain reports whether the detection's first act was done in the pod that it names, and such that the rule is right
// to say so.
func (j *judge) isChain(d serverprocess.Detection, done owned) bool {
	if d.Rule.ID == execRule {
		return done.act.kind == exec
	}
	begun := j.acts[d.Process.EntityID]
	if begun.pod == nil || begun.pod.uid != d.Orchestrator.Resource.ID {
		return false
	}
	return slices.ContainsFunc(j.chains, func(c chain) bool { return c.rule == d.Rule.ID && c.trueChain(begun.act, done.act) })
}

func (j *judge) describe(d serverprocess.Detection) string {
	mark := markOf(d.UserAgent.Original)
	done := j.acts[mark]
	why := ""
	if done.act != nil && j.evidence.suffices(done.pod, done.act) {
		why = "; it could be known" + how(done.act)
	}
	return fmt.Sprintf("%s says that %s/%s (%s) did it, but %s of %s did; first act of %s; %s, %s%s", d.Rule.ID,
		d.Orchestrator.Namespace, d.Orchestrator.Resource.Name, d.Orchestrator.Resource.ID, mark, describe(done.pod),
		describe(j.acts[d.Process.EntityID].pod), d.Portcullis.Detection.Confidence, d.Portcullis.Detection.State, why)
}

// how is what is special about an act.
func how(a *act) string {
	switch at := a.at.Format(" at 15:04:05.000"); {
	case a.hasty:
		return at + ", told at the pod's birth"
	case a.lasts > 0:
		return at + ", lasting"
	case a.nameless:
		return at + ", without a UID"
	default:
		return at
	}
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
