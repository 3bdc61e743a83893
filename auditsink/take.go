package auditsink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/portcullis-dev/portcullis/event"
)

// take decodes a body and hands its events over.
func (h *Handler) take(ctx context.Context, name string, body []byte) *refusal {
	begin := h.opts.Clock()
	defer func() { h.metrics.ingest.Observe(h.opts.Clock().Sub(begin).Seconds()) }()
	h.metrics.bytes.WithLabelValues(name).Add(float64(len(body)))
	if h.seen.before(name, body) {
		h.metrics.redelivered.WithLabelValues(name).Inc()
	}
	from := Delivery{APIServer: name, Received: begin, Wall: h.opts.Wall()}
	batch, err := h.decoder.Decode(body, from)
	if err != nil {
		h.setAside(from, body, err)
		return nil
	}
	reused := h.ids.mark(batch.Events)
	if refused := h.ingest(ctx, batch.Events); refused != nil {
		return refused
	}
	// Only now: a batch that is sent again would be kept aside, or counted, twice.
	h.metrics.reused.WithLabelValues(name).Add(float64(reused))
	h.keepAside(from, batch.Rejected)
	h.observe(from, batch)
	batch.Release()
	return nil
}

func (h *Handler) ingest(ctx context.Context, events []*event.Event) *refusal {
	if len(events) == 0 {
		return nil
	}
	// The work outlives a client that hangs up, and a server that stops: half of
	// it would be done again with the next delivery.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.opts.IngestTimeout)
	defer cancel()
	err := h.opts.Pipeline.Ingest(ctx, events)
	switch {
	case err == nil:
		return nil
	case isBusy(err):
		return &refusal{http.StatusTooManyRequests, reasonPipelineBusy, errors.New("the pipeline is busy")}
	case errors.Is(err, context.DeadlineExceeded):
		return &refusal{http.StatusTooManyRequests, reasonTimeout, fmt.Errorf("the pipeline took longer than %s", h.opts.IngestTimeout)}
	default:
		h.opts.Logger.Error("audit events could not be ingested", "events", len(events), "error", err)
		return &refusal{http.StatusInternalServerError, reasonPipelineError, errors.New("the pipeline failed; its log says why")}
	}
}

func isBusy(err error) bool {
	busy, ok := errors.AsType[interface {
		error
		Busy() bool
	}](err)
	return ok && busy.Busy()
}

// setAside keeps a body that is no EventList. The API server would send it again, whatever the answer but for a 2xx, and
// it would not be one then either.
func (h *Handler) setAside(from Delivery, body []byte, reason error) {
	raw, err := json.Marshal(body) // in base64: it need not be JSON, nor text
	if err != nil {
		raw = nil // bytes cannot fail to be encoded
	}
	h.metrics.undecodable.WithLabelValues(from.APIServer).Inc()
	h.keepAside(from, []Rejected{{Index: WholeBody, Reason: reason, Raw: raw}})
}

func (h *Handler) keepAside(from Delivery, rejected []Rejected) {
	if len(rejected) == 0 {
		return
	}
	kept, err := h.opts.Rejects.Keep(from, rejected)
	h.metrics.rejected.WithLabelValues("kept").Add(float64(kept))
	h.metrics.rejected.WithLabelValues("dropped").Add(float64(len(rejected) - kept))
	first := rejected[0]
	attrs := []any{"apiserver", from.APIServer, "rejected", len(rejected), "kept", kept,
		"firstIndex", first.Index, "firstReason", first.Reason.Error()}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	h.opts.Logger.Error("audit events could not be read", attrs...)
}

func (h *Handler) observe(from Delivery, batch Batch) {
	h.metrics.events.WithLabelValues(from.APIServer).Add(float64(len(batch.Events)))
	lag := h.metrics.lag.WithLabelValues(from.APIServer)
	for _, e := range batch.Events {
		// A clock that is ahead makes the lag negative: that is nobody's latency.
		lag.Observe(max(0, from.Received.Sub(e.StageTime).Seconds()))
	}
	if len(batch.Cut) == 0 {
		return
	}
	for _, c := range batch.Cut {
		h.metrics.cut.WithLabelValues(c.Field).Inc()
	}
	first := batch.Cut[0]
	h.opts.Logger.Warn("audit events were cut", "apiserver", from.APIServer, "cuts", len(batch.Cut),
		"firstIndex", first.Index, "firstField", first.Field, "firstEntries", first.Had, "kept", MaxEntries)
}
