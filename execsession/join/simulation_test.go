package join

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// The clocks of the simulated world: how far they may be off, and how long its facts are under way.
const (
	simTolerance = 100 * time.Millisecond
	simAuditLag  = 3 * time.Second
	simAgentLag  = 400 * time.Millisecond
)

// fate is what becomes of an execution.
type fate uint8

const (
	ends     fate = iota // with its process
	hangsUp              // the client goes, the process stays
	heldOpen             // a child holds the output
	fails                // let through, and no process started
	refused              // by the API server
	bypasses             // started around the API server
)

// execution is what really happened.
type execution struct {
	name, user, pod, container, command string
	tty                                 bool
	fate                                fate
	reviewed                            bool
	asked, opened, started, exited      time.Time
	closed                              time.Time
}

func (x *execution) hasRoot() bool    { return x.fate != fails && x.fate != refused }
func (x *execution) hasRequest() bool { return x.fate != bypasses }

// fact is something that the engine is told at a time.
type fact struct {
	at   time.Time
	tell func(e *Engine)
}

type world struct {
	*rand.Rand
	executions []*execution
	facts      []fact
	// how far the clocks are ahead.
	agent, server time.Duration
}

var simBegin = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.Int64N(int64(to-from)+1))
}

func (w *world) pick(texts ...string) string { return texts[w.IntN(len(texts))] }

// newWorld makes up what happens. In an honest one all goes as it should, and two thirds of the commands are different.
func newWorld(seed uint64, executions int, spread time.Duration, honest bool) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7))}
	w.agent, w.server = w.between(-simTolerance, simTolerance), w.between(-simTolerance, simTolerance)
	commands := []string{"sh", "ls -l", "cat /etc/passwd", "sleep 5"}[:1+w.IntN(4)]
	for i := range executions {
		x := &execution{
			name: fmt.Sprintf("x%d", i), user: w.pick("alice", "bob", "carol", "dave", "erin"), pod: "cart-0", container: w.pick("main", "mesh"),
			command: w.pick(commands...), tty: w.IntN(4) == 0, reviewed: w.IntN(5) > 0,
		}
		if honest && i%3 > 0 {
			x.command = fmt.Sprint("job ", i)
		}
		switch n := w.IntN(100); {
		case n < 60, honest:
		case n < 68:
			x.fate = hangsUp
		case n < 74:
			x.fate = heldOpen
		case n < 82:
			x.fate = fails
		case n < 90:
			x.fate = refused
		default:
			x.fate = bypasses
		}
		x.reviewed = x.reviewed || honest
		x.asked = simBegin.Add(time.Minute + w.between(0, spread))
		x.opened = x.asked.Add(w.between(20*time.Millisecond, 300*time.Millisecond))
		x.started = x.opened.Add(w.between(20*time.Millisecond, 2*time.Second))
		life := w.between(50*time.Millisecond, time.Second)
		if w.IntN(2) == 0 {
			life = w.between(time.Second, 20*time.Second)
		}
		x.exited = x.started.Add(life)
		x.closed = x.exited.Add(w.between(0, 300*time.Millisecond))
		switch x.fate {
		case hangsUp:
			x.closed = x.started.Add(w.between(0, life))
		case heldOpen:
			x.closed = x.exited.Add(w.between(0, 10*time.Second))
		case fails:
			x.closed = x.opened.Add(w.between(50*time.Millisecond, time.Second))
		case refused:
			x.closed = x.opened
		default:
		}
		w.executions = append(w.executions, x)
	}
	w.dropIndistinguishable()
	for _, x := range w.executions {
		w.tell(x)
	}
	slices.SortStableFunc(w.facts, func(a, b fact) int { return a.at.Compare(b.at) })
	return w
}

// dropIndistinguishable takes out processes that were started around the API server, and are in everything like one
// that a request failed to start just then: nobody who only watches can tell.
func (w *world) dropIndistinguishable() {
	w.executions = slices.DeleteFunc(w.executions, func(x *execution) bool {
		return x.fate == bypasses && slices.ContainsFunc(w.executions, func(y *execution) bool {
			return y.fate == fails && y.command == x.command && y.container == x.container && y.tty == x.tty &&
				y.closed.Sub(x.exited).Abs() < DefaultEndLag+4*simTolerance
		})
	})
}

func (w *world) tell(x *execution) {
	place := Place{Namespace: "shop", Pod: x.pod, UID: "u-1", Container: x.container}
	request := Request{ID: x.name, Who: Who{User: x.user}, Place: place, Command: []string{x.command}, TTY: x.tty}
	server := func(t time.Time) Moment { return Moment{t.Add(w.server), simTolerance} }
	agent := func(t time.Time) Moment { return Moment{t.Add(w.agent), simTolerance} }
	// audited facts come in batches, in whatever order, and some twice.
	audited := func(at time.Time, tell func(e *Engine)) {
		for range 1 + w.IntN(2) {
			w.facts = append(w.facts, fact{at.Add(w.between(0, simAuditLag)), tell})
		}
	}
	if x.hasRequest() {
		if x.reviewed {
			reviewed := request
			reviewed.Since = Moment{x.asked.Add(10 * time.Millisecond), time.Millisecond}
			w.facts = append(w.facts, fact{x.asked.Add(10 * time.Millisecond), func(e *Engine) { e.Request(reviewed) }})
		}
		heard := request
		heard.Since = server(x.asked)
		audited(x.opened, func(e *Engine) {
			e.Request(heard)
			if x.fate == refused {
				e.Refused(x.name)
				return
			}
			e.Opened(x.name, server(x.opened))
		})
		if x.fate != refused {
			audited(x.closed, func(e *Engine) { e.Request(heard); e.Completed(x.name, server(x.closed)) })
		}
	}
	if x.hasRoot() {
		root := Root{ID: "root of " + x.name, Place: place, Args: []string{x.command}, TTY: x.tty, Start: agent(x.started)}
		// One agent tells in order: the lag is the same for all.
		w.facts = append(w.facts,
			fact{x.started.Add(simAgentLag), func(e *Engine) { e.Root(root) }},
			fact{x.exited.Add(simAgentLag), func(e *Engine) { e.Exited(root.ID, agent(x.exited), x.fate != heldOpen) }})
	}
}

// tally counts the outcomes.
type tally struct {
	roots, exact, candidates, none, wrong, bypasses, found, falseAlarms int
}

// play runs a world, and holds every verdict, also those that were taken back later, against what happened.
func (w *world) play(t *testing.T, seed uint64, sum *tally) {
	t.Helper()
	truth := map[string]*execution{}
	for _, x := range w.executions {
		truth["root of "+x.name] = x
	}
	e := New(Options{Begin: simBegin})
	last := map[string]Verdict{}
	check := func(v Verdict) {
		x := truth[v.Root]
		last[v.Root] = v
		switch {
		case v.Attribution == event.AttributionExact && (x.fate == bypasses || v.Who.User != x.user):
			sum.wrong++
			t.Errorf("seed %d: %s of %s (fate %d) is exactly %s's: %+v", seed, x.name, x.user, x.fate, v.Who.User, v)
		case v.Attribution == event.AttributionCandidates && x.fate != bypasses && x.reviewed && !slices.Contains(v.Users, x.user):
			t.Errorf("seed %d: %s of %s is not among %q: %s", seed, x.name, x.user, v.Users, v.Why)
		case v.Attribution == event.AttributionCandidates && x.fate == bypasses && !slices.Contains(v.Users, event.CandidateUnaudited) && v.Why != whySeveral:
			t.Errorf("seed %d: %s, which nobody asked for, is one of %q: %s", seed, x.name, v.Users, v.Why)
		case v.Unaudited && !v.OneOf && x.fate != bypasses:
			sum.falseAlarms++
			t.Errorf("seed %d: %s of %s is called unaudited", seed, x.name, x.user)
		}
	}
	now := simBegin
	next := 0
	for end := simBegin.Add(3 * time.Minute); now.Before(end); now = now.Add(100 * time.Millisecond) {
		for ; next < len(w.facts) && !w.facts[next].at.After(now); next++ {
			w.facts[next].tell(e)
		}
		e.Advance(now, now.Add(-simAuditLag-2*simTolerance-100*time.Millisecond), false)
		for _, v := range e.Resolve() {
			check(v)
		}
	}
	for id, x := range truth {
		if !x.hasRoot() {
			continue
		}
		v := last[id]
		sum.roots++
		switch v.Attribution {
		case event.AttributionExact:
			sum.exact++
		case event.AttributionCandidates:
			sum.candidates++
		default:
			sum.none++
		}
		if x.fate == bypasses {
			sum.bypasses++
			if v.Unaudited {
				sum.found++
			}
		}
	}
}

// TestNeverAWrongUser plays thousands of executions by several users, most of them alike, with failures, delays, repeated
// and reordered facts, clocks that are off, and processes that were started around the API server. An exact
// user must be the right one at every moment, not only in the end.
func TestNeverAWrongUser(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name       string
		worlds     uint64
		executions int
		spread     time.Duration
		honest     bool
	}{
		{"one or two at a time", 1000, 3, 20 * time.Second, false},
		{"a few at once", 1000, 6, 5 * time.Second, false},
		{"a crowd at once", 40, 60, 5 * time.Second, false},
		{"a day's work", 150, 30, 90 * time.Second, false},
		{"200 at once, a third alike, nobody goes around", 5, 200, 5 * time.Second, true},
	} {
		var sum tally
		for seed := range kind.worlds {
			newWorld(seed, kind.executions, kind.spread, kind.honest).play(t, seed, &sum)
			if sum.wrong+sum.falseAlarms > 3 {
				break
			}
		}
		share := func(n, of int) float64 { return 100 * float64(n) / float64(cmp.Or(of, 1)) }
		t.Logf("%s: %d processes, %.1f%% exact, %.1f%% candidates, %.1f%% none, %d wrong; %d started around the API server, %.1f%% of them told; %d false alarms",
			kind.name, sum.roots, share(sum.exact, sum.roots), share(sum.candidates, sum.roots), share(sum.none, sum.roots), sum.wrong,
			sum.bypasses, share(sum.found, sum.bypasses), sum.falseAlarms)
	}
}
