package identity

import (
	"log/slog"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

const (
	// foreignInterval keeps a captured node from filling the log.
	foreignInterval = time.Minute
	// maxForeignNodes bounds the nodes that are remembered, which are the cluster's.
	maxForeignNodes = 4096
)

// foreign remembers which nodes were named in the log lately.
type foreign struct {
	mu     sync.Mutex
	warned map[string]time.Time
}

// warn logs that the event's node reported on a pod of another one, if it did not just now.
func (f *foreign) warn(logger *slog.Logger, reported event.Pod, now time.Time) {
	if !f.due(reported.Node, now) {
		return
	}
	logger.Error("telemetry about a pod of another node was not believed: the reporting node may be in an attacker's hands",
		"node", reported.Node, "podUID", reported.UID)
}

func (f *foreign) due(node string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last, ok := f.warned[node]; ok && now.Sub(last) < foreignInterval {
		return false
	}
	if f.warned == nil || len(f.warned) >= maxForeignNodes {
		f.warned = map[string]time.Time{}
	}
	f.warned[node] = now
	return true
}
