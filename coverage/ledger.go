package coverage

import (
	"container/heap"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/portcullis-dev/portcullis/event"
)

// Ledger has the holes. Its methods may be called from any goroutine and do not block, but for Load and Run.
type Ledger struct {
	opts    Options
	metrics metrics

	mu      sync.Mutex
	sources map[string]*source
	// families has the sources by family; total counts the ended holes of all.
	families map[string]map[string]*source
	total    int
	// ranked has the sources in the order in which they make room; sharers counts those of each share.
	ranked  ranking
	sharers map[string]int
	// gone are the sources that were forgotten and are still in the Store.
	gone map[string]struct{}
	// down is when the process before was last alive, while it is not decided whether that matters.
	down time.Time

	storeFailed rate.Sometimes
}

// New returns an empty Ledger.
func New(opts Options) (*Ledger, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	l := &Ledger{
		opts:        opts,
		sources:     make(map[string]*source),
		families:    make(map[string]map[string]*source),
		sharers:     make(map[string]int),
		gone:        make(map[string]struct{}),
		storeFailed: rate.Sometimes{First: 1, Interval: time.Minute},
	}
	l.metrics = newMetrics(l)
	if err := opts.Registerer.Register(l.metrics); err != nil {
		return nil, err
	}
	return l, nil
}

// family is what stands before a source's first slash, with it.
func family(name string) string {
	before, _, _ := strings.Cut(name, "/")
	return before + "/"
}

// expected reports whether a source of the family that is not heard of is a hole.
func expected(family string) bool { return family == FamilyAgent || family == FamilyAudit }

// source finds a source, or makes one that is watched from then on. Without room for it that is what stands for its share.
func (l *Ledger) source(name string, since time.Time) *source {
	return l.sharing(name, shareOf(name), since, l.opts.MaxSources)
}

// sharing is source, of a share, with room for so many in the family.
func (l *Ledger) sharing(name, share string, since time.Time, room int) *source {
	if s := l.sources[name]; s != nil {
		return s
	}
	of := family(name)
	if name != share && (len(l.families[of]) >= room || l.sharers[share] >= l.shareRoom(share)) {
		l.metrics.folded.Inc()
		// What stands for a share has room of its own: whoever fills a family with sources must not fold other shares too.
		return l.sharing(share, shareOf(share), since, 2*l.opts.MaxSources)
	}
	if name == of+"*" {
		since = time.Time{} // Nobody can say of all of them.
	}
	s := &source{name: name, share: share, since: since}
	l.sources[name] = s
	if l.families[of] == nil {
		l.families[of] = make(map[string]*source)
	}
	l.families[of][name] = s
	l.sharers[share]++
	heap.Push(&l.ranked, s)
	delete(l.gone, name)
	return s
}

func (l *Ledger) forget(s *source) {
	delete(l.sources, s.name)
	delete(l.families[family(s.name)], s.name)
	if l.sharers[s.share]--; l.sharers[s.share] == 0 {
		delete(l.sharers, s.share)
	}
	heap.Remove(&l.ranked, s.rank)
	l.total -= len(s.ended)
	l.gone[s.name] = struct{}{}
}

// Known notes that a source is watched, at the latest from then on.
func (l *Ledger) Known(name string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.source(name, at)
}

// Note notes a hole. If its To is zero it lasts until it is closed.
func (l *Ledger) Note(h event.Hole) { l.note(h, shareOf(h.Source)) }

// NoteOn notes a hole of somebody on a node. The sources of one node take no room from those of others; without room
// the hole is its node's.
func (l *Ledger) NoteOn(node string, h event.Hole) { l.note(h, shareOn(node, h.Source)) }

func (l *Ledger) note(h event.Hole, share string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sharing(h.Source, share, h.From, l.opts.MaxSources)
	if h.To.IsZero() {
		s.begin(h.Cause, h.From)
		return
	}
	l.add(s, h)
}

// add notes an ended hole, within the bounds.
func (l *Ledger) add(s *source, h event.Hole) {
	if h.To.Before(h.From) {
		h.From, h.To = h.To, h.From
	}
	h.Source = s.name
	l.total += s.add(h)
	l.total -= l.merged(s.compact(l.opts.MaxPerSource))
	heap.Fix(&l.ranked, s.rank)
	for l.total > l.opts.MaxHoles && l.shrink() {
	}
}

// shrink makes room in all: by half of the source that has most, or by a source that has only one.
func (l *Ledger) shrink() bool {
	most := l.ranked[0]
	if gone := most.compact(len(most.ended) / 2); gone > 0 {
		l.total -= l.merged(gone)
		heap.Fix(&l.ranked, most.rank)
		return true
	}
	return l.fold(most)
}

// fold moves the one hole of a source to what stands for its share. It reports false if that is the source.
func (l *Ledger) fold(s *source) bool {
	if s.name == s.share || len(s.ended) == 0 {
		return false
	}
	h := s.ended[0]
	l.total -= len(s.ended)
	s.ended, s.stored = nil, time.Time{}
	heap.Fix(&l.ranked, s.rank)
	into := l.sharing(s.share, shareOf(s.share), h.From, 2*l.opts.MaxSources)
	h.Source = into.name
	l.total += into.add(h)
	l.total -= l.merged(into.compact(l.opts.MaxPerSource))
	heap.Fix(&l.ranked, into.rank)
	l.metrics.folded.Inc()
	return true
}

func (l *Ledger) merged(n int) int {
	l.metrics.merged.Add(float64(n))
	return n
}

// Open notes that a source has a hole that lasts, if it has none of that cause.
func (l *Ledger) Open(name, cause string, from time.Time) {
	l.Note(event.Hole{Source: name, From: from, Cause: cause})
}

// Close ends a lasting hole, if there is one.
func (l *Ledger) Close(name, cause string, to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sources[name]; s != nil {
		l.end(s, cause, cause, to)
	}
}

// end ends a lasting hole; as is what its cause was, now that this is known.
func (l *Ledger) end(s *source, cause, as string, to time.Time) {
	if h, ok := s.take(cause); ok {
		h.To, h.Cause = to, as
		l.add(s, h)
	}
}

// Fill forgets a lasting hole: what was missing has arrived after all.
func (l *Ledger) Fill(name, cause string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sources[name]; s != nil {
		s.take(cause)
	}
}

// Replace puts holes in the place of those of that source and cause that end after since: for those who measure anew what
// was missing. Holes that were merged with others stay.
func (l *Ledger) Replace(name, cause string, since time.Time, holes []event.Hole) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.source(name, l.opts.Clock())
	before := slices.Clone(s.ended)
	s.ended = slices.DeleteFunc(s.ended, func(h event.Hole) bool { return h.Cause == cause && h.To.After(since) })
	l.total -= len(before) - len(s.ended)
	heap.Fix(&l.ranked, s.rank)
	stored := s.stored
	for _, h := range holes {
		h.Cause = cause
		l.add(s, h)
	}
	if slices.Equal(before, s.ended) {
		s.stored = stored // Nothing is new, so nothing has to be stored.
		return
	}
	s.stored = time.Time{}
}

// Holes returns the holes of sources that touch the time from..to, oldest first. A source that
// ends with a slash stands for all of its family. The holes of what stands for a share are those of each of its sources.
func (l *Ledger) Holes(names []string, from, to time.Time) []event.Hole {
	return l.holes(names, from, to, nil)
}

// holes is Holes, for somebody who has events himself that arrived of these sources up to then.
func (l *Ledger) holes(names []string, from, to time.Time, arrived map[string]time.Time) []event.Hole {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.opts.Clock()
	var out []event.Hole
	for _, s := range l.named(names) {
		out = s.between(out, from, to, expected(family(s.name)))
		if h, yet := s.pending(arrived[s.name], to, now); yet {
			out = append(out, h)
		}
	}
	for _, name := range names {
		if l.missing(name) {
			out = append(out, event.Hole{Source: l.whole(name), From: from, Cause: CauseUnknown})
		}
	}
	slices.SortFunc(out, func(a, b event.Hole) int {
		if c := a.From.Compare(b.From); c != 0 {
			return c
		}
		return strings.Compare(a.Source, b.Source)
	})
	return out
}

// named are the sources that are meant, each once.
func (l *Ledger) named(names []string) map[string]*source {
	found := make(map[string]*source)
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			maps.Copy(found, l.families[name])
			continue
		}
		for _, name := range []string{name, shareOf(name), family(name) + "*"} {
			if s := l.sources[name]; s != nil {
				found[name] = s
			}
		}
	}
	return found
}

// missing reports whether nothing was ever heard of an expected source, or of any of an expected family.
func (l *Ledger) missing(name string) bool {
	of := family(name)
	if !expected(of) {
		return false
	}
	if name == of {
		return len(l.families[of]) == 0
	}
	return l.sources[name] == nil && l.sources[of+"*"] == nil
}

// whole is the name of a source that a hole can have.
func (l *Ledger) whole(name string) string {
	if strings.HasSuffix(name, "/") {
		return name + "*"
	}
	return name
}

// Summary is what is known of one source.
type Summary struct {
	Source string
	// Open are its lasting holes.
	Open []event.Hole
	// Ended are those that ended after the time that was asked for, oldest first.
	Ended []event.Hole
}

// Summaries returns what is known of every source of a family, by name; of those that have no hole the name only.
func (l *Ledger) Summaries(family string, after time.Time) []Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Summary, 0, len(l.families[family]))
	for _, name := range slices.Sorted(maps.Keys(l.families[family])) {
		s := l.sources[name]
		summary := Summary{Source: name, Open: slices.Clone(s.open)}
		for _, h := range s.ended {
			if h.To.After(after) {
				summary.Ended = append(summary.Ended, h)
			}
		}
		out = append(out, summary)
	}
	return out
}

// metrics of a Ledger. It is a collector itself: what is open is counted when somebody asks.
type metrics struct {
	ledger                *Ledger
	holes, open           *prometheus.Desc
	merged, folded, fails prometheus.Counter
	asked                 *prometheus.CounterVec
}

func newMetrics(l *Ledger) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_coverage_" + name, Help: help})
	}
	m := metrics{
		ledger: l,
		holes: prometheus.NewDesc("portcullis_coverage_holes",
			"Times in which something was not seen that are remembered, by family of sources.", []string{"family"}, nil),
		open: prometheus.NewDesc("portcullis_coverage_open_holes",
			"Sources of which something is not seen at the moment, by family and cause.", []string{"family", "cause"}, nil),
		merged: counter("merged_holes_total", "Holes that were merged with a neighbour because a source had too many."),
		folded: counter("folded_total", "Times that a hole had to be noted for a whole family because there was no room for its source."),
		fails:  counter("store_failures_total", "Times that the ledger could not be stored. It is tried again."),
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_coverage_detections_total",
			Help: "Times that a detection's coverage was asked for, by what it was: whole, or with holes.",
		}, []string{"coverage"}),
	}
	for _, label := range []string{coverageWhole, coverageHoles} {
		m.asked.WithLabelValues(label)
	}
	return m
}

const (
	coverageWhole = "whole"
	coverageHoles = "holes"
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.holes
	out <- m.open
	for _, c := range []prometheus.Collector{m.merged, m.folded, m.fails, m.asked} {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(out chan<- prometheus.Metric) {
	type key struct{ family, cause string }
	ended, open := map[string]int{}, map[key]int{}
	m.ledger.mu.Lock()
	for _, s := range m.ledger.sources {
		of := family(s.name)
		ended[of] += len(s.ended)
		for _, h := range s.open {
			open[key{of, h.Cause}]++
		}
	}
	m.ledger.mu.Unlock()
	for of, n := range ended {
		out <- prometheus.MustNewConstMetric(m.holes, prometheus.GaugeValue, float64(n), strings.TrimSuffix(of, "/"))
	}
	for k, n := range open {
		out <- prometheus.MustNewConstMetric(m.open, prometheus.GaugeValue, float64(n), strings.TrimSuffix(k.family, "/"), k.cause)
	}
	for _, c := range []prometheus.Collector{m.merged, m.folded, m.fails, m.asked} {
		c.Collect(out)
	}
}
