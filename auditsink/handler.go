package auditsink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

// PathPrefix is where the Handler is to be mounted; an API server's name follows.
const PathPrefix = "/audit/"

// Defaults of Options.
const (
	// DefaultMaxBodyBytes is what a batch can hold with room to spare: an API
	// server with --audit-webhook-truncate-enabled sends at most 10 MiB at a
	// time. Without that flag 400 events (the default batch) have 40 KiB each.
	DefaultMaxBodyBytes = 16 << 20
	// DefaultMaxPendingBytes bounds the bodies in memory, which cost two to
	// three times their size while they are decoded.
	DefaultMaxPendingBytes = 64 << 20
	// DefaultMaxRequests bounds the requests in progress. In batch mode an API
	// server has at most 15 (its throttle's burst) if the sink is quick; in
	// blocking mode each API request is one, of which 600 are admitted by default.
	DefaultMaxRequests = 1024
	// DefaultReadTimeout and DefaultIngestTimeout together stay below the 30 s
	// after which an API server gives a delivery up.
	DefaultReadTimeout   = 15 * time.Second
	DefaultIngestTimeout = 10 * time.Second
)

// retryAfter is how many seconds a busy sink asks for. client-go waits that long
// up to ten times before the delivery counts as failed, and its own pauses
// (10 s and doubling, by default) begin only then.
const retryAfter = "1"

// Pipeline takes events over.
type Pipeline interface {
	// Ingest returns nil once it is responsible for all of the events: only
	// then does the API server hear that they have arrived. It must be quick,
	// must not keep the slice, and may be called concurrently.
	//
	// An error that has a method Busy() bool which reports true says that the
	// same events should be offered again shortly; any other is a failure.
	Ingest(ctx context.Context, events []*event.Event) error
}

// Options are a Handler's dependencies and settings. Zero settings mean the defaults.
type Options struct {
	Pipeline Pipeline
	// Rejects keeps the events aside that cannot be read.
	Rejects    *Rejects
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Clock      func() time.Time

	// MaxBodyBytes is the largest request body that is read.
	MaxBodyBytes int64
	// MaxPendingBytes is how many bytes of bodies may be in memory at once.
	MaxPendingBytes int64
	// MaxRequests is how many requests may be in progress at once.
	MaxRequests int
	// ReadTimeout is how long a body may take to arrive.
	ReadTimeout time.Duration
	// IngestTimeout is how long the pipeline may take.
	IngestTimeout time.Duration
}

// Handler serves POST /audit/<API server>. Its TLS must ask for and verify
// client certificates: the Handler refuses requests that come without.
type Handler struct {
	opts    Options
	metrics metrics
	budget  *budget
	seen    *seen
	ids     *auditIDs
	log     *refusalLog
}

// New returns a Handler.
func New(opts Options) (*Handler, error) {
	switch {
	case opts.Pipeline == nil:
		return nil, errors.New("auditsink: Options.Pipeline is nil")
	case opts.Rejects == nil:
		return nil, errors.New("auditsink: Options.Rejects is nil")
	case opts.Logger == nil:
		return nil, errors.New("auditsink: Options.Logger is nil")
	case opts.Registerer == nil:
		return nil, errors.New("auditsink: Options.Registerer is nil")
	case opts.Clock == nil:
		return nil, errors.New("auditsink: Options.Clock is nil")
	case opts.MaxBodyBytes < 0 || opts.MaxPendingBytes < 0 || opts.MaxRequests < 0:
		return nil, errors.New("auditsink: Options.MaxBodyBytes, MaxPendingBytes and MaxRequests must not be negative")
	case opts.ReadTimeout < 0 || opts.IngestTimeout < 0:
		return nil, errors.New("auditsink: Options.ReadTimeout and IngestTimeout must not be negative")
	}
	setDefault(&opts.MaxBodyBytes, DefaultMaxBodyBytes)
	setDefault(&opts.MaxPendingBytes, DefaultMaxPendingBytes)
	setDefault(&opts.MaxRequests, DefaultMaxRequests)
	setDefault(&opts.ReadTimeout, DefaultReadTimeout)
	setDefault(&opts.IngestTimeout, DefaultIngestTimeout)
	if opts.MaxPendingBytes < opts.MaxBodyBytes {
		return nil, fmt.Errorf("auditsink: Options.MaxPendingBytes (%d) is below MaxBodyBytes (%d): the largest body would never be taken",
			opts.MaxPendingBytes, opts.MaxBodyBytes)
	}
	m := newMetrics(opts.Registerer)
	return &Handler{
		opts:    opts,
		metrics: m,
		budget:  newBudget(opts.MaxRequests, opts.MaxPendingBytes, m),
		seen:    newSeen(),
		ids:     newAuditIDs(),
		log:     newRefusalLog(opts.Logger),
	}, nil
}

func setDefault[T int | int64 | time.Duration](setting *T, value T) {
	if *setting == 0 {
		*setting = value
	}
}

// refusal is an answer other than 200.
type refusal struct {
	status int
	// reason is the metric's label.
	reason string
	err    error
}

// The reasons of refusals, as the metric shows them.
const (
	reasonMethod        = "method"
	reasonPath          = "path"
	reasonCertificate   = "certificate"
	reasonContentType   = "content_type"
	reasonTooLarge      = "too_large"
	reasonBusy          = "busy"
	reasonRead          = "read"
	reasonNotEventList  = "not_an_event_list"
	reasonPipelineBusy  = "pipeline_busy"
	reasonPipelineError = "pipeline_error"
	reasonTimeout       = "timeout"
	reasonPanic         = "panic"
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, refused := h.serve(w, r)
	if refused == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	h.metrics.refused.WithLabelValues(refused.reason).Inc()
	h.log.refused(r, name, refused)
	switch refused.status {
	case http.StatusTooManyRequests, http.StatusInternalServerError:
		w.Header().Set("Retry-After", retryAfter)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	}
	// The API server logs this text: it is for the people who set it up.
	http.Error(w, "portcullis audit sink: "+refused.err.Error(), refused.status)
}

// serve handles one request. The name is empty unless the client has proved it.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (name string, refused *refusal) {
	// A panic must not take the connection down with it, which other requests
	// share, and must not look like a success.
	defer func() {
		if p := recover(); p != nil {
			h.opts.Logger.Error("audit request panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			refused = &refusal{http.StatusInternalServerError, reasonPanic, errors.New("internal error")}
		}
	}()
	if r.Method != http.MethodPost {
		return "", &refusal{http.StatusMethodNotAllowed, reasonMethod, errors.New("only POST is served here")}
	}
	name, refused = h.authenticate(r)
	if refused != nil {
		return "", refused
	}
	size, refused := h.checkHeaders(r)
	if refused != nil {
		return name, refused
	}
	if !h.budget.take(size) {
		return name, &refusal{http.StatusTooManyRequests, reasonBusy, errors.New("too many deliveries at once")}
	}
	defer h.budget.give(size)
	body, refused := h.readBody(w, r, size)
	if refused != nil {
		return name, refused
	}
	return name, h.take(r.Context(), name, body)
}

// checkHeaders returns how many bytes the request may have.
func (h *Handler) checkHeaders(r *http.Request) (size int64, refused *refusal) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return 0, &refusal{http.StatusUnsupportedMediaType, reasonContentType,
			fmt.Errorf("content type %s is not application/json", quote(r.Header.Get("Content-Type")))}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return 0, &refusal{http.StatusUnsupportedMediaType, reasonContentType,
			fmt.Errorf("content encoding %s is not supported", quote(encoding))}
	}
	switch size = r.ContentLength; {
	case size > h.opts.MaxBodyBytes:
		return 0, h.tooLarge()
	case size < 0: // not told: reserve for the largest
		return h.opts.MaxBodyBytes, nil
	default:
		return size, nil
	}
}

func (h *Handler) tooLarge() *refusal {
	return &refusal{http.StatusRequestEntityTooLarge, reasonTooLarge,
		fmt.Errorf("the body exceeds %d bytes: run the API server with --audit-webhook-truncate-enabled "+
			"or a smaller --audit-webhook-batch-max-size, or raise the sink's limit", h.opts.MaxBodyBytes)}
}

func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, size int64) ([]byte, *refusal) {
	// The deadline is the connection's or the stream's, so it is not enough to
	// watch the context. Where it cannot be set (a test's recorder), the
	// server's own timeouts are what there is.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.opts.ReadTimeout))
	var body bytes.Buffer
	if r.ContentLength >= 0 {
		body.Grow(int(size) + bytes.MinRead)
	}
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, h.opts.MaxBodyBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, h.tooLarge()
	}
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, reasonRead, fmt.Errorf("read the body: %s", readError(err))}
	}
	return body.Bytes(), nil
}

func readError(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ended early"
	}
	return shorten(err.Error())
}

// take decodes a body and hands its events over.
func (h *Handler) take(ctx context.Context, name string, body []byte) *refusal {
	begin := h.opts.Clock()
	defer func() { h.metrics.ingest.Observe(h.opts.Clock().Sub(begin).Seconds()) }()
	h.metrics.bytes.WithLabelValues(name).Add(float64(len(body)))
	if h.seen.before(name, body) {
		h.metrics.redelivered.WithLabelValues(name).Inc()
	}
	from := Delivery{APIServer: name, Received: begin}
	batch, err := Decode(body, from)
	if err != nil {
		return &refusal{http.StatusBadRequest, reasonNotEventList, err}
	}
	reused := h.ids.mark(batch.Events)
	if refused := h.ingest(ctx, batch.Events); refused != nil {
		return refused
	}
	// Only now: a batch that is sent again would be kept aside, or counted, twice.
	h.metrics.reused.WithLabelValues(name).Add(float64(reused))
	h.keepAside(from, batch.Rejected)
	h.observe(from, batch)
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

// authenticate returns the name that the client's certificate proves.
func (h *Handler) authenticate(r *http.Request) (string, *refusal) {
	name, ok := strings.CutPrefix(r.URL.Path, PathPrefix)
	if !ok || !validName(name) {
		return "", &refusal{http.StatusNotFound, reasonPath,
			fmt.Errorf("path %s is not %s<API server name>", quote(r.URL.Path), PathPrefix)}
	}
	forbidden := func(err error) (string, *refusal) {
		return "", &refusal{http.StatusForbidden, reasonCertificate, err}
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.PeerCertificates) == 0 {
		return forbidden(errors.New("a client certificate of the sink CA is needed"))
	}
	cert := r.TLS.PeerCertificates[0]
	if want := ClientCommonName(name); cert.Subject.CommonName != want {
		return forbidden(fmt.Errorf("path %s needs a certificate of %q, this one is of %s",
			quote(r.URL.Path), want, quote(cert.Subject.CommonName)))
	}
	// Connections live long: the certificate may have ended since the handshake.
	if now := h.opts.Clock(); now.After(cert.NotAfter) {
		return forbidden(fmt.Errorf("the certificate of %q expired at %s", cert.Subject.CommonName, cert.NotAfter.Format(time.RFC3339)))
	}
	h.metrics.clientCert.WithLabelValues(name).Set(float64(cert.NotAfter.Unix()))
	return name, nil
}

// ClientCommonName is the common name of the certificate that an API server of
// that name has to show.
func ClientCommonName(apiServer string) string { return "apiserver:" + apiServer }

// validName accepts what can be the name of an API server: lower case letters,
// digits, dashes and dots.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}
