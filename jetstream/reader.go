package jetstream

import (
	"context"
	"fmt"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/portcullis-dev/portcullis/bus"
)

// readAhead is how many messages are looked at ahead of who takes them. What the server has sent beyond
// that waits undecoded: its flow control allows 32 MiB.
const readAhead = 16

// heartbeat is how often the server says that it is there while it has nothing to send.
const heartbeat = 5 * time.Second

// delivery is a message that has been read.
type delivery struct {
	message  natsjs.Msg
	sequence uint64
	// pending is how many there were behind it.
	pending uint64
	at      time.Time

	// candidates are what it holds if it is the bus', or problem says why that cannot be told.
	candidates []bus.Candidate
	problem    error
}

// reader reads a stream's messages ahead of who takes them. It keeps no
// account of where it is on the server's side: that is for the taker to know.
type reader struct {
	deliveries chan delivery
	// failed has the error that ended the reading.
	failed chan error
	// look is what is done with a message before it is passed on, in its own goroutine.
	look func(*delivery)

	// found is how many messages there were when it began.
	found    uint64
	consumer natsjs.PushConsumer
	feed     natsjs.ConsumeContext
	context  context.Context
	cancel   context.CancelFunc
}

// read begins to read a stream at a sequence.
func (e *engine) read(ctx context.Context, stream string, from uint64, look func(*delivery)) (*reader, error) {
	// The server pushes. To pull was tried: with a bound on bytes, which it would need, the client
	// library loses count of what it has asked for, and with it messages, or stops asking.
	consumer, err := e.js.CreatePushConsumer(ctx, stream, natsjs.ConsumerConfig{
		DeliverPolicy:     natsjs.DeliverByStartSequencePolicy,
		OptStartSeq:       max(from, 1),
		DeliverSubject:    e.conn.NewInbox(),
		AckPolicy:         natsjs.AckNonePolicy,
		FlowControl:       true,
		IdleHeartbeat:     heartbeat,
		MemoryStorage:     true,
		InactiveThreshold: 2 * heartbeat,
	})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	r := &reader{
		deliveries: make(chan delivery, readAhead), failed: make(chan error, 1), look: look,
		found: consumer.CachedInfo().NumPending, consumer: consumer,
	}
	r.context, r.cancel = context.WithCancel(e.life)
	r.feed, err = consumer.Consume(r.pass, natsjs.ConsumeErrHandler(func(_ natsjs.ConsumeContext, err error) {
		r.fail(err)
	}))
	if err != nil {
		r.cancel()
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return r, nil
}

// stop ends the reading. Nothing of the reader runs any more when it returns.
func (r *reader) stop() {
	r.cancel()
	r.feed.Stop()
	<-r.feed.Closed()
}

// pass passes a message on.
func (r *reader) pass(m natsjs.Msg) {
	about, err := m.Metadata()
	if err != nil {
		r.fail(err)
		return
	}
	d := delivery{message: m, sequence: about.Sequence.Stream, pending: about.NumPending, at: about.Timestamp}
	if r.look != nil {
		r.look(&d)
	}
	select {
	case r.deliveries <- d:
	case <-r.context.Done():
	}
}

func (r *reader) fail(err error) {
	select {
	case r.failed <- fmt.Errorf("read: %w", err):
	default: // It has failed already.
	}
}

// progress is the last sequence that the server has sent, or passed over, and how many messages it has
// yet to send.
func (r *reader) progress(ctx context.Context) (sent, pending uint64, err error) {
	info, err := r.consumer.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read: %w", err)
	}
	return info.Delivered.Stream, info.NumPending, nil
}
