package collector

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
)

// told is a Losses that writes down what it hears.
type told struct {
	mu    sync.Mutex
	lines []string
	lost  []time.Time
	// reached, numbers and exact are what is known from before; numbers become what Reached says.
	reached time.Time
	numbers []uint64
	exact   bool
	// news has a token when there is another line.
	news chan struct{}
}

func newTold() *told { return &told{news: make(chan struct{}, 1)} }

func (l *told) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	select {
	case l.news <- struct{}{}:
	default:
	}
}

func (l *told) Connected(node, session string, _ time.Time) (reached time.Time, numbers []uint64, exact bool) {
	l.say("connected %s %s", node, session)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reached, l.numbers, l.exact
}

func (l *told) Disconnected(node string, _ time.Time) { l.say("disconnected %s", node) }

func (l *told) Reached(node, session string, at time.Time, numbers ...uint64) {
	l.mu.Lock()
	l.numbers = numbers
	l.mu.Unlock()
	if at.Equal(happened) {
		l.say("reached %s %s happened", node, session)
		return
	}
	l.say("reached %s %s", node, session)
}

func (l *told) Lost(node, cause string, from, to time.Time, n uint64) {
	l.say("lost %s %s %d", node, cause, n)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, from, to)
}

func (l *told) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// await waits until the last line is that.
func (l *told) await(t *testing.T, line string) {
	t.Helper()
	for lines := l.all(); len(lines) == 0 || lines[len(lines)-1] != line; lines = l.all() {
		select {
		case <-l.news:
		case <-time.After(time.Minute):
			t.Fatalf("never heard %q, but\n%s", line, strings.Join(lines, "\n"))
		}
	}
}

func TestLossesAreTold(t *testing.T) {
	losses := newTold()
	r := newRig(t, func(o *Options) { o.Losses = losses })
	c := r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here")))
	c.acked(1)
	c.batch(batchOf(1, exec(1, "here"))) // again: it is not told again
	c.acked(1)
	bad := exec(5, "here")
	bad.Time = nil
	c.batch(&telemetryv1.Batch{Sequence: 3, Events: []*telemetryv1.Event{exec(4, "here"), bad}, Lost: &telemetryv1.Lost{RingFull: 3, SpoolFull: 2, LimitedExecs: 9}})
	c.acked(3)
	c.batch(batchOf(4))
	c.acked(4)
	c.cancel()
	losses.await(t, "disconnected node-1")
	want := []string{
		"connected node-1 s-1", "reached node-1 s-1 happened",
		"lost node-1 kernel-ring-full 3", "lost node-1 agent-spool-full 2", "lost node-1 sequence-gap 2", "lost node-1 refused 1",
		"reached node-1 s-1 happened", "reached node-1 s-1", "disconnected node-1",
	}
	if diff := cmp.Diff(want, losses.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := 0; i < len(losses.lost); i += 2 {
		if from, to := losses.lost[i], losses.lost[i+1]; !from.Equal(happened) || !to.After(from) {
			t.Errorf("lost between %v and %v, want from the last event before to the arrival", from, to)
		}
	}
}

// TestSessionGoesOnAfterTheServerWasAway: what the agent lost meanwhile is compared with what an earlier process knew, and
// placed after what that has seen last.
func TestSessionGoesOnAfterTheServerWasAway(t *testing.T) {
	lost := &telemetryv1.Lost{RingFull: 3, SpoolFull: 9}
	known := []uint64{49, 490, 3, 2, 0, 0, 0, 0, 0, 0}
	away := time.Now().Add(-10 * time.Minute)
	for name, tc := range map[string]struct {
		numbers  []uint64
		exact    bool
		sequence uint64
		event    uint64
		want     []string
	}{
		"nothing but the spool's overflow": {known, true, 50, 491, []string{"lost node-1 agent-spool-full 7"}},
		"a gap":                            {known, true, 52, 495, []string{"lost node-1 agent-spool-full 7", "lost node-1 sequence-gap 4"}},
		"a gap that a crash explains":      {known, false, 52, 495, []string{"lost node-1 agent-spool-full 7"}},
		"numbers of another version":       {[]uint64{1, 2}, true, 52, 495, []string{"lost node-1 kernel-ring-full 3", "lost node-1 agent-spool-full 9"}},
		"a new session":                    {nil, false, 1, 1, []string{"lost node-1 kernel-ring-full 3", "lost node-1 agent-spool-full 9"}},
		"a session that nobody remembers":  {nil, false, 50, 491, nil},
	} {
		losses := newTold()
		losses.reached, losses.numbers, losses.exact = away, tc.numbers, tc.exact
		r := newRig(t, func(o *Options) { o.Losses = losses })
		c := r.agent("node-1", "s-1")
		c.batch(&telemetryv1.Batch{Sequence: tc.sequence, Events: []*telemetryv1.Event{exec(tc.event, "here")}, Lost: lost})
		c.acked(tc.sequence)
		want := append([]string{"connected node-1 s-1"}, append(tc.want, "reached node-1 s-1 happened")...)
		if diff := cmp.Diff(want, losses.all()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for i := 0; i < len(losses.lost); i += 2 {
			if !losses.lost[i].Equal(away) {
				t.Errorf("%s: lost since %v, want %v", name, losses.lost[i], away)
			}
		}
		if got := []uint64{tc.sequence, tc.event, 3, 9, 0, 0, 0, 0, 0, 0}; !slices.Equal(losses.numbers, got) {
			t.Errorf("%s: numbers %v, want %v", name, losses.numbers, got)
		}
	}
}

// TestBatchThatAnEarlierProcessAcknowledged is not taken twice.
func TestBatchThatAnEarlierProcessAcknowledged(t *testing.T) {
	losses := newTold()
	losses.numbers, losses.exact = []uint64{49, 490, 0, 0, 0, 0, 0, 0, 0, 0}, true
	r := newRig(t, func(o *Options) { o.Losses = losses })
	c := r.agent("node-1", "s-1")
	c.batch(batchOf(49, exec(490, "here")))
	c.acked(49)
	if ids := r.pipeline.ids(); len(ids) > 0 {
		t.Errorf("taken again: %v", ids)
	}
}

// TestNodeIsDisconnectedWithItsLastStream: an agent that is replaced leaves no time between.
func TestNodeIsDisconnectedWithItsLastStream(t *testing.T) {
	losses := newTold()
	r := newRig(t, func(o *Options) { o.Losses = losses })
	first := r.agent("node-1", "s-1")
	again := r.agent("node-1", "s-1")
	first.ended(codes.Aborted)
	other := r.agent("node-1", "s-2")
	again.cancel()
	other.batch(batchOf(1))
	other.acked(1)
	other.cancel()
	losses.await(t, "disconnected node-1")
	want := []string{"connected node-1 s-1", "connected node-1 s-1", "connected node-1 s-2", "reached node-1 s-2", "disconnected node-1"}
	if diff := cmp.Diff(want, losses.all()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNobodyReachesTheFuture(t *testing.T) {
	ahead := exec(1, "here")
	ahead.Time = timestamppb.New(time.Now().Add(time.Hour))
	now := time.Now()
	e, why := convert(ahead, origin{node: "node-1", session: "s", received: now})
	if why != refusedNone {
		t.Fatal(why)
	}
	if got := reachedBy([]*event.Event{e}, now); !got.Equal(now) {
		t.Errorf("an event of an hour from now reaches %v", got)
	}
}
