package main

import (
	"time"
)

// evidence is what anybody could have known who had everything that was told: that says whether it may remain open
// whose an act was.
type evidence struct {
	// named are the pods that ever had a name.
	named map[[2]string][]*pod
	// away are the times in which nobody listened.
	away []killed
	// apart is how far the clocks of API servers are apart: a pod's creation bears the time of one of them,
	// and nobody says of which.
	apart time.Duration
}

// hearing is how long after its start a server takes what it hears of pods for old news.
const hearing = 12 * time.Second

func newEvidence(pods []*pod, away []killed, skews []time.Duration) *evidence {
	e := &evidence{named: map[[2]string][]*pod{}, away: away}
	for _, p := range pods {
		key := [2]string{p.namespace, p.name}
		e.named[key] = append(e.named[key], p)
	}
	for _, s := range skews {
		e.apart = max(e.apart, s.Abs())
	}
	return e
}

// suffices reports whether it was possible to know that the pod did it: by the UID in the token, or
// because nobody else can have had its name then.
func (e *evidence) suffices(p *pod, a *act) bool {
	if a.kind == request && !a.nameless {
		return true
	}
	for _, other := range e.named[[2]string{p.namespace, p.name}] {
		if other != p && e.canHaveBeen(other, a.at) {
			return false
		}
	}
	return !e.deaf(a.at)
}

// canHaveBeen reports whether a pod may have lived at the time: when it was made is known to a second, and when it went by
// when the watch told of it; what happened while nobody listened is known less well.
func (e *evidence) canHaveBeen(p *pod, at time.Time) bool {
	from, to := p.asked.Add(-settledFor), p.gone.Add(settledFor)
	if e.deaf(p.made) {
		from = from.Add(-e.apart)
	}
	for _, k := range e.away {
		if p.gone.After(k.at) && p.gone.Before(k.back) {
			to = k.back.Add(settledFor)
		}
	}
	return at.After(from) && (p.gone.IsZero() || at.Before(to))
}

// deaf reports whether nobody listened, or had just begun to.
func (e *evidence) deaf(at time.Time) bool {
	for _, k := range e.away {
		if at.After(k.at.Add(-settledFor)) && at.Before(k.back.Add(hearing)) {
			return true
		}
	}
	return false
}
