package app

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/coverage"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/status"
)

const (
	// lookEvery is how often those are asked who do not tell by themselves what is not seen.
	lookEvery = 5 * time.Second
	// canaryMemory is how far back the canary can tell of each canary, with room to spare.
	canaryMemory = 30 * time.Minute
	// unreadBefore is how much older than its arrival an event may be that could not be read: an API server has waited
	// for its batch to fill, and may have tried before.
	unreadBefore = time.Minute
	// limitedBefore is the same for telemetry that was suppressed: agents tell of it every second.
	limitedBefore = 2 * time.Second
)

// The causes of holes that are found here.
const (
	causeSilent     = "audit-stream-silent"
	causeUnreadable = "audit-event-unreadable"
	causeTruncated  = "audit-event-truncated"
	causeLimited    = "telemetry-limit"
	causeShed       = "audit-delivery-delayed"
	causeRefused    = "audit-delivery-refused"
	causeBusShare   = "bus-share"
	causeUnstored   = "not-stored"
	// causeIncomplete begins those of telemetry that went on without its pod, before why it did.
	causeIncomplete = "identity-"
	// causeOld is the join's for further stages of requests that began before anything that is kept: a watch that ends after
	// minutes. What such a request could have been part of is over.
	causeOld = "began-too-long-ago"
)

// truncatedAnnotation is on audit events that the API server has cut.
const truncatedAnnotation = "audit.k8s.io/truncated"

// oversight knows what the server does not see, and tells people how it is.
type oversight struct {
	server    *Server
	ledger    *coverage.Ledger
	publisher *status.Publisher
	started   time.Time
	// now is the clock that event times are brought to.
	now func() time.Time
	// fields are the names of what rules ask for, by slot.
	fields map[int]string
	// pod finds a pod by its UID, from memory.
	pod func(uid string) (event.Pod, bool)
	// rejects is set once the sink is built.
	rejects *auditsink.Rejects
	drops   dropWatch
	sheds   shedWatch
	unsent  unsentWatch
	// samples are the metrics as they were then.
	samples atomic.Pointer[samples]
	failed  rate.Sometimes
}

// newOversight makes it after the store, and before all that report to it.
func newOversight(ctx context.Context, s *Server) (*oversight, error) {
	o := &oversight{server: s, started: time.Now(), now: s.clock.Now, failed: rate.Sometimes{Interval: time.Minute}}
	o.samples.Store(&samples{})
	o.pod = func(uid string) (event.Pod, bool) { return s.resolver.Pod(uid) } // It is built later.
	o.fields = fieldsOf(s.schema)
	o.drops.reach = func() time.Duration { return s.opts.Config.MaxSpan.Duration + s.opts.Config.Lateness.Duration }
	options := coverage.Options{
		Reads: o.reads, Clock: o.now, Logger: s.logger("coverage"), Registerer: s.opts.Registry,
	}
	if s.durable.coverage != nil {
		options.Store = s.durable.coverage
	}
	var err error
	if o.ledger, err = coverage.New(options); err != nil {
		return nil, err
	}
	if err = o.ledger.Load(ctx); err != nil {
		return nil, err
	}
	o.publisher, err = status.New(status.Options{
		Client: s.clients.kubernetes, Namespace: s.opts.Config.Namespace, Collect: o.status,
		Logger: s.logger("status"), Registerer: s.opts.Registry,
	})
	return o, err
}

// run looks at those who do not tell by themselves until ctx ends.
func (o *oversight) run(ctx context.Context) error {
	if missing := unregistered(o.server.opts.Registry, watchedMetrics()); len(missing) > 0 {
		return fmt.Errorf("metrics that are watched do not exist (renamed?): %s", strings.Join(missing, ", "))
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		o.look(o.now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (o *oversight) look(now time.Time) {
	// What could be read counts, whatever else could not.
	read, err := gather(o.server.opts.Registry)
	if err != nil {
		o.failed.Do(func() {
			o.server.logger("coverage").Warn("the server's own metrics cannot all be read, so drops that they count may not be noted", "error", err)
		})
	}
	o.drops.look(o.ledger, read, now)
	o.sheds.look(o.ledger, read, now)
	o.unsent.look(read, now)
	o.samples.Store(&read)
	noteAuditGaps(o.ledger, o.server.canary, now)
	if o.server.Ready() == nil {
		o.ledger.Started(now)
	}
}

// gapTeller is the canary.
type gapTeller interface {
	Gaps(from, to time.Time) []canary.Gap
	Status() []canary.Status
}

// noteAuditGaps puts in the ledger what the canary knows of the API servers. What it found to be missing may be filled later.
func noteAuditGaps(ledger *coverage.Ledger, from gapTeller, now time.Time) {
	holes := map[string][]event.Hole{}
	for _, st := range from.Status() {
		if st.Source != "" {
			ledger.Known(st.Source, st.Since)
			holes[st.Source] = nil
		}
	}
	since := now.Add(-canaryMemory)
	open := map[string]time.Time{}
	for _, gap := range from.Gaps(since, now) {
		name := gap.Source
		if name == "" { // Nothing of it has ever arrived.
			name = coverage.FamilyAudit + gap.Address
		}
		if gap.To.Before(now) {
			holes[name] = append(holes[name], event.Hole{From: gap.From, To: gap.To})
			continue
		}
		if _, ok := holes[name]; !ok {
			holes[name] = nil
		}
		if begin, ok := open[name]; !ok || gap.From.Before(begin) {
			open[name] = gap.From
		}
	}
	for name, closed := range holes {
		ledger.Replace(name, causeSilent, since, closed)
		if begin, ok := open[name]; ok {
			ledger.Open(name, causeSilent, begin)
		} else {
			ledger.Fill(name, causeSilent)
		}
	}
	// The canary knows nothing of these any more: they have left the Service, or have got a name.
	for _, s := range ledger.Summaries(coverage.FamilyAudit, now) {
		if _, known := holes[s.Source]; !known {
			ledger.Close(s.Source, causeSilent, now)
		}
	}
}

// reads says which kinds of events a rule asks for; both where that cannot be told.
func (o *oversight) reads(name string) (telemetry, audit bool) {
	r := o.server.rules.Rules().Get(name)
	if r == nil {
		return true, true
	}
	stages := r.Program.Stages()
	if until := r.Program.Until(); until != nil {
		stages = append(stages[:len(stages):len(stages)], until)
	}
	for _, stage := range stages {
		t, a := stageReads(stage, o.fields)
		telemetry, audit = telemetry || t, audit || a
	}
	return telemetry, audit
}

func stageReads(stage *program.Stage, fields map[int]string) (telemetry, audit bool) {
	if category := stage.Category(); !stage.Any() && (category == "process" || category == "file") {
		return true, false
	}
	for _, slot := range stage.Fields() {
		name := fields[slot]
		audit = audit || strings.HasPrefix(name, "kubernetes.audit.")
		telemetry = telemetry || strings.HasPrefix(name, "process.") || strings.HasPrefix(name, "file.")
	}
	if !telemetry && !audit {
		return true, true
	}
	return telemetry, audit
}

// fieldsOf are the names of a schema's fields by the slots that rules know them by.
func fieldsOf(schema *field.Schema) map[int]string {
	names := map[int]string{}
	for _, name := range schema.Names() {
		if f, ok := schema.Lookup(name); ok {
			names[f.Slot] = name
		}
	}
	return names
}

// forgot notes what the join had no room for, or came too late for it. It is correlator.Options.Dropped.
func (o *oversight) forgot(owner, rule, cause string, n int) {
	if cause == causeOld {
		return
	}
	if owner == "" {
		o.dropped(coverage.FamilyRule+rule, "", cause, n)
		return
	}
	o.dropped(coverage.FamilyJoin+owner, o.nodeOf(owner), cause, n)
}

// crowdedOut notes what the bus had no room for because its owner had more than a share of it. It is
// jetstream.BusOptions.Dropped.
func (o *oversight) crowdedOut(owner string, n int) {
	if owner == "" {
		o.dropped("server/bus", "", causeBusShare, n)
		return
	}
	o.dropped(coverage.FamilyJoin+owner, o.nodeOf(owner), causeBusShare, n)
}

// dropped notes what was dropped just now, of somebody on a node if that is known.
func (o *oversight) dropped(source, node, cause string, n int) {
	now := o.now()
	o.ledger.NoteOn(node, event.Hole{Source: source, Cause: cause, From: now.Add(-o.drops.reach()), To: now, Lost: uint64(max(0, n))})
}

// nodeOf is the node of an owner that is a pod, if it is known.
func (o *oversight) nodeOf(owner string) string {
	uid, ok := strings.CutPrefix(owner, "uid:")
	if !ok || o.pod == nil {
		return ""
	}
	pod, _ := o.pod(uid)
	return pod.Node
}

// incomplete notes telemetry that went on without its pod. It is identity.HoldOptions.Incomplete. Whose it was nobody
// knows, so it is its node's.
func (o *oversight) incomplete(e *event.Event, outcome string) {
	if strings.HasPrefix(e.Source, coverage.FamilyAgent) {
		o.ledger.Note(event.Hole{Source: e.Source, Cause: causeIncomplete + outcome, From: e.Time, To: e.Time, Lost: 1})
	}
}

// rejected notes audit events that could not be read. It is auditsink.RejectsOptions.Told.
func (o *oversight) rejected(from auditsink.Delivery, n int) {
	o.ledger.Note(event.Hole{
		Source: coverage.FamilyAudit + from.APIServer, Cause: causeUnreadable,
		From: from.Received.Add(-unreadBefore), To: from.Received, Lost: uint64(max(0, n)),
	})
}

// watching looks at events on their way, once it is known whose they are.
func (o *oversight) watching(next ingester) ingester { return watched{next, o.ledger} }

// watched notes what events say of others that are missing.
type watched struct {
	next   ingester
	ledger *coverage.Ledger
}

// Ingest implements ingester. What is not taken comes again, and is noted then.
func (w watched) Ingest(ctx context.Context, events []*event.Event) error {
	if err := w.next.Ingest(ctx, events); err != nil {
		return err
	}
	for _, e := range events {
		switch {
		case e.Limit != nil:
			w.limited(e)
		case e.Audit != nil && e.Audit.Annotations[truncatedAnnotation] == "true":
			// Whose request was too large for the API server is the only one to lose by it.
			w.ledger.Note(event.Hole{Source: coverage.FamilyJoin + e.Audit.User.Username, Cause: causeTruncated, From: e.Time, To: e.Time})
		}
	}
	return nil
}

// limited notes telemetry that an agent suppressed: it is the pod's that did too much, if there is such a pod. Of one that nobody
// knows an agent may say anything, so that is a hole of the agent's node.
func (w watched) limited(e *event.Event) {
	node := strings.TrimPrefix(e.Source, coverage.FamilyAgent)
	source := e.Source
	if e.Pod.Name != "" {
		source = coverage.FamilyPod + e.Pod.UID
	}
	w.ledger.NoteOn(node, event.Hole{
		Source: source, Cause: causeLimited, From: e.Time.Add(-limitedBefore), To: e.Time, Lost: e.Limit.Suppressed,
	})
}

// dropCounter is a metric that counts what was dropped.
type dropCounter struct {
	metric string
	// label and values choose among a metric's counters; all if label is empty.
	label  string
	values []string
	// source and cause are those of the hole. An event that was dropped had happened up to Lateness before, or MaxSpan and
	// Lateness before where it had waited.
	source, cause string
}

// dropCounters are what counts drops and tells nobody else. Not among them is what has its sender send again.
func dropCounters() []dropCounter {
	return []dropCounter{
		{"portcullis_bus_lost_total", "", nil, "server/bus", "bus-message-damaged"},
		{"portcullis_bus_unreadable_total", "", nil, "server/bus", "bus-message-undecodable"},
		{"portcullis_bus_unstorable_total", "", nil, "server/bus", "bus-candidate-unstorable"},
		{"portcullis_store_undecodable_total", "", nil, "server/held", "waiting-telemetry-undecodable"},
		{"portcullis_pipeline_delayed_total", "", nil, "server/pipeline", "pipeline-full"},
		{"portcullis_correlator_dropped_total", "cause", []string{"too-many-keys", "object-too-large"}, "server/match", "event-too-large"},
	}
}

// watchedMetrics are those that are read here and in status.go.
func watchedMetrics() []string {
	counters := dropCounters()
	names := append(make([]string, 0, 9+len(counters)),
		metricRefused, metricNotified, metricSuspended, metricReload, metricWatermark, metricStoreMessages, metricStoreBytes, metricPartial, metricOffset)
	for _, c := range counters {
		names = append(names, c.metric)
	}
	return names
}

// unregistered are the metrics of which the registry has none. It refuses another of a name that it has.
func unregistered(registry prometheus.Registerer, names []string) (missing []string) {
	for _, name := range names {
		probe := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Is there one of this name?"})
		if registry.Register(probe) == nil {
			registry.Unregister(probe)
			missing = append(missing, name)
		}
	}
	return missing
}

// dropWatch makes holes of counters that grow.
type dropWatch struct {
	// reach is how long before it was counted a dropped event may have happened.
	reach  func() time.Duration
	before map[string]float64
	looked time.Time
}

// look compares the counters with what they were. At the first time everything that they have is new.
func (w *dropWatch) look(ledger *coverage.Ledger, read samples, now time.Time) {
	if w.before == nil {
		w.before, w.looked = map[string]float64{}, now
	}
	from := w.looked.Add(-w.reach())
	for _, c := range dropCounters() {
		key := c.metric + "\x00" + c.cause
		total := read.sum(c.metric, c.label, c.values...)
		if grew := total - w.before[key]; grew > 0 {
			ledger.Note(event.Hole{Source: c.source, Cause: c.cause, From: from, To: now, Lost: uint64(grew)})
		}
		w.before[key] = total
	}
	w.looked = now
}

// samples are the values of metrics, by name.
type samples map[string][]sample

type sample struct {
	labels map[string]string
	value  float64
}

// gather reads the server's own counters and gauges.
func gather(from prometheus.Gatherer) (samples, error) {
	families, err := from.Gather()
	out := samples{}
	for _, family := range families {
		name := family.GetName()
		if !strings.HasPrefix(name, "portcullis_") {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetCounter() == nil && m.GetGauge() == nil {
				continue
			}
			s := sample{value: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, l := range m.GetLabel() {
				if s.labels == nil {
					s.labels = map[string]string{}
				}
				s.labels[l.GetName()] = l.GetValue()
			}
			out[name] = append(out[name], s)
		}
	}
	return out, err
}

// sum adds up the values whose label has one of those values; all if label is empty.
func (s samples) sum(name, label string, values ...string) (total float64) {
	for _, one := range s[name] {
		if label == "" {
			total += one.value
			continue
		}
		for _, value := range values {
			if one.labels[label] == value {
				total += one.value
			}
		}
	}
	return total
}

// by returns the values by a label.
func (s samples) by(name, label string) map[string]float64 {
	out := map[string]float64{}
	for _, one := range s[name] {
		out[one.labels[label]] = one.value
	}
	return out
}

// has reports whether there is such a metric.
func (s samples) has(name string) bool { return len(s[name]) > 0 }
