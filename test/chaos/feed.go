package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

const (
	// beat is how often something new happens.
	beat = 200 * time.Millisecond
	// maxUnderWay bounds what waits for the server: beyond it nothing new happens.
	maxUnderWay = 400
	// audited is how much each API server has to tell in a beat that no rule wants.
	audited = 10
)

// feed plays the sources: it has stories happen, and brings them to the server.
type feed struct {
	ledger  *ledger
	servers []*serverprocess.APIServer
	agents  map[string]*agent
	// writer and random are the beating goroutine's.
	writer *writer
	random *rand.Rand
	// rates are how many stories of each plot happen in a second.
	rates map[plot]float64
	// late is how late a batch is at most.
	late time.Duration

	casting atomic.Pointer[casting]
	// paused: no story happens. still: nothing at all does. prompt: sources tell at once what they have.
	paused, still, prompt atomic.Bool
	// backOff, if it is set, is what API servers wait for before they try again with what they have recorded meanwhile.
	backOff atomic.Pointer[chan struct{}]
	// repeats are batches that are to be sent again.
	repeats atomic.Int64
	// onWrite is called once, after the next delivery was written and before it is answered.
	onWrite atomic.Pointer[func()]

	// delivering are batches on their way.
	delivering sync.WaitGroup
	mu         sync.Mutex
	err        error
}

// agent is a node's agent, whose connection is cut now and then.
type agent struct {
	*serverprocess.Agent
	// connection is held while it is cut or made.
	connection sync.Mutex
}

// fail notes the first error, unless it is that all is over.
func (f *feed) fail(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && ctx.Err() == nil {
		f.err = err
	}
}

func (f *feed) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// run has things happen until stop is closed, and returns when all batches are delivered. The end of ctx gives them up.
func (f *feed) run(ctx context.Context, stop <-chan struct{}) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.beat(ctx, time.Now())
		case <-stop:
			f.delivering.Wait()
			return
		}
	}
}

// beat has some stories happen, and each API server tell what it has recorded.
func (f *feed) beat(ctx context.Context, now time.Time) {
	if f.still.Load() || f.ledger.underWay() > maxUnderWay {
		return
	}
	recorded := make([][]*auditv1.Event, len(f.servers))
	for i := range recorded {
		for range audited {
			recorded[i] = append(recorded[i], f.writer.noise(now))
		}
	}
	if !f.paused.Load() {
		for _, s := range f.stories(now) {
			f.tell(ctx, s, recorded)
		}
	}
	for i, events := range recorded {
		f.random.Shuffle(len(events), func(a, b int) { events[a], events[b] = events[b], events[a] })
		for len(events) > 0 {
			n := min(len(events), 1+f.random.IntN(20))
			f.record(ctx, f.servers[i], events[:n], now)
			events = events[n:]
		}
	}
}

// stories are those that happen in this beat.
func (f *feed) stories(now time.Time) []*story {
	var out []*story
	cast := f.casting.Load()
	for _, p := range []plot{tokenUsed, clientRun, session, shell, harmless} {
		for share := f.rates[p] * beat.Seconds(); share > 0; share-- {
			if f.random.Float64() >= share {
				continue
			}
			if x := cast.pick(p, now); x != nil {
				out = append(out, f.writer.write(p, x.pod, x.other, now))
			}
		}
	}
	return out
}

// tell gives a story's events to their sources.
func (f *feed) tell(ctx context.Context, s *story, recorded [][]*auditv1.Event) {
	f.ledger.add(s)
	by := f.random.IntN(len(recorded)) // the one that the story's client speaks to
	acts := s.acts
	if f.random.IntN(4) == 0 {
		acts = append(slices.Clone(acts), f.writer.quiet(s.pod, s.begun))
	}
	for _, a := range acts {
		if a.audit != nil {
			recorded[by] = append(recorded[by], a.audit)
			continue
		}
		f.push(ctx, f.agents[a.pod.node], a.telemetry, f.delay(f.late/3))
	}
}

// delay is nothing more often than not, and at most the given time.
func (f *feed) delay(most time.Duration) time.Duration {
	if f.random.IntN(3) > 0 || f.prompt.Load() {
		return 0
	}
	return time.Duration(f.random.Int64N(int64(most)))
}

// push has an agent see something, after a while.
func (f *feed) push(ctx context.Context, by *agent, e *telemetryv1.Event, after time.Duration) {
	e = proto.CloneOf(e)
	e.Time = timestamppb.New(e.GetTime().AsTime().Add(by.Ahead))
	e.Process.Start = e.GetTime()
	arrived := f.ledger.begin(time.Now())
	f.delivering.Go(func() {
		defer arrived() // From here on it is in the spool.
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
		by.Spool.Push(e)
		f.ledger.count(sentTelemetry, 1)
	})
}

// record delivers a batch, perhaps after a while, perhaps more than once.
func (f *feed) record(ctx context.Context, by *serverprocess.APIServer, events []*auditv1.Event, now time.Time) {
	if f.paused.Load() {
		f.deliver(ctx, by, events, now, 0)
		return
	}
	again := []time.Duration{}
	for f.random.IntN(5) == 0 {
		again = append(again, f.delay(f.late+f.late/2))
	}
	f.deliver(ctx, by, events, now, f.delay(f.late), again...)
}

// deliver sends a batch after a while, and again after others.
func (f *feed) deliver(ctx context.Context, by *serverprocess.APIServer, events []*auditv1.Event, now time.Time, after time.Duration, again ...time.Duration) {
	list := auditv1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "audit.k8s.io/v1"}}
	for _, e := range events {
		item := e.DeepCopy()
		item.RequestReceivedTimestamp = metav1.NewMicroTime(e.RequestReceivedTimestamp.Add(by.Ahead()))
		item.StageTimestamp = metav1.NewMicroTime(e.StageTimestamp.Add(by.Ahead()))
		list.Items = append(list.Items, *item)
	}
	body, err := json.Marshal(&list)
	if err != nil {
		f.fail(ctx, fmt.Errorf("encode a batch: %w", err))
		return
	}
	f.send(ctx, by, body, after, f.ledger.begin(now), sentAudit, len(events))
	for _, after := range again {
		f.repeats.Add(1)
		f.send(ctx, by, body, after, func() { f.repeats.Add(-1) }, sentAgain, len(events))
	}
}

// What is counted as sent.
const (
	sentAudit     = "audit events"
	sentAgain     = "audit events, sent again"
	sentTelemetry = "telemetry events"
)

// send delivers a body after a while.
func (f *feed) send(ctx context.Context, by *serverprocess.APIServer, body []byte, after time.Duration, arrived func(), what string, events int) {
	backOff := f.backOff.Load()
	f.delivering.Go(func() {
		pause(ctx, after)
		if backOff != nil {
			select {
			case <-*backOff:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err := by.Deliver(f.traced(ctx), body); err != nil {
			f.fail(ctx, err)
			return
		}
		arrived()
		f.ledger.count(what, events)
	})
}

// traced is a context in which a request that was written calls onWrite.
func (f *feed) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) {
			if call := f.onWrite.Swap(nil); call != nil {
				(*call)()
			}
		},
	})
}

// quiesce has nothing new happen until resume, and waits until the server has acknowledged everything.
func (f *feed) quiesce(ctx context.Context) error {
	f.paused.Store(true)
	return f.settle(ctx)
}

func (f *feed) resume() {
	f.still.Store(false)
	f.paused.Store(false)
}

// settle waits until everything but the noise of this moment has arrived.
func (f *feed) settle(ctx context.Context) error {
	for f.ledger.oldest() > 2*time.Second || f.repeats.Load() > 0 {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d deliveries do not get through, one for %s: %w", f.ledger.underWay(), f.ledger.oldest(), ctx.Err())
		}
	}
	for _, a := range f.agents {
		if err := a.Drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// breathe waits until nothing has been on its way for so long that it might arrive too late to be joined.
func (f *feed) breathe(ctx context.Context) error {
	for f.ledger.oldest() > 20*time.Second {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("a delivery does not get through for %s: %w", f.ledger.oldest(), ctx.Err())
		}
	}
	return nil
}

// reconnect cuts an agent's connection, and makes it again after a pause.
func (a *agent) reconnect(ctx context.Context, pause time.Duration) error {
	a.connection.Lock()
	defer a.connection.Unlock()
	a.Cut()
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	return a.Connect(ctx)
}

// cutAgents cuts and makes connections at random until stop is closed.
func (f *feed) cutAgents(ctx context.Context, stop <-chan struct{}, random *rand.Rand, injected func()) {
	names := make([]string, 0, len(f.agents))
	for name := range f.agents {
		names = append(names, name)
	}
	slices.Sort(names)
	for {
		select {
		case <-time.After(time.Second + time.Duration(random.Int64N(int64(6*time.Second)))):
		case <-stop:
			return
		}
		a := f.agents[names[random.IntN(len(names))]]
		if err := a.reconnect(ctx, time.Duration(random.Int64N(int64(500*time.Millisecond)))); err != nil {
			f.fail(ctx, err)
			return
		}
		injected()
	}
}
