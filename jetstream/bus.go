package jetstream

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/portcullis-dev/portcullis/bus"
)

// partitions is how many parts the candidates are divided into by their keys,
// so that as many consumers could share them. Each is a subject of the stream.
const partitions = 8

// The bus' stream and its subjects.
const (
	candidateStream  = "candidates"
	candidateSubject = "candidates."
)

// softMessage is the size from which on a message is divided if it can be, maxData that
// beyond which it cannot be stored: the subject and its like need room too.
const (
	softMessage = 1 << 20
	maxData     = maxMessage - 1024
)

// Bus is a bus.Bus whose candidates outlive the process.
type Bus struct {
	store   *Store
	options BusOptions
	recent  *recent
	shares  *shares
	tended  *tended
	// told bounds what is logged of owners that are cut off.
	told rate.Sometimes

	// stored and handled are the last sequences that were, the latter completely.
	stored, handled atomic.Uint64
	progress        progress

	// consumer is held by the one Consume that runs; position belongs to it.
	consumer sync.Mutex
	position position
	replayed chan struct{}
	// horizon is the arrival time (Unix nanoseconds) of the oldest message at the start,
	// 0 if there was none before it.
	horizon atomic.Int64
}

var _ bus.Bus = (*Bus)(nil)

// Bus opens the store's bus. There is one.
func (s *Store) Bus(ctx context.Context, o BusOptions) (*Bus, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("bus options: %w", err)
	}
	b := &Bus{
		store: s, options: o, recent: newRecent(), shares: newShares(time.Now()), replayed: make(chan struct{}),
		told: rate.Sometimes{Interval: time.Minute},
	}
	b.tended = newTended(candidateStream, o.Retention, b.create, b.handled.Load)
	b.tended.measured = func(state natsjs.StreamState, now time.Time) { b.shares.measured(state, b.tended.age.kept(), now) }
	err := s.adopt(ctx, b.tended)
	if err == nil {
		s.bus.Store(b)
		err = s.options.Registerer.Register(b.waiting())
	}
	if err != nil {
		return nil, fmt.Errorf("open the bus: %w", err)
	}
	return b, nil
}

func (b *Bus) waiting() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "portcullis", Name: "bus_waiting", Help: "Messages, of one or more candidates, that wait for the consumer.",
	}, func() float64 {
		handled := b.handled.Load() // First: it only grows.
		return float64(max(b.stored.Load(), handled) - handled)
	})
}

// create makes the stream, or gives the one that is there its present options.
func (b *Bus) create(ctx context.Context, e *engine) error {
	config := natsjs.StreamConfig{
		Name:       candidateStream,
		Subjects:   []string{candidateSubject + "*"},
		Storage:    natsjs.FileStorage,
		Discard:    natsjs.DiscardNew,
		MaxBytes:   b.store.fitting(ctx, e, candidateStream, b.options.MaxBytes),
		MaxMsgSize: maxMessage,
		DenyDelete: true,
		// None of its messages has an ID that it could know a duplicate by, and the least
		// that can be said spares a start looking for them.
		Duplicates: 100 * time.Millisecond,
	}
	stream, err := e.js.CreateOrUpdateStream(ctx, config)
	if err != nil {
		return b.store.created(ctx, candidateStream, err)
	}
	b.stored.Store(stream.CachedInfo().State.LastSeq)
	b.shares.begin(stream.CachedInfo(), time.Now())
	return nil
}

// Publish implements bus.Bus. It does not wait for room: a full store is ErrFull at once,
// one that cannot be written is ErrUnavailable. What is published again soon
// after it was stored is not stored again. Of events, large parts are not kept (event.Event.Trimmed);
// and candidates whose owner has more than its share of the bus are dropped (BusOptions.Dropped).
func (b *Bus) Publish(ctx context.Context, candidates ...bus.Candidate) error {
	start := time.Now()
	if err := b.publish(ctx, candidates); err != nil {
		b.store.metrics.refused.Add(float64(len(candidates)))
		return fmt.Errorf("publish %d candidates: %w", len(candidates), err)
	}
	b.store.metrics.published.Add(float64(len(candidates)))
	b.store.metrics.publishing.Observe(time.Since(start).Seconds())
	return nil
}

func (b *Bus) publish(ctx context.Context, candidates []bus.Candidate) error {
	e, err := b.store.current()
	if err != nil {
		return err
	}
	ctx, cancel := e.within(ctx, b.store.options.Timeout)
	defer cancel()
	var batches []*batch
	for number, part := range divide(b.trim(candidates)) {
		if len(part) > 0 {
			batches = b.pack(batches, number, part)
		}
	}
	defer func() {
		for _, x := range batches {
			x.settle()
		}
	}()
	for _, x := range batches {
		if err = x.send(e); err != nil {
			return explain(ctx, err)
		}
	}
	for _, x := range batches {
		if err = b.confirm(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

// divide sorts candidates by partition, in their order.
func divide(candidates []bus.Candidate) [partitions][]bus.Candidate {
	var parts [partitions][]bus.Candidate
	var count [partitions]int
	for i := range candidates {
		count[partition(candidates[i].Key)]++
	}
	for p, n := range count {
		parts[p] = make([]bus.Candidate, 0, n)
	}
	for _, c := range candidates {
		p := partition(c.Key)
		parts[p] = append(parts[p], c)
	}
	return parts
}

// partition is that of a key. Candidates that could meet have the same key, whatever
// rule they are of; and those of one event by several rules share a message.
func partition(key string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32() % partitions
}

// batch is a message on its way.
type batch struct {
	subject string
	data    []byte
	hash    uint64
	future  natsjs.PubAckFuture
	// claim is what its owners were charged with, stored the sequence that it has, once it has one.
	claim  *claim
	stored uint64
}

// pack encodes candidates of one partition as one message, or more if it gets large. What is stored
// already is left out, and what is of owners who have more than their share.
func (b *Bus) pack(batches []*batch, partition int, candidates []bus.Candidate) []*batch {
	hash := b.recent.hash(candidates)
	if b.recent.has(hash) {
		b.store.metrics.repeated.Add(float64(len(candidates)))
		return batches
	}
	candidates, accounts := b.admit(candidates, b.accounts(candidates))
	if len(candidates) == 0 {
		return batches
	}
	data, err := b.store.codec.marshal(candidates)
	if half := len(candidates) / 2; half > 0 && (err != nil || len(data) > softMessage) {
		batches = b.pack(batches, partition, candidates[:half])
		return b.pack(batches, partition, candidates[half:])
	}
	if err == nil && len(data) > maxData {
		err = errTooLarge
	}
	if err != nil {
		b.giveUp(candidates, err)
		return batches
	}
	subject := candidateSubject + strconv.Itoa(partition)
	return append(batches, &batch{subject: subject, data: data, hash: hash, claim: b.shares.claim(accounts, weigh(candidates), len(data))})
}

// giveUp drops what can never be stored: to refuse it would have it sent again for ever.
func (b *Bus) giveUp(candidates []bus.Candidate, reason error) {
	b.store.metrics.unstorable.Add(float64(len(candidates)))
	for _, c := range candidates {
		b.store.options.Logger.Error("candidate cannot be stored, it is dropped",
			"rule", c.Rule, "event", c.Event.ID, "source", c.Event.Source, "error", reason)
	}
}

func (x *batch) send(e *engine) (err error) {
	// No retries: they would come behind what is sent after this.
	x.future, err = e.js.PublishMsgAsync(&nats.Msg{Subject: x.subject, Data: x.data}, natsjs.WithRetryAttempts(0))
	return err
}

// confirm waits until a message is stored.
func (b *Bus) confirm(ctx context.Context, x *batch) error {
	select {
	case ack := <-x.future.Ok():
		x.stored = ack.Sequence
		raise(&b.stored, ack.Sequence)
		b.recent.add(x.hash)
		return nil
	case err := <-x.future.Err():
		return explain(ctx, err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settle has the owners pay for what was stored, and for nothing else.
func (x *batch) settle() {
	if x.stored > 0 {
		x.claim.stored(x.stored)
	} else {
		x.claim.undo()
	}
}

// raise sets a number that only grows.
func raise(to *atomic.Uint64, value uint64) {
	for {
		now := to.Load()
		if value <= now || to.CompareAndSwap(now, value) {
			return
		}
	}
}

// Replayed is closed once Consume has delivered everything that was stored before it began, and
// its handler has returned for it.
func (b *Bus) Replayed() <-chan struct{} { return b.replayed }

// Horizon is, once Consume has begun, since when everything that arrived is stored and
// delivered again; zero if nothing had been let go before the start.
func (b *Bus) Horizon() time.Time {
	at := b.horizon.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// Retain changes how long candidates are kept, as with other rules.
func (b *Bus) Retain(retention time.Duration) { b.tended.age.keepFor(retention) }
