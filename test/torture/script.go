package main

import (
	"fmt"
	"math/rand/v2"
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
}

type step struct {
	kind     kind
	after    time.Duration
	refused  bool
	long     bool
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

// scripts are what pods do, with how often.
func scripts() []struct {
	share int
	script
} {
	return []struct {
		share int
		script
	}{
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
		{2, script{name: "nothing"}},
	}
}

// choose picks a script for a pod.
func choose(r *rand.Rand, settled bool) script {
	all := scripts()
	total := 0
	for _, s := range all {
		if settled || !s.settled {
			total += s.share
		}
	}
	n := r.IntN(total)
	for _, s := range all {
		if !settled && s.settled {
			continue
		}
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
}

// play has the pod do the steps. None is before the pod is there.
func (m *marker) play(p *pod, steps []step, begin time.Time, r *rand.Rand) []act {
	from := len(p.acts)
	for _, s := range steps {
		at := begin.Add(s.after)
		if earliest := p.made.Add(time.Millisecond); at.Before(earliest) {
			at = earliest
		}
		if n := len(p.acts); n > from && !at.After(p.acts[n-1].at) {
			at = p.acts[n-1].at.Add(s.after - steps[n-from-1].after)
		}
		m.count++
		a := act{
			kind: s.kind, at: at.Round(0).Truncate(time.Microsecond), mark: fmt.Sprintf("t%d-%d", m.seed, m.count),
			refused: s.refused, long: s.long, nameless: s.nameless, by: r.IntN(m.servers),
		}
		if s.reused {
			a.auditID = fmt.Sprintf("chosen-%d", r.IntN(4))
		}
		p.acts = append(p.acts, a)
	}
	return p.acts[from:]
}
