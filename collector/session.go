package collector

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

const (
	// keepSession is how long a session without a stream is remembered. Agents
	// reconnect within seconds.
	keepSession = time.Hour
	// maxSessionsPerNode bounds what one agent that keeps inventing sessions can
	// make us remember: the running one and some that have just ended.
	maxSessionsPerNode = 4
)

// session is what is known of one agent process, across its streams.
type session struct {
	node, id string

	// mu is held while a batch is handled: of two streams of one session, which
	// meet when an agent reconnects before its old connection was found dead,
	// one waits for the other.
	mu sync.Mutex
	// acked is the last batch that was acknowledged, 0 before the first.
	acked uint64
	// lastEvent is the number of the last event that arrived.
	lastEvent uint64
	// arrived is the same for those who do not hold mu.
	arrived atomic.Uint64
	lost    [len(causes)]uint64
	// begun is when this process heard of the session first; reached is the time of its last event, or heartbeat. Before the
	// first it is that of the process before on the node.
	begun, reached time.Time
	// unheard is set until the first batch of a session that nobody has heard of before.
	unheard bool

	// warnLoss and warnForeign keep one agent from filling the log.
	warnLoss, warnForeign rate.Sometimes

	// Guarded by sessions.mu:
	current *stream // in charge; nil without one
	streams int
	seen    time.Time
}

// causes are the labels of session.lost, in its order.
var causes = [...]string{
	"ring_full", "spool_full", "undecodable", "limited_entries", "limited_opens", "limited_execs", "limited_exits", "skipped_runs",
}

// lostSince updates the counters and returns by how much each grew.
func (s *session) lostSince(l *telemetryv1.Lost) (grew [len(causes)]uint64, lost bool) {
	now := [len(causes)]uint64{
		l.GetRingFull(), l.GetSpoolFull(), l.GetUndecodable(),
		l.GetLimitedEntries(), l.GetLimitedOpens(), l.GetLimitedExecs(), l.GetLimitedExits(), l.GetSkippedRuns(),
	}
	for i, n := range now {
		// Within a session they only grow: a lower number is of an older batch.
		if n > s.lost[i] {
			grew[i], lost = n-s.lost[i], true
			s.lost[i] = n
		}
	}
	return grew, lost
}

// missing returns how many numbers between last and next never came. Nothing is
// missing before the first one of which that can be said: the earlier ones may
// have gone to this server before it crashed.
func missing(last, next uint64) uint64 {
	if last == 0 || next <= last {
		return 0
	}
	return next - last - 1
}

// sessions are the sessions of all nodes. Their number is bounded by that of the
// cluster's nodes, which agents cannot choose: they are in their tokens.
type sessions struct {
	clock  func() time.Time
	losses Losses
	forget func(node string)

	mu     sync.Mutex
	byNode map[string][]*session
	swept  time.Time
}

// newSessions makes an empty table; forget is called for nodes that are no longer heard of.
func newSessions(clock func() time.Time, losses Losses, forget func(node string)) *sessions {
	return &sessions{clock: clock, losses: losses, forget: forget, byNode: make(map[string][]*session), swept: clock()}
}

// attach puts a stream in charge of a session and ends the one that was.
func (t *sessions) attach(node, id string, st *stream) *session {
	now := t.clock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	s := t.find(node, id)
	isNew := s == nil
	if isNew {
		s = &session{
			node: node, id: id, begun: now,
			warnLoss:    rate.Sometimes{Interval: time.Minute},
			warnForeign: rate.Sometimes{Interval: time.Minute},
		}
		t.byNode[node] = append(t.room(node), s)
	}
	if s.current != nil {
		close(s.current.superseded)
	}
	s.current, s.seen = st, now
	s.streams++
	reached, numbers, exact := t.losses.Connected(node, id, now) // Within the lock: in this order.
	if isNew {
		s.resume(reached, numbers, exact)
	}
	return s
}

func (t *sessions) find(node, id string) *session {
	for _, s := range t.byNode[node] {
		if s.id == id {
			return s
		}
	}
	return nil
}

// arrived reports whether an event that an earlier process of a node's agent had sent is known to have arrived then.
func (t *sessions) arrived(node string, first *telemetryv1.Sent) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.find(node, first.GetSessionId())
	return s != nil && first.GetSequence() <= s.arrived.Load()
}

// room is a node's sessions with room for one more: the one that was heard of
// least recently goes. Its stream, if it has one, goes on with what it holds.
func (t *sessions) room(node string) []*session {
	list := t.byNode[node]
	if len(list) < maxSessionsPerNode {
		return list
	}
	oldest := 0
	for i, s := range list {
		if s.seen.Before(list[oldest].seen) {
			oldest = i
		}
	}
	return append(list[:oldest:oldest], list[oldest+1:]...)
}

// detach tells that a stream of the session has ended.
func (t *sessions) detach(s *session, st *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.streams--
	s.seen = t.clock()
	if s.current == st {
		s.current = nil
	}
	if !slices.ContainsFunc(t.byNode[s.node], func(other *session) bool { return other.streams > 0 }) {
		t.losses.Disconnected(s.node, s.seen)
	}
}

// streamOf is the stream of a node's agent, the newest if one agent replaces
// another; nil without any.
func (t *sessions) streamOf(node string) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	var newest *session
	for _, s := range t.byNode[node] {
		if s.current != nil && (newest == nil || s.seen.After(newest.seen)) {
			newest = s
		}
	}
	if newest == nil {
		return nil
	}
	return newest.current
}

// streamsOf are all streams that are in charge of a session of a node's.
func (t *sessions) streamsOf(node string) []*stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	var streams []*stream
	for _, s := range t.byNode[node] {
		if s.current != nil {
			streams = append(streams, s.current)
		}
	}
	return streams
}

// sweep forgets sessions that ended long ago.
func (t *sessions) sweep(now time.Time) {
	if now.Sub(t.swept) < keepSession {
		return
	}
	t.swept = now
	for node, list := range t.byNode {
		var kept []*session
		for _, s := range list {
			if s.streams > 0 || now.Sub(s.seen) < keepSession {
				kept = append(kept, s)
			}
		}
		if len(kept) > 0 {
			t.byNode[node] = kept
			continue
		}
		delete(t.byNode, node)
		t.forget(node)
	}
}
