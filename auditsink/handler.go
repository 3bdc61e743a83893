package auditsink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
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
	// must not keep the slice nor the events (but what their Own returns), and may
	// be called concurrently.
	//
	// An error that has a method Busy() bool which reports true says that the
	// same events should be offered again shortly; any other is a failure.
	Ingest(ctx context.Context, events []*event.Event) error
}

// Options are a Handler's dependencies and settings. Zero settings mean the defaults.
type Options struct {
	Pipeline Pipeline
	// Rejects keeps the events aside that cannot be read.
	Rejects *Rejects
	// Tokens are taken where a client shows no certificate; nil means that none are.
	Tokens     Tokens
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Clock says when events arrive.
	Clock func() time.Time
	// Wall is the wall clock, which certificates go by; time.Now if nil.
	Wall func() time.Time

	// MaxBodyBytes is the largest request body that is read.
	MaxBodyBytes int64
	// MaxPendingBytes is how many bytes of bodies may be in memory at once. The
	// default makes room for two of the largest.
	MaxPendingBytes int64
	// MaxRequests is how many requests may be in progress at once.
	MaxRequests int
	// ReadTimeout is how long a body may take to arrive.
	ReadTimeout time.Duration
	// IngestTimeout is how long the pipeline may take.
	IngestTimeout time.Duration
}

// Handler serves POST /audit/<API server>. Its TLS must verify the client certificates
// that it is shown: the Handler refuses requests that come without, unless
// there are Tokens and it is shown one.
type Handler struct {
	opts    Options
	metrics metrics
	budget  *budget
	seen    *seen
	decoder *Decoder
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
	if opts.Wall == nil {
		opts.Wall = time.Now
	}
	setDefault(&opts.MaxBodyBytes, DefaultMaxBodyBytes)
	setDefault(&opts.MaxPendingBytes, max(DefaultMaxPendingBytes, 2*opts.MaxBodyBytes))
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
		decoder: NewDecoder(),
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
	reasonToken         = "token"
	reasonContentType   = "content_type"
	reasonTooLarge      = "too_large"
	reasonBusy          = "busy"
	reasonRead          = "read"
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
	h.metrics.refused.WithLabelValues(refused.reason, name).Inc()
	h.log.refused(r, name, refused)
	switch refused.status {
	case http.StatusTooManyRequests, http.StatusInternalServerError:
		w.Header().Set("Retry-After", retryAfter)
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
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
	size, refused := h.checkHeaders(name, r)
	if refused != nil {
		return name, refused
	}
	if !h.budget.take(size) {
		return name, &refusal{http.StatusTooManyRequests, reasonBusy, errors.New("too many deliveries at once")}
	}
	defer h.budget.give(size)
	body, refused := h.readBody(w, r, name, size)
	if refused != nil {
		return name, refused
	}
	return name, h.take(r.Context(), name, body)
}
