package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// kind is what somebody did.
type kind uint8

const (
	// readToken: the pod's token was opened at a terminal.
	readToken kind = iota
	// ranClient: curl was started at a terminal in the pod.
	ranClient
	// request: the API server was asked for something with the pod's token.
	request
	// exec: somebody had a command run in the pod.
	exec
)

// act is one thing that was done in a pod, with its token, or to it.
type act struct {
	kind kind
	at   time.Time
	// mark is unique: it names the process of telemetry (entity id), and is part of a request's user agent.
	mark string
	// refused: the API server forbade the request.
	refused bool
	// long: the request has a start and an end, both of which are told.
	long bool
	// lasts is how long a request goes on that outlives everything that is known of its begin, if it does.
	lasts time.Duration
	// hasty: the API server tells of it at once.
	hasty bool
	// nameless: the API server does not tell the UID of the token's pod.
	nameless bool
	// by is the API server that was asked, by its index.
	by int
	// auditID, if set, is what the client chose as the request's.
	auditID string
}

// script is what a pod does in one round: acts with the time since the round's begin.
type script struct {
	name string
	acts []step
	// heir are the acts of the pod that takes the slot in the middle of the round, if any.
	heir []step
	// settled scripts need a pod that had its name for a while, and keeps it.
	settled bool
	// lasting scripts have a request that goes on for long.
	lasting bool
}

type step struct {
	kind     kind
	after    time.Duration
	refused  bool
	long     bool
	lasting  bool
	hasty    bool
	nameless bool
	// reused: the client chooses an audit ID that others choose as well.
	reused bool
}

// The moments of a round. A chain's acts are far enough apart for no clock's uncertainty to turn them round, and
// what must not join is further off than that.
const (
	first  = 0 * time.Millisecond
	second = 200 * time.Millisecond
	third  = 500 * time.Millisecond
	apart  = 2200 * time.Millisecond
	// lastAct is when everything of a round has been done.
	lastAct = 2500 * time.Millisecond
)

// choice is a script, with how often it is chosen.
type choice struct {
	share int
	script
}

// scripts are what pods do.
func scripts() []choice {
	return []choice{
		{3, script{name: "attack", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second}, {kind: request, after: third}}}},
		{2, script{name: "refused attack", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second}, {kind: request, after: third, refused: true}}}},
		{1, script{name: "attack that goes on", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second}, {kind: request, after: third, long: true}}}},
		{1, script{name: "attack under another's audit ID", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second}, {kind: request, after: third, reused: true}}}},
		{3, script{name: "token read, client run, nothing asked", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second}}}},
		{2, script{name: "token read only", acts: []step{{kind: readToken, after: first}}}},
		{3, script{name: "application", acts: []step{{kind: request, after: third}}}},
		{1, script{name: "refused application", acts: []step{{kind: request, after: third, refused: true}}}},
		{2, script{name: "the other way round", acts: []step{{kind: request, after: first}, {kind: ranClient, after: apart}}}},
		{1, script{name: "too late", acts: []step{{kind: ranClient, after: first}, {kind: request, after: apart}}}},
		{2, script{name: "the successor asks", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second / 4}}, heir: []step{{kind: request, after: third}}}},
		{1, script{name: "the predecessor asks", acts: []step{{kind: request, after: first}}, heir: []step{{kind: readToken, after: second}, {kind: ranClient, after: third}}}},
		{2, script{name: "attack without a UID", settled: true, acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second}, {kind: request, after: third, nameless: true}}}},
		{1, script{name: "application without a UID", settled: true, acts: []step{{kind: request, after: third, nameless: true}}}},
		// Whoever names no UID right before or after a name changes hands may be either: that must be said, and the right one be among them.
		{1, script{name: "the successor asks without a UID", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second / 4}}, heir: []step{{kind: request, after: third, nameless: true}}}},
		{1, script{name: "attack without a UID, then replaced", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second / 4}, {kind: request, after: second / 2, nameless: true}}, heir: []step{{kind: ranClient, after: third}}}},
		{1, script{name: "exec, then replaced", acts: []step{{kind: exec, after: first}}, heir: []step{{kind: exec, after: third}}}},
		{2, script{name: "exec", settled: true, acts: []step{{kind: exec, after: second, long: true}}}},
		{1, script{name: "attack with a watch that lasts", lasting: true, acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second}, {kind: request, after: third, lasting: true}}}},
		{1, script{name: "exec that lasts", settled: true, lasting: true, acts: []step{{kind: exec, after: second, lasting: true}}}},
		// Whoever asks right after it was made: the API server tells of that before its watch has told of the pod.
		{1, script{name: "the successor asks at birth", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second / 4}}, heir: []step{{kind: request, after: first, hasty: true}}}},
		{1, script{name: "attack at birth", heir: []step{{kind: readToken, after: first}, {kind: ranClient, after: second / 2}, {kind: request, after: second, hasty: true}}}},
		{1, script{name: "attack at birth, after another's", acts: []step{{kind: readToken, after: first}, {kind: ranClient, after: second / 4}}, heir: []step{{kind: readToken, after: first}, {kind: ranClient, after: second / 2}, {kind: request, after: second, refused: true, hasty: true}}}},
		{2, script{name: "nothing"}},
	}
}

// choose picks a script for a pod: a settled one, or a lasting one, only for one that can be.
func choose(r *rand.Rand, settled, lasting bool) script {
	all := slices.DeleteFunc(scripts(), func(s choice) bool { return s.settled && !settled || s.lasting && !lasting })
	total := 0
	for _, s := range all {
		total += s.share
	}
	n := r.IntN(total)
	for _, s := range all {
		if n -= s.share; n < 0 {
			return s.script
		}
	}
	panic("the shares do not add up")
}

// marker makes acts of steps.
type marker struct {
	seed  uint64
	count int
	// servers is how many API servers there are.
	servers int
	// span is that of the longest chain, lasts how long a lasting request goes on.
	span, lasts time.Duration
}

// play has the pod do the steps. None is before the pod is there.
func (m *marker) play(p *pod, steps []step, begin time.Time, r *rand.Rand) []act {
	from := len(p.acts)
	for _, s := range steps {
		at := exact(begin.Add(s.after))
		if earliest := exact(p.made.Add(s.earliest())); at.Before(earliest) {
			at = earliest
		}
		if n := len(p.acts); n > from && !at.After(p.acts[n-1].at) {
			at = p.acts[n-1].at.Add(s.after - steps[n-from-1].after)
		}
		if s.kind == request {
			at = m.clear(p.acts, at)
		}
		m.count++
		a := act{
			kind: s.kind, at: at, mark: fmt.Sprintf("t%d-%d", m.seed, m.count),
			refused: s.refused, long: s.long, hasty: s.hasty, nameless: s.nameless, by: r.IntN(m.servers),
		}
		if s.lasting {
			a.lasts = m.lasts
		}
		if s.reused {
			a.auditID = fmt.Sprintf("chosen-%d", r.IntN(4))
		}
		p.acts = append(p.acts, a)
	}
	return p.acts[from:]
}

// running is how long after it was made a pod can be got into at the earliest, or use a token that its kubelet gave it:
// a container takes longer than that to start. By then the watch has told of the pod, unless it lags by as much.
const running = time.Second

// earliest is how long after a pod was made the step can happen. Only whoever may create tokens has one at once, and
// such a token names the pod's UID.
func (s step) earliest() time.Duration {
	if s.kind == exec || s.nameless {
		return running
	}
	return time.Millisecond
}

// exact is a time as an API server writes it.
func exact(t time.Time) time.Time { return t.Round(0).Truncate(time.Microsecond) }

// edge is how near to the end of a span nothing happens: there the last milliseconds of clocks would decide.
const edge = 100 * time.Millisecond

// clear is the time of a request, or a little later if it would be at the end of a span of the pod's.
func (m *marker) clear(acts []act, at time.Time) time.Time {
	for slices.ContainsFunc(acts, func(a act) bool { return (at.Sub(a.at) - m.span).Abs() < edge }) {
		at = at.Add(edge)
	}
	return at
}
