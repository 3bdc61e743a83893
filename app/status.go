package app

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/coverage"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/status"
	"github.com/portcullis-dev/portcullis/steady"
)

const (
	// lossesFor is how long people are told of a loss that has ended.
	lossesFor = time.Hour
	// worthTelling is from when on people are told of a node's clock.
	worthTelling = time.Second
)

// The metrics that are read here.
const (
	metricRefused       = "portcullis_auditsink_refused_requests_total"
	metricNotified      = "portcullis_notify_detections_total"
	metricSuspended     = "portcullis_correlator_suspended_rules"
	metricReload        = "portcullis_rules_last_reload_successful"
	metricWatermark     = "portcullis_correlator_watermark_timestamp_seconds"
	metricStoreMessages = "portcullis_store_messages"
	metricStoreBytes    = "portcullis_store_bytes"
	metricPartial       = "portcullis_collector_partial_coverage"
	metricOffset        = "portcullis_collector_clock_offset_seconds"
)

// status is how the server is now. Everything that it asks is in memory.
func (o *oversight) status() status.Document {
	now := o.now()
	read := *o.samples.Load()
	return status.Document{
		Version: status.Version, At: time.Now(), // readers compare it with their own
		Server:      o.serverStatus(read, now),
		Store:       o.storeStatus(read),
		APIServers:  apiServerStatus(o.server.canary.Status()),
		Nodes:       nodeStatus(o.ledger, read, now),
		Losses:      lossStatus(o.ledger, now),
		Rejects:     o.rejectStatus(),
		Unsent:      o.unsent.since(now.Add(-lossesFor)),
		Quarantines: status.Quarantines{InForce: o.server.index.Len()},
		Rules: status.Rules{
			Loaded:    o.server.rules.Rules().Len(),
			Suspended: int(read.sum(metricSuspended, "")),
			Refused:   read.has(metricReload) && read.sum(metricReload, "") == 0,
		},
	}
}

func (o *oversight) serverStatus(read samples, now time.Time) status.Server {
	s := status.Server{
		// What the server calls itself before the API server, without its name.
		Version: strings.TrimPrefix(o.server.opts.REST.UserAgent, "portcullis/"),
		Pod:     o.server.opts.Pod.Name,
		Started: o.started,
		Mode:    string(o.server.opts.Config.Mode),
		Ready:   true, WatermarkLag: -1,
	}
	if err := o.server.Ready(); err != nil {
		s.Ready, s.NotReady = false, err.Error()
	}
	if ahead := o.server.clock.WallAhead(); ahead.Abs() >= steady.Far {
		s.WallAhead = status.SecondsOf(ahead)
	}
	if mark := read.sum(metricWatermark, ""); mark > 0 && !math.IsInf(mark, 0) {
		s.WatermarkLag = status.SecondsOf(now.Sub(time.UnixMilli(int64(mark * 1000))))
	}
	return s
}

func (o *oversight) storeStatus(read samples) status.Store {
	out := status.Store{
		Kind:    "disk",
		Waiting: int64(read.sum(metricStoreMessages, "stream", "candidates")),
		Bytes:   int64(read.sum(metricStoreBytes, "")),
	}
	if o.server.durable.store == nil {
		out.Kind = "memory"
	} else if err := o.server.durable.store.Err(); err != nil {
		out.Error = err.Error()
	}
	return out
}

func (o *oversight) rejectStatus() status.Rejects {
	if o.rejects == nil {
		return status.Rejects{}
	}
	s := o.rejects.Status()
	return status.Rejects{Events: s.Events, Newest: s.Newest.Received, APIServer: s.Newest.APIServer, Reason: s.Newest.Reason}
}

func apiServerStatus(of []canary.Status) []status.APIServer {
	out := make([]status.APIServer, 0, len(of))
	for _, s := range of {
		out = append(out, status.APIServer{
			Address: s.Address, Source: s.Source, State: string(s.State), Seen: s.State.Seen(), Since: s.Since,
			LastSeen: s.Returned, Lag: status.SecondsOf(s.Lag),
			Measured: s.Clock.Measured, Offset: status.SecondsOf(s.Clock.Offset), Tolerance: status.SecondsOf(s.Clock.Tolerance),
		})
	}
	// Those come first that are not seen: the list may be cut.
	slices.SortStableFunc(out, func(a, b status.APIServer) int { return truth(a.Seen) - truth(b.Seen) })
	return out
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// nodeStatus is how the agents are, the worst first: the list may be cut.
func nodeStatus(ledger *coverage.Ledger, read samples, now time.Time) (out status.Nodes) {
	partial := read.by(metricPartial, "node")
	offsets := read.by(metricOffset, "node")
	for _, s := range ledger.Summaries(coverage.FamilyAgent, now.Add(-lossesFor)) {
		name := strings.TrimPrefix(s.Source, coverage.FamilyAgent)
		node := status.Node{Name: name, Partial: int(partial[name])}
		out.Known++
		for _, h := range s.Open {
			if h.Cause == coverage.CauseDisconnected {
				node.DisconnectedSince = h.From
			}
		}
		if node.DisconnectedSince.IsZero() {
			out.Connected++
		}
		if offset := offsets[name]; math.Abs(offset) >= worthTelling.Seconds() {
			node.Offset = status.SecondsOf(time.Duration(offset * float64(time.Second)))
		}
		node.Losses = byCause("", s.Ended)
		if !node.DisconnectedSince.IsZero() || len(node.Losses) > 0 || node.Offset != 0 || node.Partial > 0 {
			out.Unhealthy = append(out.Unhealthy, node)
		}
	}
	slices.SortStableFunc(out.Unhealthy, func(a, b status.Node) int {
		return cmp.Or(truth(a.DisconnectedSince.IsZero())-truth(b.DisconnectedSince.IsZero()), len(b.Losses)-len(a.Losses))
	})
	return out
}

// lossStatus is what was lost elsewhere, the server's own first.
func lossStatus(ledger *coverage.Ledger, now time.Time) (out []status.Loss) {
	for _, family := range []string{coverage.FamilyServer, coverage.FamilyAudit, coverage.FamilyRule, coverage.FamilyPod, coverage.FamilyJoin} {
		for _, s := range ledger.Summaries(family, now.Add(-lossesFor)) {
			out = append(out, byCause(s.Source, append(s.Ended, s.Open...))...)
		}
	}
	return out
}

// byCause sums up holes of one source, by cause.
func byCause(source string, holes []event.Hole) []status.Loss {
	var out []status.Loss
	for _, h := range holes {
		i := slices.IndexFunc(out, func(l status.Loss) bool { return l.Cause == h.Cause })
		if i < 0 {
			out = append(out, status.Loss{Source: source, Cause: h.Cause, Lost: h.Lost, From: h.From, To: h.To})
			continue
		}
		l := &out[i]
		l.Lost += h.Lost
		if h.From.Before(l.From) {
			l.From = h.From
		}
		if h.To.IsZero() || !l.To.IsZero() && h.To.After(l.To) {
			l.To = h.To
		}
	}
	return out
}
