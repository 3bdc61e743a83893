package correlator

import (
	"log/slog"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// lateLogEvery is how often refused events of one kind of source are logged.
const lateLogEvery = time.Minute

// lateReport counts events that came behind the watermark, and tells of those that
// came too late to be joined.
type lateReport struct {
	metrics *metrics
	logger  *slog.Logger
	byKind  map[string]*refusals
}

// refusals are the refused events of one kind of source.
type refusals struct {
	// logged is when they were, since how many there have been since then.
	logged time.Time
	since  int
}

func newLateReport(o Options, m *metrics) *lateReport {
	r := &lateReport{metrics: m, logger: o.Logger, byKind: map[string]*refusals{}}
	for _, kind := range sourceKinds() {
		r.byKind[kind] = &refusals{}
	}
	return r
}

// sourceKinds are what stands before the slash in the names of sources.
func sourceKinds() []string { return []string{"audit", "agent", "other"} }

func (r *lateReport) kind(source string) string {
	kind, _, _ := strings.Cut(source, "/")
	if r.byKind[kind] == nil {
		return "other"
	}
	return kind
}

// count counts a candidate that came behind the watermark.
func (r *lateReport) count(source string) { r.metrics.late.WithLabelValues(r.kind(source)).Inc() }

// refused notes an event that came too late to be joined.
func (r *lateReport) refused(rule string, e *event.Event, now time.Time) {
	kind := r.kind(e.Source)
	r.metrics.refused.WithLabelValues(kind).Inc()
	of := r.byKind[kind]
	of.since++
	if since := now.Sub(of.logged); since >= 0 && since < lateLogEvery {
		return
	}
	r.logger.Warn("events came too late to be joined; if their source is healthy, raise the lateness that is allowed",
		"source", e.Source, "rule", rule, "event", e.ID, "behind", now.Sub(e.StageTime), "refused", of.since)
	of.logged, of.since = now, 0
}
