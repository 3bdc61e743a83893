package main

import (
	"cmp"
	"fmt"
	"slices"
)

// verdict is what became of what happened.
type verdict struct {
	expected, made int
	// doubled are detections under more than one id, and notices that say something else than an earlier one
	// of the same, or repeat one although nobody was killed in between.
	doubled int
	// lost are detections that were not made; damaged those of them whose events were on a disk that was damaged on purpose.
	lost, damaged int
	// tooLate are those that were not made since the server heard of their events too late.
	tooLate int
	// wrong are detections of what did not happen, or not like that.
	wrong int
	// repeated are notices that had to be sent again because it was not known whether they had arrived, updated
	// those that know more than the one before of what was not seen.
	repeated, updated, notices int

	quarantines, quarantinesWrong int
	released                      int
	// undone are releases that were forgotten as the record of them was damaged on purpose.
	undone int
	// complaints say what is not as it should be.
	complaints []string
}

func (v *verdict) complain(count *int, format string, args ...any) {
	*count++
	v.complaints = append(v.complaints, fmt.Sprintf(format, args...))
}

// evidence is what was seen.
type evidence struct {
	notices []notice
	// graceful are the lives of the server that ended in good order.
	graceful map[int]bool
	// quarantined are the UIDs of the pods that are in quarantine at the end.
	quarantined map[string]bool
	// returned are the UIDs of released pods that were seen in quarantine again.
	returned map[string]bool
	released map[string]bool
	// forgotten are the UIDs of the pods whose release was recorded on a disk that was damaged on purpose then.
	forgotten map[string]bool
}

// judge compares what was seen with what happened.
func judge(stories []*story, seen evidence) *verdict {
	v := &verdict{notices: len(seen.notices), released: len(seen.released)}
	byMark := map[string]*story{}
	for _, s := range stories {
		byMark[s.mark] = s
	}
	made := v.weigh(byMark, seen)
	slices.SortFunc(stories, func(a, b *story) int { return cmp.Compare(a.mark, b.mark) })
	for _, s := range stories {
		for _, rule := range s.rules {
			v.expected++
			switch {
			case made[happening{rule, s.mark}]:
				v.made++
			case s.atRisk:
				v.damaged++
			case s.tooLate(rule):
				v.tooLate++
			default:
				v.complain(&v.lost, "lost: %s, completed by %s of %s", rule, s.mark, s.pod)
			}
		}
	}
	v.weighQuarantines(stories, seen)
	return v
}

// told is what was told of one detection.
type told struct {
	// states has the last notice of each state.
	states map[string]*notice
}

// weigh judges each notice, and returns what was made.
func (v *verdict) weigh(byMark map[string]*story, seen evidence) map[happening]bool {
	made := map[happening]bool{}
	ids := map[happening][]string{}
	known := map[string]*told{}
	for i := range seen.notices {
		n := &seen.notices[i]
		h := n.happening()
		s := byMark[h.mark]
		if !v.sensible(n, s, seen) {
			continue
		}
		made[h] = true
		if !slices.Contains(ids[h], n.Event.ID) {
			ids[h] = append(ids[h], n.Event.ID)
			if len(ids[h]) > 1 {
				v.complain(&v.doubled, "doubled: %s, completed by %s, is %v", h.rule, h.mark, ids[h])
			}
		}
		t := known[n.Event.ID]
		if t == nil {
			t = &told{states: map[string]*notice{}}
			known[n.Event.ID] = t
		}
		v.again(t.states[n.state()], n, s, seen)
		t.states[n.state()] = n
	}
	return made
}

// again judges a notice of which there was one before, with the same detection and state.
func (v *verdict) again(before, n *notice, s *story, seen evidence) {
	if before == nil {
		return
	}
	killed := false
	for life := before.life; life < n.life; life++ {
		killed = killed || !seen.graceful[life]
	}
	was, is := before.content(), n.content()
	if s.forgotten { // It was detected anew, by what was left of its events: one of a request's two, say.
		was.events, is.events = "", ""
	}
	switch {
	case was != is:
		v.complain(&v.doubled, "doubled: %s is told in two ways:\n  %+v\n  %+v", n.Event.ID, before.content(), n.content())
	case before.coverage != n.coverage:
		v.updated++
	case !killed:
		v.complain(&v.doubled, "doubled: %s (%s, completed by %s) is told twice as %q, in lives %d and %d", n.Event.ID, n.Rule.ID, n.happening().mark, n.state(), before.life, n.life)
	default:
		v.repeated++
	}
}

// sensible reports whether what a notice says has happened.
func (v *verdict) sensible(n *notice, s *story, seen evidence) bool {
	h := n.happening()
	d := n.Portcullis.Detection
	switch {
	case s == nil:
		v.complain(&v.wrong, "wrong: %s, completed by %q, is about nothing that happened", h.rule, h.mark)
	case !slices.Contains(s.rules, h.rule):
		v.complain(&v.wrong, "wrong: %s, completed by %s of %s (%s)", h.rule, h.mark, s.pod, s.plot)
	case n.Orchestrator.Resource.ID != s.pod.uid:
		v.complain(&v.wrong, "wrong: %s, completed by %s of %s, is said to be of %s", h.rule, h.mark, s.pod, n.Orchestrator.Resource.ID)
	case n.state() == "superseded":
		v.complain(&v.wrong, "wrong: %s, completed by %s of %s, is taken back", h.rule, h.mark, s.pod)
	case responds(h.rule) && !seen.released[s.pod.uid] && (d.Action != "quarantine" || d.Why != ""):
		v.complain(&v.wrong, "wrong: %s, completed by %s of %s: action is %s, %q", h.rule, h.mark, s.pod, d.Action, d.Why)
	default:
		return true
	}
	return false
}

// weighQuarantines judges who is in quarantine at the end.
func (v *verdict) weighQuarantines(stories []*story, seen evidence) {
	wanted, possible := map[string]*pod{}, map[string]bool{}
	for _, s := range stories {
		for _, rule := range s.rules {
			if responds(rule) {
				possible[s.pod.uid] = true
				if s.due(rule) {
					wanted[s.pod.uid] = s.pod
				}
			}
		}
	}
	for uid, p := range wanted {
		if seen.released[uid] {
			continue
		}
		v.quarantines++
		if !seen.quarantined[uid] {
			v.complain(&v.quarantinesWrong, "quarantine: %s is not in quarantine", p)
		}
	}
	for uid := range seen.quarantined {
		if !possible[uid] {
			v.complain(&v.quarantinesWrong, "quarantine: pod %s is in quarantine and has done nothing", uid)
		}
	}
	v.weighReleases(seen)
}

// weighReleases judges whether those who were released are.
func (v *verdict) weighReleases(seen evidence) {
	for uid := range seen.released {
		switch back := seen.quarantined[uid]; {
		case !back && !seen.returned[uid]:
		case seen.forgotten[uid]:
			v.undone++
		case back:
			v.complain(&v.quarantinesWrong, "quarantine: pod %s was released and is in quarantine again", uid)
		default:
			v.complain(&v.quarantinesWrong, "quarantine: pod %s was released and was in quarantine again for a while", uid)
		}
	}
}

// String says who it is.
func (p *pod) String() string {
	return fmt.Sprintf("%s/%s (%s on %s)", p.namespace, p.name, p.uid, p.node)
}
