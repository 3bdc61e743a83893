package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/skew"
)

// Store is where what is known of the clocks outlives the process. Values are small and few.
type Store interface {
	// Put stores a value under a key of letters, digits and the characters "/._-=".
	Put(ctx context.Context, key string, value []byte) error
	// Range calls f with each value, when it was stored, and stops at the first error, which it returns.
	Range(ctx context.Context, f func(key string, value []byte, at time.Time) error) error
}

const (
	// keyPrefix begins the keys in the Store, before the source.
	keyPrefix = "clock/"
	// saveInterval is how often a clock that has not changed is stored anew: its bounds widen while
	// nobody measures.
	saveInterval = time.Minute
	// recent is how much older than the newest measurement of a source another one may be that still counts.
	recent = 5 * time.Minute
	// keepFormer is how long an offset is remembered after it was found to be another.
	keepFormer = time.Hour
	// maxFormer bounds how many are.
	maxFormer = 16
	// worthTelling is by how much an offset must have changed since people were last told: our clock may be
	// following the wall clock, and then all others seem to move a little all the time.
	worthTelling = 100 * time.Millisecond
)

// clock is what is known of the clock of one source.
type clock struct {
	// offset is what the source's times are corrected by, once it is settled.
	offset  time.Duration
	settled bool
	// measured has the Estimates by address. There is one, unless API servers share a name.
	measured map[string]*skew.Estimate
	former   []former
	// saved is when it was stored, zero if it has changed since.
	saved time.Time
	// told is the offset that people were last told of; warned is when they were told that API servers
	// share the name.
	told   time.Duration
	warned time.Time
}

// former is an offset that was gone by until that time.
type former struct {
	offset time.Duration
	until  time.Time
}

// bounds is where the offset lies: anywhere between those of all API servers that share the name.
func (k *clock) bounds(now time.Time) (out skew.Bounds, shared bool) {
	newest := k.newest()
	first := true
	for _, e := range k.measured {
		switch b := e.Bounds(now); {
		case newest.Sub(e.At) > recent:
		case first:
			out, first = b, false
		default:
			shared = shared || b.Low > out.High || b.High < out.Low
			out = out.Hull(b)
		}
	}
	return out, shared
}

func (k *clock) newest() time.Time {
	var newest time.Time
	for _, e := range k.measured {
		if e.At.After(newest) {
			newest = e.At
		}
	}
	return newest
}

func (k *clock) at(now time.Time) event.Clock {
	b, _ := k.bounds(now)
	return event.Clock{Offset: k.offset, Tolerance: b.Farthest(k.offset), Measured: true}
}

// settle chooses the offset anew after a measurement.
func (k *clock) settle(now time.Time) {
	b, _ := k.bounds(now)
	if b.Contains(k.offset) {
		k.settled = true
		return
	}
	if k.settled {
		if len(k.former) >= maxFormer {
			k.former = k.former[1:]
		}
		k.former = append(k.former, former{k.offset, now})
	}
	k.offset, k.settled, k.saved = b.Preferred(), true, time.Time{}
}

// measure takes what a flight tells of its source's clock into account. It is called when the
// event has returned, and again once the answer has narrowed the time down.
func (c *Canary) measure(f *flight) {
	if f.received.IsZero() {
		return
	}
	// The event cannot have come back before the request was made, which may be known sooner than the answer.
	sent, until := f.sent, f.received
	if !f.trip.Answered.IsZero() {
		sent = f.trip.Sent
		if f.trip.Answered.Before(until) {
			until = f.trip.Answered
		}
	}
	b, ok := skew.Between(sent, until, f.stamp)
	if !ok {
		return
	}
	k := c.clocks[f.source]
	if k == nil {
		if len(c.clocks) >= maxSources {
			return
		}
		k = &clock{measured: make(map[string]*skew.Estimate)}
		c.clocks[f.source] = k
	}
	e := k.measured[f.server.address]
	if e == nil {
		e = &skew.Estimate{}
		k.measured[f.server.address] = e
		maps.DeleteFunc(k.measured, func(_ string, other *skew.Estimate) bool {
			return other.Known() && until.Sub(other.At) > keepServer
		})
	}
	e.Add(b, until)
	before := k.offset
	if k.settle(until); k.saved.IsZero() {
		select {
		case c.moved <- struct{}{}:
		default:
		}
	}
	c.tell(f, k, before, until)
}

func (c *Canary) tell(f *flight, k *clock, before time.Duration, now time.Time) {
	known := k.at(now)
	c.metrics.offset.WithLabelValues(f.source).Set(known.Offset.Seconds())
	c.metrics.tolerance.WithLabelValues(f.source).Set(known.Tolerance.Seconds())
	if known.Offset != before && (k.told == 0 || (known.Offset-k.told).Abs() >= worthTelling) {
		k.told = known.Offset
		c.opts.Logger.Warn("the clock of an API server differs from ours; its events' times are corrected",
			"source", f.source, "apiserver", f.server.address, "ahead", known.Offset, "tolerance", known.Tolerance, "before", before)
	}
	if _, shared := k.bounds(now); shared && now.Sub(k.warned) >= saveInterval {
		k.warned = now
		c.opts.Logger.Error("API servers whose clocks differ send their audit events under one name, so that their times cannot be corrected: "+
			"give each a sink path and a certificate of its own",
			"source", f.source, "apiservers", slices.Sorted(maps.Keys(k.measured)))
	}
}

// correct takes the offset of their source's clock off the times of audit events.
func (c *Canary) correct(events []*event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var source string
	var known event.Clock
	for _, e := range events {
		if e.Audit == nil || e.Clock.Measured {
			continue
		}
		if e.Source != source {
			source, known = e.Source, event.Clock{}
			if k := c.clocks[source]; k != nil {
				known = k.at(e.Received)
			}
		}
		e.Clock = known
		e.Time, e.StageTime = e.Time.Add(-known.Offset), e.StageTime.Add(-known.Offset)
	}
}

// tellOffsets tells Options.Offsets if they have changed.
func (c *Canary) tellOffsets() {
	if c.opts.Offsets == nil {
		return
	}
	c.tellMu.Lock()
	defer c.tellMu.Unlock()
	if now := c.offsets(); !slices.Equal(now, c.told) {
		c.told = now
		c.opts.Offsets(slices.Clone(now))
	}
}

// offsets are how far the clocks of API servers are ahead of ours, and lately were.
func (c *Canary) offsets() []time.Duration {
	now := c.opts.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []time.Duration
	for _, k := range c.clocks {
		out = append(out, k.offset)
		for _, f := range k.former {
			if now.Sub(f.until) < keepFormer {
				out = append(out, f.offset)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// stored is a clock as the Store has it.
type stored struct {
	Address  string        `json:"address"`
	Estimate skew.Estimate `json:"estimate"`
	// Offset is what events were corrected by.
	Offset time.Duration `json:"offset"`
}

// Load takes over what an earlier process knew of the clocks. Call it before the first event arrives.
func (c *Canary) Load(ctx context.Context) error {
	if c.opts.Store == nil {
		return nil
	}
	defer c.tellOffsets()
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.opts.Store.Range(ctx, func(key string, value []byte, _ time.Time) error {
		source, ok := strings.CutPrefix(key, keyPrefix)
		var s stored
		// What is not ours, or cannot be read, is not worth failing for: it will be measured again.
		if ok && len(c.clocks) < maxSources && json.Unmarshal(value, &s) == nil && s.Estimate.Known() {
			c.clocks[source] = &clock{offset: s.Offset, settled: true, measured: map[string]*skew.Estimate{s.Address: &s.Estimate}}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was known of the API servers' clocks: %w", err)
	}
	return nil
}

// save stores the clocks that have changed, or were not stored for a while.
func (c *Canary) save(ctx context.Context) {
	if c.opts.Store == nil {
		return
	}
	for key, value := range c.unsaved() {
		if err := c.opts.Store.Put(ctx, key, value); err != nil {
			c.metrics.failed.WithLabelValues("store").Inc()
			c.opts.Logger.Warn("what is known of an API server's clock could not be stored", "key", key, "error", err)
		}
	}
}

func (c *Canary) unsaved() map[string][]byte {
	now := c.opts.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string][]byte)
	for source, k := range c.clocks {
		if now.Sub(k.saved) < saveInterval {
			continue
		}
		for address, e := range k.measured {
			if !e.At.Equal(k.newest()) {
				continue
			}
			if text, err := json.Marshal(stored{Address: address, Estimate: *e, Offset: k.offset}); err == nil {
				out[keyPrefix+source] = text
				k.saved = now
			}
		}
	}
	return out
}
