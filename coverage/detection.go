package coverage

import (
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// maxDetectionHoles bounds the holes of one detection.
const maxDetectionHoles = 32

// Of says what was not seen of what could have mattered to a detection between from and to: of its pods'
// nodes and its pods where telemetry has a part in it, of every API server where audit events have, and of the server.
// Options.Reads says what has a part. Without, it is what the events are, and both if the time is longer than
// theirs: then the rule may ask for what did not happen.
func (l *Ledger) Of(d *event.Detection, from, to time.Time) event.Coverage {
	holes := l.holes(l.sourcesOf(d, from, to), from, to, arrivedWith(d))
	if len(holes) == 0 {
		l.metrics.asked.WithLabelValues(coverageWhole).Inc()
		return event.Coverage{Known: true}
	}
	l.metrics.asked.WithLabelValues(coverageHoles).Inc()
	return event.Coverage{Known: true, Holes: longest(holes, maxDetectionHoles)}
}

// arrivedWith is up to when everything of agents has arrived because a detection has a later event: they send in order.
func arrivedWith(d *event.Detection) map[string]time.Time {
	arrived := map[string]time.Time{}
	for _, e := range d.Events {
		if e.Audit == nil && e.Time.After(arrived[e.Source]) {
			arrived[e.Source] = e.Time
		}
	}
	return arrived
}

// longest are the n longest holes, in the order in which they were.
func longest(holes []event.Hole, n int) []event.Hole {
	if len(holes) <= n {
		return holes
	}
	length := func(h event.Hole) time.Duration {
		if h.To.IsZero() {
			return 1<<63 - 1
		}
		return h.To.Sub(h.From)
	}
	lengths := make([]time.Duration, 0, len(holes))
	for _, h := range holes {
		lengths = append(lengths, length(h))
	}
	slices.Sort(lengths)
	least := lengths[len(lengths)-n]
	equal := n // how many of exactly that length have room
	for _, d := range lengths {
		if d > least {
			equal--
		}
	}
	return slices.DeleteFunc(holes, func(h event.Hole) bool {
		switch d := length(h); {
		case d > least:
			return false
		case d == least && equal > 0:
			equal--
			return false
		}
		return true
	})
}

// sourcesOf are the sources that matter to a detection.
func (l *Ledger) sourcesOf(d *event.Detection, from, to time.Time) []string {
	telemetry, audit := l.parts(d, from, to)
	sources := []string{FamilyServer}
	add := func(family, name string) {
		if source := family + name; name != "" && !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
	}
	if audit {
		sources = append(sources, FamilyAudit)
	}
	add(FamilyRule, d.Rule.Name)
	add(FamilyJoin, d.User)
	pods := []event.Pod{d.Pod}
	for _, e := range d.Events {
		if node, ok := strings.CutPrefix(e.Source, FamilyAgent); ok {
			add(FamilyAgent, node)
		}
		add(FamilyJoin, e.Source)
		pods = append(pods, e.Pod)
		if e.Audit != nil {
			add(FamilyJoin, e.Audit.User.Username)
			pods = append(pods, e.Audit.Caller, e.Audit.Target)
		}
	}
	for _, p := range pods {
		add(FamilyJoin, p.Key())
		add(onNode(FamilyJoin), p.Node)
		if telemetry {
			add(FamilyAgent, p.Node)
			add(FamilyPod, p.UID)
		}
	}
	return sources
}

// parts says which kinds of events have a part in the detection.
func (l *Ledger) parts(d *event.Detection, from, to time.Time) (telemetry, audit bool) {
	var first, last time.Time
	for i, e := range d.Events {
		telemetry, audit = telemetry || e.Audit == nil, audit || e.Audit != nil
		if i == 0 || e.Time.Before(first) {
			first = e.Time
		}
		if i == 0 || e.Time.After(last) {
			last = e.Time
		}
	}
	if l.opts.Reads != nil {
		t, a := l.opts.Reads(d.Rule.Name)
		return telemetry || t, audit || a
	}
	if first.After(from) || last.Before(to) {
		return true, true
	}
	return telemetry, audit
}
