package transport

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/agent/collectortest"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

func flushCommand(id string) *telemetryv1.Command {
	return &telemetryv1.Command{Id: id, What: &telemetryv1.Command_Flush{Flush: &telemetryv1.Flush{}}}
}

// flushing is a client whose flush pushes the given events.
func flushing(t *testing.T, c *collectortest.Collector, change func(*Options, *SpoolOptions), events ...uint32) *agentSide {
	t.Helper()
	ca := collectortest.NewAuthority(t)
	c.Token = "first"
	addr, _ := c.Serve(t, ca.Certificate(t, serverName), "127.0.0.1:0")
	var a *agentSide
	a = newAgent(t, addr, ca, func(o *Options, s *SpoolOptions) {
		o.Flush = func(context.Context) error {
			for _, pid := range events {
				a.spool.Push(event(pid))
			}
			return nil
		}
		if change != nil {
			change(o, s)
		}
	})
	a.run()
	c.Wait(t, "a greeting", func() bool { return len(c.Hellos) == 1 })
	return a
}

// arrived are the events that came before the answer to a flush.
func arrived(t *testing.T, c *collectortest.Collector, id string) []uint32 {
	t.Helper()
	if got := c.Ask(t, flushCommand(id)); got.GetOutcome() != telemetryv1.Outcome_OUTCOME_DONE {
		t.Fatalf("the answer to a flush is %v", got)
	}
	var pids []uint32
	c.Wait(t, "a look at what came", func() bool {
		pids = make([]uint32, 0, len(c.Events))
		for _, e := range c.Events {
			pids = append(pids, e.GetProcess().GetPid())
		}
		return true
	})
	return pids
}

func TestAFlushIsAnsweredBehindWhatItMeans(t *testing.T) {
	c := &collectortest.Collector{}
	flushing(t, c, nil, 1, 2, 3)
	if got := arrived(t, c, "a"); !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Errorf("before the answer came %v", got)
	}
	if got := arrived(t, c, "b"); !slices.Equal(got, []uint32{1, 2, 3, 1, 2, 3}) {
		t.Errorf("before the second answer came %v", got)
	}
}

// TestAFlushHurries: while an acknowledgement is due, events gather; not when somebody waits for them.
func TestAFlushHurries(t *testing.T) {
	c := &collectortest.Collector{Before: func(*telemetryv1.Batch) (bool, error) { return false, nil }}
	a := flushing(t, c, func(o *Options, _ *SpoolOptions) { o.Gather = time.Hour }, 2)
	a.spool.Push(event(1))
	c.Wait(t, "the first event, which is not acknowledged", func() bool { return len(c.Events) == 1 })
	if got := arrived(t, c, "a"); !slices.Equal(got, []uint32{1, 2}) {
		t.Errorf("before the answer came %v", got)
	}
	a.cancel()
}

func TestAFlushWaitsForTheWindowAndForFiles(t *testing.T) {
	c := &collectortest.Collector{}
	dir := t.TempDir()
	a := flushing(t, c, func(_ *Options, s *SpoolOptions) {
		*s = diskOptions(dir)
		s.MaxBytes = 1500 * cost(event(1)) // half of it before files are written
		s.Window = 1
	}, upTo(1000)...)
	if got := arrived(t, c, "a"); !slices.Equal(got, upTo(1000)) {
		t.Errorf("before the answer came %d events, want 1,000 in order; dropped: %d", len(got), a.spool.Stats().Dropped)
	}
}

func TestSentUpTo(t *testing.T) {
	s := newSpool(t, diskOptions(t.TempDir()))
	if !s.sentUpTo(s.place()) {
		t.Error("of an empty spool something is not sent")
	}
	for from := uint32(1); from <= 500; from += 5 {
		push(s, from, from+4)
		settle(s)
	}
	place := s.place()
	push(s, 501, 600)
	sent := 0
	for b := s.take(); b != nil; b = s.take() {
		sent += len(b.GetEvents())
		if err := s.acknowledge(b.GetSequence()); err != nil {
			t.Fatal(err)
		}
		if s.sentUpTo(place) && sent < 500 {
			t.Fatalf("the first 500 are said to be sent after %d", sent)
		}
	}
	if !s.sentUpTo(place) {
		t.Errorf("the first 500 are not sent after all %d", sent)
	}
}

func TestFlushesThatFail(t *testing.T) {
	for name, test := range map[string]struct {
		flush   func(context.Context) error
		outcome telemetryv1.Outcome
		detail  string
	}{
		"an agent that cannot":  {nil, telemetryv1.Outcome_OUTCOME_UNSUPPORTED, "cannot flush"},
		"a ring that is closed": {func(context.Context) error { return errors.New("it is closed") }, telemetryv1.Outcome_OUTCOME_FAILED, "it is closed"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &collectortest.Collector{}
			flushing(t, c, func(o *Options, _ *SpoolOptions) { o.Flush = test.flush })
			got := c.Ask(t, flushCommand("a"))
			if got.GetOutcome() != test.outcome || !strings.Contains(got.GetDetail(), test.detail) {
				t.Errorf("the answer is %v", got)
			}
		})
	}
}

// TestFlushesAreBounded: one that hangs ends with its stream, and too many are refused.
func TestFlushesAreBounded(t *testing.T) {
	c := &collectortest.Collector{}
	begun := make(chan struct{}, maxFlushes)
	a := flushing(t, c, func(o *Options, _ *SpoolOptions) {
		o.Flush = func(ctx context.Context) error {
			begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
	})
	for i := range maxFlushes {
		c.Send(t, flushCommand(strings.Repeat("x", i+1)))
		<-begun
	}
	if got := c.Ask(t, flushCommand("one more")); got.GetOutcome() != telemetryv1.Outcome_OUTCOME_FAILED {
		t.Errorf("the answer to one too many is %v", got)
	}
	a.cancel()
	if err := a.wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("the client ended with %v", err)
	}
}
