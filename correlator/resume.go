package correlator

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// Replaying tells of the events that were taken over before the process started,
// and are delivered to it again: what was open when the last one ended is open again
// when they are through.
type Replaying interface {
	// Replayed is closed when all of them have been delivered.
	Replayed() <-chan struct{}
	// Horizon is since when everything that arrived is among them, as far as is
	// known; zero if nothing was ever let go.
	Horizon() time.Time
}

// begins is the time from which on everything matters to a match.
func (m *match) begins() time.Time { return m.chain[0].time.Add(-m.rule.context) }

// isPartial reports whether a match reaches back to what the bus has let go, and
// with it perhaps what forbids the match or pairs it differently. Whoever saw all of it
// has decided: it was final before that was let go. The bus' horizon is the oldest
// event that it has; but when little arrives, everything is there that arrived within the
// time that it keeps the rule's events.
func (j *join) isPartial(m *match) bool {
	begins := m.begins()
	return begins.Before(j.options.Replay.Horizon()) && begins.Before(j.replayed.Add(-m.rule.reach))
}

// resume tells of the matches that were held while events were replayed.
func (j *join) resume(now time.Time) []*event.Detection {
	if j.resuming {
		return nil
	}
	var detections []*event.Detection
	for _, m := range j.doubtful {
		m.held, m.mute = false, j.isPartial(m)
		if d := j.tell(m, m.state, m.by, now); d != nil {
			detections = append(detections, d)
		}
	}
	j.doubtful = nil
	return detections
}

// now is the time at which something happens in the join. While events are
// replayed it is when they arrived in the first place, and the watermark is as far
// behind that as it can have been. So every match that was found then is found again,
// before what changed it then changes it again.
func (j *join) now(e *event.Event, clock time.Time) time.Time {
	if !j.resuming {
		return clock
	}
	select {
	case <-j.options.Replay.Replayed():
		j.resuming = false
		// While the process was away nobody could deliver anything.
		j.watermark.held = false
		if !j.replayed.IsZero() {
			j.watermark.begin(clock)
		}
		return clock
	default:
	}
	if e == nil {
		return j.replayed
	}
	arrived := e.Received
	if arrived.IsZero() {
		arrived = e.StageTime
	}
	if arrived.After(clock) {
		arrived = clock
	}
	if arrived.After(j.replayed) {
		j.replayed = arrived
	}
	return j.replayed
}
