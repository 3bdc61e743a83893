package app

import (
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/coverage"
	"github.com/portcullis-dev/portcullis/event"
)

// An API server tries a delivery five times, with pauses of 10, 15, 22.5 and 33.75 s that are up to a fifth longer, and
// then drops it.
const (
	// shedLimit is from when on refusals that go on have cost a delivery: all pauses, less what counters are looked at too late.
	shedLimit = 81*time.Second - lookEvery
	// shedPause is how far apart two refusals of one delivery may be.
	shedPause = 41*time.Second + lookEvery
)

// againReasons are those for which the sink refuses what it could take later.
func againReasons() []string {
	return []string{"busy", "pipeline_busy", "pipeline_error", "timeout", "read", "panic"}
}

// shedWatch makes holes of refusals: at once of what never gets in, and of what may come again once that has
// gone on for longer than an API server tries.
type shedWatch struct {
	apiServers map[string]*shed
}

// shed is what is known of one API server's deliveries. Its name is one that it has proved.
type shed struct {
	tooLarge, again float64
	// begun and last are the first and the last refusal of those that go on.
	begun, last time.Time
}

func (w *shedWatch) look(ledger *coverage.Ledger, read samples, now time.Time) {
	tooLarge, again := map[string]float64{}, map[string]float64{}
	for _, s := range read[metricRefused] {
		name, reason := s.labels["apiserver"], s.labels["reason"]
		if reason == "too_large" {
			tooLarge[name] += s.value
		} else if slices.Contains(againReasons(), reason) {
			again[name] += s.value
		}
		if w.apiServers == nil {
			w.apiServers = map[string]*shed{}
		}
		if w.apiServers[name] == nil {
			w.apiServers[name] = &shed{}
		}
	}
	for name, s := range w.apiServers {
		h := event.Hole{Source: sinkSource(name), From: now.Add(-lookEvery - unreadBefore), To: now}
		if grew := tooLarge[name] - s.tooLarge; grew > 0 {
			h.Cause = causeRefused
			ledger.Note(h) // How many events it had nobody has counted.
		}
		if begun, lost := s.refused(again[name], now); lost {
			h.Cause, h.From = causeShed, begun.Add(-lookEvery-unreadBefore)
			ledger.Note(h)
		}
		s.tooLarge, s.again = tooLarge[name], again[name]
	}
}

// refused takes the number of refusals, and reports since when they go on if something must have been lost by it.
func (s *shed) refused(total float64, now time.Time) (begun time.Time, lost bool) {
	if total <= s.again {
		return begun, false
	}
	if now.Sub(s.last) > shedPause {
		s.begun = now
	}
	s.last = now
	return s.begun, now.Sub(s.begun) >= shedLimit
}

// sinkSource is whose the events are that an API server sends, everybody's if it has not proved its name.
func sinkSource(apiServer string) string {
	if strings.TrimSpace(apiServer) == "" {
		return "server/sink"
	}
	return coverage.FamilyAudit + apiServer
}
