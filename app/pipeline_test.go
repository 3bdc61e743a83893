package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/identity"
	"github.com/portcullis-dev/portcullis/jetstream"
)

// taken is an ingester that keeps what it gets. The first of its answers are errs.
type taken struct {
	ids    []string
	events []*event.Event
	errs   []error
}

func (i *taken) Ingest(_ context.Context, events []*event.Event) error {
	if len(i.errs) > 0 {
		err := i.errs[0]
		i.errs = i.errs[1:]
		return err
	}
	for _, e := range events {
		i.ids = append(i.ids, e.ID)
		i.events = append(i.events, e)
	}
	return nil
}

// canaries takes out the events whose ID is "canary".
type canaries struct{}

func (canaries) Take(events []*event.Event) []*event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e *event.Event) bool { return e.ID == "canary" })
}

// keeper holds events whose pod, or caller, has no name until let go.
type keeper struct{ held []func(foreign bool) }

func (*keeper) Complete(e *event.Event) (waits, foreign bool) {
	if e.Audit != nil {
		return e.Audit.Caller.UID != "" && e.Audit.Caller.Name == "", false
	}
	return e.Pod.UID != "" && e.Pod.Name == "", false
}

func (k *keeper) Submit(e *event.Event, deliver identity.Deliver) {
	k.held = append(k.held, func(foreign bool) {
		if e.Audit != nil {
			e.Audit.Caller.Name = "found"
		} else {
			e.Pod.Name = "found"
		}
		deliver(e, foreign)
	})
}

// known are pods that are known, or never will be.
type known bool

func (k known) WaitSynced(ctx context.Context) error {
	if k {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// shelf is a spool in memory.
type shelf struct {
	events map[string][]*event.Event
	err    error
}

func newShelf() *shelf { return &shelf{events: map[string][]*event.Event{}} }

func (s *shelf) Put(_ context.Context, key string, events []*event.Event) error {
	if s.err != nil {
		return s.err
	}
	s.events[key] = events
	return nil
}

func (s *shelf) Delete(_ context.Context, key string) error {
	delete(s.events, key)
	return nil
}

func (s *shelf) Range(_ context.Context, visit func(string, []*event.Event) error) error {
	for key, events := range maps.Clone(s.events) {
		if err := visit(key, events); err != nil {
			return err
		}
	}
	return nil
}

// parts are a pipeline's neighbours.
type parts struct {
	hold       *keeper
	correlator *taken
	spool      spool
	pods       known
}

func newParts() *parts {
	return &parts{hold: &keeper{}, correlator: &taken{}, spool: newShelf(), pods: true}
}

func (p *parts) pipeline() *pipeline {
	return newPipeline(pipelineOptions{
		Pods: p.pods, Clocks: canaries{}, Hold: p.hold, Claims: collector.NewClaims(time.Now), Next: p.correlator, Spool: p.spool,
		Logger: quiet(), Registerer: prometheus.NewRegistry(),
	})
}

// spooled is how many events wait in the spool.
func (p *parts) spooled(t *testing.T) int {
	t.Helper()
	count := 0
	if err := p.spool.Range(t.Context(), func(_ string, events []*event.Event) error {
		count += len(events)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return count
}

// finish runs a pipeline until it has passed on what is late.
func finish(t *testing.T, p *pipeline) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.run(ctx); err != nil {
		t.Fatal(err)
	}
}

func (p *parts) got(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(p.correlator.ids, want) {
		t.Errorf("the correlator got %v, want %v", p.correlator.ids, want)
	}
}

// unknownPod is an event of a pod that nobody has heard of.
func unknownPod(id string) *event.Event { return &event.Event{ID: id, Pod: event.Pod{UID: "1"}} }

func TestPipelinePassesCompleteEventsAtOnce(t *testing.T) {
	with := newParts()
	if err := with.pipeline().Ingest(t.Context(), []*event.Event{{ID: "a"}, {ID: "canary"}, {ID: "b"}}); err != nil {
		t.Fatal(err)
	}
	with.got(t, "a", "b")
}

func TestPipelineTellsTheSourceWhatTheCorrelatorSays(t *testing.T) {
	full := errors.New("full")
	with := newParts()
	with.correlator.errs = []error{full}
	if err := with.pipeline().Ingest(t.Context(), []*event.Event{{ID: "a"}}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

func TestHeldEventsFollow(t *testing.T) {
	with := newParts()
	p := with.pipeline()
	if err := p.Ingest(t.Context(), []*event.Event{unknownPod("unknown"), unknownPod("lie"), {ID: "a"}}); err != nil {
		t.Fatal(err)
	}
	with.got(t, "a")
	with.hold.held[0](false)
	with.hold.held[1](true)
	finish(t, p) // What is left is passed on all the same.
	claim := with.correlator.events[len(with.correlator.events)-1]
	if !slices.Equal(claim.Action, []string{collector.ActionForeignPod}) || claim.Pod.UID != "" {
		t.Errorf("the lie became %+v", claim)
	}
	with.got(t, "a", "unknown", claim.ID)
	if n := with.spooled(t); n != 0 {
		t.Errorf("%d events are still in the spool", n)
	}
}

func TestHeldEventsAreStoredBeforeTheSourceIsTold(t *testing.T) {
	dir := t.TempDir()
	open := func() (*jetstream.Store, *jetstream.Spool) {
		store, err := jetstream.Open(t.Context(), jetstream.Options{
			Directory: dir, Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		held, err := store.Spool(t.Context(), jetstream.BucketOptions{Name: "held", TTL: time.Hour, MaxBytes: heldBytes})
		if err != nil {
			t.Fatal(err)
		}
		return store, held
	}
	store, held := open()
	with := newParts()
	with.spool = held
	if err := with.pipeline().Ingest(t.Context(), []*event.Event{unknownPod("x"), {ID: "a"}, unknownPod("y")}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil { // The process ends, and nobody has learned of the pod.
		t.Fatal(err)
	}

	store, held = open()
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	next := newParts()
	next.spool = held
	p := next.pipeline()
	if !p.catchUp(t.Context()) {
		t.Fatal("the spool cannot be read")
	}
	if next.got(t); len(next.hold.held) != 2 || next.spooled(t) != 2 {
		t.Fatalf("%d events wait again, %d are in the spool, want 2 and 2", len(next.hold.held), next.spooled(t))
	}
	next.hold.held[0](false)
	finish(t, p)
	if n := next.spooled(t); n != 2 {
		t.Errorf("%d events are in the spool while one of them waits, want both", n)
	}
	next.hold.held[1](false)
	finish(t, p)
	slices.Sort(next.correlator.ids)
	next.got(t, "x", "y")
	if n := next.spooled(t); n != 0 {
		t.Errorf("%d events are still in the spool", n)
	}
}

func TestSourceKeepsHeldEventsThatCannotBeStored(t *testing.T) {
	with := newParts()
	with.spool = &shelf{err: bus.ErrFull}
	if err := with.pipeline().Ingest(t.Context(), []*event.Event{unknownPod("x")}); !errors.Is(err, bus.ErrFull) {
		t.Errorf("got %v, want that the store is full", err)
	}
}

func TestSourceKeepsEventsWhilePodsAreNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := newParts()
		with.pods = false
		begin := time.Now()
		err := with.pipeline().Ingest(t.Context(), []*event.Event{{ID: "a"}})
		var busy interface{ Busy() bool }
		if !errors.As(err, &busy) || !busy.Busy() {
			t.Errorf("got %v, want an error that says to come again", err)
		}
		if waited := time.Since(begin); waited != podsPatience {
			t.Errorf("the source waited %s", waited)
		}
	})
}

func TestHeldEventsAreOfferedUntilTheyAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := newParts()
		p := with.pipeline()
		if err := p.Ingest(t.Context(), []*event.Event{unknownPod("x")}); err != nil {
			t.Fatal(err)
		}
		with.correlator.errs = []error{bus.ErrFull, bus.ErrUnavailable, bus.ErrFull}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		with.hold.held[0](false)
		go func() { done <- p.run(ctx) }()
		time.Sleep(time.Minute) // of the bubble's time
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		with.got(t, "x")
		if n := with.spooled(t); n != 0 {
			t.Errorf("%d events are still in the spool", n)
		}
	})
}

// A batch that is offered again and again while there is no room leaves nothing behind each time, and its source's
// events are as they were.
func TestRefusedBatchesLeaveNothingBehind(t *testing.T) {
	with := newParts()
	p := with.pipeline()
	batch := []*event.Event{unknownPod("x"), {ID: "a"}}
	for range 30 {
		with.correlator.errs = []error{bus.ErrFull}
		if err := p.Ingest(t.Context(), batch); !errors.Is(err, bus.ErrFull) {
			t.Fatalf("got %v", err)
		}
	}
	if len(with.hold.held) != 0 || with.spooled(t) != 0 {
		t.Errorf("%d events are held, %d are in the spool", len(with.hold.held), with.spooled(t))
	}
	if err := p.Ingest(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	with.hold.held[0](false)
	if batch[0].Pod.Name != "" {
		t.Error("the hold has changed what is its source's")
	}
}

// A request is lent until Ingest returns: what waits is neither its source's, nor is what is stored changed.
func TestRequestsThatWaitAreTheirOwn(t *testing.T) {
	with := newParts()
	p := with.pipeline()
	lent := &event.Event{Kind: event.KindAudit, Source: "audit/cp-1", Delivered: "{}", Audit: &event.Audit{
		Verb: "get", Caller: event.Pod{UID: "u2"},
	}}
	id := func() string { own := *lent; own.Identify(); return own.ID }()
	if err := p.Ingest(t.Context(), []*event.Event{lent, {ID: "a"}}); err != nil {
		t.Fatal(err)
	}
	with.got(t, "a")
	*lent.Audit = event.Audit{Verb: "of another request"}
	lent.Delivered = "of another request"
	with.hold.held[0](false)
	for _, events := range with.spool.(*shelf).events { // newParts gives one
		if e := events[0]; e.Delivered != "" || e.ID != id || e.Audit.Verb != "get" || e.Audit.Caller.Name != "" {
			t.Errorf("stored is %+v, %+v", e, e.Audit)
		}
	}
	finish(t, p)
	with.got(t, "a", id)
	if e := with.correlator.events[1]; e.Delivered != "" || e.Audit.Verb != "get" || e.Audit.Caller.Name != "found" {
		t.Errorf("the correlator got %+v, %+v", e, e.Audit)
	}
	if n := with.spooled(t); n != 0 {
		t.Errorf("%d events are still in the spool", n)
	}
}

// resumed reports whether all that was left is said to have gone on.
func resumed(p *pipeline) bool {
	select {
	case <-p.Resumed():
		return true
	default:
		return false
	}
}

func TestWhatIsLeftIsTakenUpUntilThatSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := newParts()
		stored := with.spool.(*shelf) // newParts gives one
		stored.events = map[string][]*event.Event{"before": {{ID: "known by now"}}, "too": {unknownPod("x")}}
		with.correlator.errs = []error{bus.ErrFull, bus.ErrUnavailable}
		p := with.pipeline()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		synctest.Wait()
		if p.takenUp.Load() || resumed(p) {
			t.Error("it is said to be taken up although the bus has refused it")
		}
		time.Sleep(3 * spoolPause)
		synctest.Wait()
		if !p.takenUp.Load() || resumed(p) {
			t.Errorf("taken up is %v, gone on is %v while one event waits", p.takenUp.Load(), resumed(p))
		}
		for _, let := range with.hold.held {
			let(false)
		}
		synctest.Wait()
		if !resumed(p) || with.spooled(t) != 0 {
			t.Errorf("gone on is %v, %d events are in the spool", resumed(p), with.spooled(t))
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatWaitsInVainIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := newParts()
		with.spool.(*shelf).events["before"] = []*event.Event{unknownPod("x")} // newParts gives one
		p := with.pipeline()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		begin := time.Now()
		go func() { done <- p.run(ctx) }()
		<-p.Resumed()
		if waited := time.Since(begin); waited != resumePatience {
			t.Errorf("it took %s", waited)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestHeldEventsWithoutRoomAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		with := newParts()
		p := with.pipeline()
		p.late = make(chan lateEvent, 1)
		if err := p.Ingest(t.Context(), []*event.Event{unknownPod("x"), unknownPod("y")}); err != nil {
			t.Fatal(err)
		}
		with.hold.held[0](false)
		with.hold.held[1](false) // finds no room
		if n := testutil.ToFloat64(p.delayed); n != 1 {
			t.Errorf("%v events are counted as delayed, want 1", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx) }()
		time.Sleep(2 * spoolPause)
		synctest.Wait()
		for _, let := range with.hold.held[2:] { // Those of the spool, as often as they were read.
			let(false)
			synctest.Wait()
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(with.correlator.ids, "y") || with.spooled(t) != 0 {
			t.Errorf("the correlator got %v, %d events are in the spool", with.correlator.ids, with.spooled(t))
		}
	})
}
