package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/skew"
)

// pingEvery is how often an agent's clock is asked for. Between two answers the two
// clocks drift apart by less than a few milliseconds.
const pingEvery = 15 * time.Second

// worthTelling is by how much a clock must have moved since people were last told: ours may be
// following the wall clock, and then all others seem to move a little all the time.
const worthTelling = 100 * time.Millisecond

// slack is by how much an offset may be proven wrong before it is another one. A closer look at a clock would
// otherwise give an event that comes twice two times, microseconds apart. It counts as tolerance.
const slack = 5 * time.Millisecond

const (
	// clockKey begins the keys in the Store, before the node.
	clockKey = "agent-clock/"
	// saveClock is how often an offset that has not changed is stored anew: it is the less certain the older it is.
	saveClock = 10 * time.Minute
	// storeTimeout bounds how long a stream waits for the Store.
	storeTimeout = time.Second
)

// Store is where what is known of the nodes' clocks outlives the process. Values are small and few: those of nodes
// whose clock is another than ours.
type Store interface {
	// Put stores a value under a key of letters, digits and the characters "/._-=".
	Put(ctx context.Context, key string, value []byte) error
	// Range calls f with each value, when it was stored, and stops at the first error, which it returns. Not
	// all of them need be ours.
	Range(ctx context.Context, f func(key string, value []byte, at time.Time) error) error
}

// clocks are those of all nodes. An event that arrives twice must get the same time twice, or it is not known as the
// one that it is: so an offset belongs to the node and not to a stream, or to an agent's process, and it is stored before an event is
// corrected by it.
type clocks struct {
	mu     sync.Mutex
	byNode map[string]*nodeClock
}

// nodeClock is one node's, as compared with ours.
type nodeClock struct {
	mu       sync.Mutex
	estimate skew.Estimate
	// offset is what events are corrected by.
	offset time.Duration
	// told is the offset that people were last told of.
	told time.Duration
	// saved is when it was stored, zero if it never was.
	saved time.Time
}

// add takes a measurement into account. It reports whether the offset is another one now.
func (k *nodeClock) add(b skew.Bounds, now time.Time) (changed bool) {
	known := k.estimate.Known()
	k.estimate.Add(b, now)
	b = k.estimate.Bounds(now)
	if known && b.Low-slack <= k.offset && k.offset <= b.High+slack {
		return false
	}
	before := k.offset
	k.offset = k.estimate.Offset
	return !known || k.offset != before
}

// tolerance is how far the offset may be wrong now.
func (k *nodeClock) tolerance(now time.Time) time.Duration {
	return k.estimate.Bounds(now).Farthest(k.offset)
}

// storedClock is one as the Store has it.
type storedClock struct {
	Estimate skew.Estimate `json:"estimate"`
	Offset   time.Duration `json:"offset"`
}

func (c *clocks) of(node string) *nodeClock {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byNode[node]
	if k == nil {
		k = &nodeClock{}
		c.byNode[node] = k
	}
	return k
}

func (c *clocks) forget(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byNode, node)
}

// Load takes over what an earlier process knew of the nodes' clocks. Call it before Serve.
func (s *Server) Load(ctx context.Context) error {
	if s.opts.Store == nil {
		return nil
	}
	err := s.opts.Store.Range(ctx, func(key string, value []byte, at time.Time) error {
		node, ours := strings.CutPrefix(key, clockKey)
		var stored storedClock
		// What cannot be read is not worth failing for: it will be measured again.
		if ours && json.Unmarshal(value, &stored) == nil && stored.Estimate.Known() {
			k := s.clocks.of(node)
			k.mu.Lock()
			defer k.mu.Unlock()
			k.estimate, k.offset, k.told, k.saved = stored.Estimate, stored.Offset, stored.Offset, at
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was known of the nodes' clocks: %w", err)
	}
	return nil
}

// ping is the question that an agent has not answered yet. The first is the welcome.
type ping struct {
	number uint64
	sent   time.Time
}

// askClock sends the next ping.
func (st *stream) askClock() error {
	st.ping = ping{number: st.ping.number + 1, sent: st.opts.Clock()}
	return st.grpc.Send(&telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Ping{
		Ping: &telemetryv1.Ping{Number: st.ping.number},
	}})
}

// answeredClock compares the agent's clock with ours: it showed what the answer says at some
// moment between the question and now. An answer to another question than the last says nothing.
func (st *stream) answeredClock(pong *telemetryv1.Pong) {
	now := st.opts.Clock()
	at := pong.GetAt()
	if pong.GetNumber() != st.ping.number || at.CheckValid() != nil || at.GetSeconds() <= 0 {
		return
	}
	b, ok := skew.Between(st.ping.sent, now, at.AsTime())
	if !ok {
		return
	}
	k := st.clock
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := k.add(b, now)
	offset := k.offset
	if changed && offset != 0 && (k.told == 0 || (offset-k.told).Abs() >= worthTelling) {
		k.told = offset
		st.opts.Logger.Warn("an agent's clock is not the server's: its events' times are corrected", "node", st.agent.Node,
			"ahead", offset, "tolerance", k.tolerance(now))
	}
	// None is what it is without being stored.
	if stored := !k.saved.IsZero(); changed && (offset != 0 || stored) || stored && now.Sub(k.saved) >= saveClock {
		st.save(k, now)
	}
	st.metrics.clockOffset.WithLabelValues(st.agent.Node).Set(offset.Seconds())
	st.metrics.clockTolerance.WithLabelValues(st.agent.Node).Set(k.tolerance(now).Seconds())
}

// save stores a clock for the next process.
func (st *stream) save(k *nodeClock, now time.Time) {
	if st.opts.Store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(st.grpc.Context(), storeTimeout)
	defer cancel()
	value, err := json.Marshal(storedClock{k.estimate, k.offset})
	if err == nil {
		err = st.opts.Store.Put(ctx, clockKey+st.agent.Node, value)
	}
	if err != nil {
		st.opts.Logger.Warn("what is known of a node's clock could not be stored: what its agent sends again after a restart may count twice",
			"node", st.agent.Node, "error", err)
		return
	}
	k.saved = now
}

// at is what is known of the clock.
func (k *nodeClock) at(now time.Time) event.Clock {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.estimate.Known() {
		return event.Clock{}
	}
	return event.Clock{Offset: k.offset, Tolerance: k.tolerance(now), Measured: true}
}
