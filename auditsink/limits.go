package auditsink

import (
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// budget bounds requests and bytes in progress. It never waits: an API server
// that is told at once can keep the batch, one that waits holds a goroutine.
type budget struct {
	mu       sync.Mutex
	requests int
	bytes    int64
	metrics  metrics
}

func newBudget(requests int, bytes int64, m metrics) *budget {
	return &budget{requests: requests, bytes: bytes, metrics: m}
}

func (b *budget) take(size int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests == 0 || b.bytes < size {
		return false
	}
	b.requests--
	b.bytes -= size
	b.metrics.inFlight.Inc()
	b.metrics.pendingBytes.Add(float64(size))
	return true
}

func (b *budget) give(size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	b.bytes += size
	b.metrics.inFlight.Dec()
	b.metrics.pendingBytes.Sub(float64(size))
}

// remembered is how many bodies are remembered: a minute of ten API servers that
// send as fast as their throttle allows.
const remembered = 6144

// seen remembers bodies by a hash, to count those that come again. It decides
// nothing: events are told apart by their IDs.
type seen struct {
	seed maphash.Seed

	mu     sync.Mutex
	hashes map[uint64]struct{}
	order  [remembered]uint64
	next   int
}

func newSeen() *seen {
	return &seen{seed: maphash.MakeSeed(), hashes: make(map[uint64]struct{})}
}

// before reports whether the same body came from the same API server already.
func (s *seen) before(apiServer string, body []byte) bool {
	var h maphash.Hash
	h.SetSeed(s.seed)
	_, _ = h.WriteString(apiServer)
	_ = h.WriteByte(0)
	_, _ = h.Write(body)
	sum := h.Sum64()

	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.hashes[sum]; ok {
		return true
	}
	if len(s.hashes) == remembered {
		delete(s.hashes, s.order[s.next])
	}
	s.hashes[sum] = struct{}{}
	s.order[s.next] = sum
	s.next = (s.next + 1) % remembered
	return false
}

// refusalLog logs refusals, each reason at most once every few seconds: a
// client that is set up wrongly repeats itself. The metric counts them all.
type refusalLog struct {
	logger *slog.Logger
	mu     sync.Mutex
	often  map[string]*rate.Sometimes
}

func newRefusalLog(logger *slog.Logger) *refusalLog {
	return &refusalLog{logger: logger, often: make(map[string]*rate.Sometimes)}
}

func (l *refusalLog) refused(r *http.Request, apiServer string, refused *refusal) {
	l.mu.Lock()
	sometimes, ok := l.often[refused.reason]
	if !ok {
		sometimes = &rate.Sometimes{Interval: 10 * time.Second}
		l.often[refused.reason] = sometimes
	}
	l.mu.Unlock()
	sometimes.Do(func() {
		l.logger.Warn("audit delivery refused", "reason", refused.reason, "status", refused.status,
			"apiserver", apiServer, "remote", r.RemoteAddr, "error", refused.err)
	})
}
