package coverage

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

const (
	// sourceKey begins the keys of sources, before the name.
	sourceKey = "source/"
	// aliveKey is the key of when the process was last alive.
	aliveKey = "alive"
	// storeInterval is how often what has changed is stored, aliveInterval how often that the process lives.
	storeInterval = time.Second
	aliveInterval = 5 * time.Second
	// progressInterval is how often an agent's progress is stored, if nothing else is new of it. It is exact only after
	// a stop, when all of it is stored; after a crash it is this old at most.
	progressInterval = 30 * time.Second
	// refreshInterval is how long a value that does not change is left alone.
	refreshInterval = StoreTTL / 4
	// batchWait is how long an API server may have kept events back before the server went.
	batchWait = 30 * time.Second
	// stopTimeout bounds storing what is left when the Ledger ends.
	stopTimeout = 3 * time.Second
	// maxStored bounds one value that is read: many times what one of ours can have.
	maxStored = 1 << 20
)

// storedSource is a source as the Store has it. Fields may be added; none may change its meaning.
type storedSource struct {
	Since   time.Time    `json:"since,omitzero"`
	Share   string       `json:"share,omitempty"`
	Session string       `json:"session,omitempty"`
	Reached time.Time    `json:"reached,omitzero"`
	Numbers []uint64     `json:"numbers,omitempty"`
	Holes   []storedHole `json:"holes,omitempty"`
}

type storedHole struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to,omitzero"`
	Cause string    `json:"cause"`
	Lost  uint64    `json:"lost,omitempty"`
}

type storedAlive struct {
	At time.Time `json:"at"`
	// Stopped is set if everything was stored before the process ended.
	Stopped bool `json:"stopped,omitempty"`
}

// Load takes over the ledger of an earlier process. Call it once, before anything else, when the server starts. Values that cannot
// be read are left out: a hole of everything takes their place.
func (l *Ledger) Load(ctx context.Context) error {
	if l.opts.Store == nil {
		return nil
	}
	now := l.opts.Clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	var alive storedAlive
	var unreadable []error
	err := l.opts.Store.Range(ctx, func(key string, value []byte, at time.Time) error {
		var bad error
		if key == aliveKey {
			alive, bad = decodeAlive(value)
		} else if name, ok := strings.CutPrefix(key, sourceKey); ok {
			bad = l.restore(name, value, at)
		}
		if bad != nil {
			unreadable = append(unreadable, fmt.Errorf("%q: %w", key, bad))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was not seen before the start: %w", err)
	}
	if n := len(unreadable); n > 0 {
		l.opts.Logger.Error("a part of what is known of earlier losses cannot be read: everything before now counts as not seen", "values", n, "first", unreadable[0])
		l.add(l.source(FamilyServer+"coverage", now), event.Hole{From: now.Add(-l.opts.Retention), To: now, Cause: CauseUnknown})
	}
	l.resume(alive)
	l.opts.Logger.Info("earlier losses were read", "sources", len(l.sources), "holes", l.total, "alive", alive.At, "stopped", alive.Stopped)
	if alive.Stopped { // From now on no longer: this process may crash before it stores anything.
		return l.put(ctx, aliveKey, storedAlive{At: alive.At})
	}
	return nil
}

func decodeAlive(value []byte) (s storedAlive, err error) {
	err = json.Unmarshal(value, &s)
	return s, err
}

// restore takes over one source.
func (l *Ledger) restore(name string, value []byte, at time.Time) error {
	if !strings.Contains(name, "/") || len(value) > maxStored {
		return errors.New("it is no source's")
	}
	var stored storedSource
	if err := json.Unmarshal(value, &stored); err != nil {
		return err
	}
	share := stored.Share
	if share == "" {
		share = shareOf(name)
	}
	s := l.sharing(name, share, stored.Since, 2*l.opts.MaxSources) // It had room.
	s.session, s.reached, s.numbers = stored.Session, stored.Reached, stored.Numbers
	for _, h := range stored.Holes {
		switch {
		case h.From.IsZero() || h.Cause == "":
			return errors.New("a hole without a time or a cause")
		case h.To.IsZero():
			s.begin(h.Cause, h.From)
		default:
			l.add(s, event.Hole{From: h.From, To: h.To, Cause: h.Cause, Lost: h.Lost})
		}
	}
	s.stored = at
	return nil
}

// resume opens the holes of the time since the process before was alive: those of agents until they have caught up,
// those of API servers until Started tells how long it was.
func (l *Ledger) resume(alive storedAlive) {
	if alive.At.IsZero() {
		return
	}
	l.down = alive.At
	for _, s := range l.sources {
		if strings.HasSuffix(s.name, "/*") {
			continue
		}
		switch family(s.name) {
		case FamilyAgent:
			from := alive.At.Add(-aliveInterval)
			if !s.reached.IsZero() && s.reached.Before(from) {
				from = s.reached
			}
			s.begin(CauseDisconnected, from)
			s.exact = alive.Stopped
		case FamilyAudit:
			s.begin(CauseServerDown, alive.At.Add(-batchWait))
		}
	}
}

// Started notes that the server takes events again. The first call counts.
func (l *Ledger) Started(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down.IsZero() {
		return
	}
	short := at.Sub(l.down) <= l.opts.AuditPatience
	l.down = time.Time{}
	for _, s := range l.sources {
		if short {
			s.take(CauseServerDown)
			continue
		}
		l.end(s, CauseServerDown, CauseServerDown, at)
	}
}

// Run stores what changes, and forgets what is old, until ctx ends. It returns nil.
func (l *Ledger) Run(ctx context.Context) error {
	tick := time.NewTicker(storeInterval)
	defer tick.Stop()
	var alive, swept time.Time
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			l.store(last, &time.Time{}, true)
			return nil
		case <-tick.C:
		}
		if now := l.opts.Clock(); now.Sub(swept) >= time.Minute {
			l.sweep(now)
			swept = now
		}
		l.store(ctx, &alive, false)
	}
}

// sweep forgets holes that are old, and sources that have none and were not heard of for as long. An expected one that
// is forgotten is a hole from then on: nothing is known of it.
func (l *Ledger) sweep(now time.Time) {
	then := now.Add(-l.opts.Retention)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sources {
		l.total -= s.expire(then)
		heap.Fix(&l.ranked, s.rank)
		empty := len(s.ended) == 0 && len(s.open) == 0
		silent := len(s.open) > 0 && s.open[0].From.Before(then) && len(s.ended) == 0 && family(s.name) == FamilyAgent
		if silent || empty && !expected(family(s.name)) {
			l.forget(s)
		}
	}
}

// store writes what has changed, and that the process is alive if it is time for that. The last time it writes everything,
// and that the process has ended.
func (l *Ledger) store(ctx context.Context, alive *time.Time, last bool) {
	if l.opts.Store == nil {
		return
	}
	now := l.opts.Clock()
	err := l.storeSources(ctx, now, last)
	// Last: what happened before it is stored.
	if err == nil && now.Sub(*alive) >= aliveInterval {
		if err = l.put(ctx, aliveKey, storedAlive{At: now, Stopped: last}); err == nil {
			*alive = now
		}
	}
	if err != nil {
		l.metrics.fails.Inc()
		l.storeFailed.Do(func() {
			l.opts.Logger.Error("what was not seen could not be stored, it is tried again", "error", err)
		})
	}
}

func (l *Ledger) storeSources(ctx context.Context, now time.Time, last bool) error {
	changed, gone := l.unstored(now, last)
	names := slices.Sorted(maps.Keys(changed))
	for i, name := range gone {
		if err := l.opts.Store.Delete(ctx, sourceKey+name); err != nil {
			l.again(names, gone[i:])
			return err
		}
	}
	for i, name := range names {
		if err := l.put(ctx, sourceKey+name, changed[name]); err != nil {
			l.again(names[i:], nil)
			return err
		}
	}
	return nil
}

func (l *Ledger) put(ctx context.Context, key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %q: %w", key, err)
	}
	return l.opts.Store.Put(ctx, key, text)
}

// unstored takes the sources that have changed since they were stored, or were stored long ago, and those that are gone. Agents'
// progress is among it now and then, and the last time.
func (l *Ledger) unstored(now time.Time, last bool) (changed map[string]storedSource, gone []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = make(map[string]storedSource)
	for _, s := range l.sources {
		age := now.Sub(s.stored)
		if age > refreshInterval || s.moved && (last || age >= progressInterval) {
			changed[s.name] = s.toStore()
			s.stored, s.moved = now, false
		}
	}
	gone = slices.Sorted(maps.Keys(l.gone))
	clear(l.gone)
	return changed, gone
}

// again has sources stored with the next ones, and those that are gone removed.
func (l *Ledger) again(changed, gone []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range changed {
		if s := l.sources[name]; s != nil {
			s.stored = time.Time{}
		}
	}
	for _, name := range gone {
		if l.sources[name] == nil {
			l.gone[name] = struct{}{}
		}
	}
}

func (s *source) toStore() storedSource {
	out := storedSource{Since: s.since, Session: s.session, Reached: s.reached, Numbers: slices.Clone(s.numbers)}
	if s.share != shareOf(s.name) {
		out.Share = s.share
	}
	for _, holes := range [][]event.Hole{s.ended, s.open} {
		for _, h := range holes {
			out.Holes = append(out.Holes, storedHole{From: h.From, To: h.To, Cause: h.Cause, Lost: h.Lost})
		}
	}
	return out
}
