package webhook

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// maxBody is above everything that an API server can send for these doors: for ephemeral containers two pods,
	// each of the 3 MiB that it takes of a client, and otherwise a command that comes from the
	// request's URL and a user from its headers, of 1 MiB. A character of all of these becomes at most six in JSON (\u003c).
	// A bound that a request could exceed would be a way past the gate: a call that
	// fails is, under failurePolicy Ignore, allowed.
	maxBody = 48 << 20
	// largeBody is far above what people do. Larger ones are read only while maxBody bytes of
	// them are not exceeded together, so that their memory is bounded.
	largeBody = 64 << 10

	// DefaultTimeout is the default of Options.Timeout.
	DefaultTimeout = 3 * time.Second

	// logEvery bounds how often a bad call is logged; the metrics count each.
	logEvery = time.Second
)

// FailMode says what the answer is when a Judge fails.
type FailMode string

// The fail modes.
const (
	// FailOpen allows, with a warning: the gate must not be in the cluster's way.
	FailOpen FailMode = "open"
	// FailClosed denies: whoever can make the Judge fail must not get past it.
	FailClosed FailMode = "closed"
)

// Callers tells API servers from others.
type Callers interface {
	// KnownAdmissionPath reports whether a URL's path is one that only API servers have been told. It is
	// asked before anything else, and takes the same time for every path that it does not know.
	KnownAdmissionPath(path string) bool
}

// Options are what a Handler needs.
type Options struct {
	Judge Judge
	// Callers says whose calls are read at all. A server of client certificates checks those itself, beside this.
	Callers Callers
	// FailMode is FailOpen if empty.
	FailMode FailMode
	// Timeout bounds a judgement; DefaultTimeout if zero. The API server's own
	// timeout, which comes with each call, bounds it as well.
	Timeout    time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Handler answers AdmissionReviews.
type Handler struct {
	opts    Options
	metrics *metrics
	buffers sync.Pool
	// large counts the bytes of large reviews.
	large *semaphore.Weighted
	// logged is when a bad call was logged last, in Unix nanoseconds.
	logged atomic.Int64
}

// New makes a Handler.
func New(opts Options) (*Handler, error) {
	if opts.FailMode == "" {
		opts.FailMode = FailOpen
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	switch {
	case opts.Judge == nil:
		return nil, errors.New("webhook options: Judge is missing")
	case opts.Callers == nil:
		return nil, errors.New("webhook options: Callers is missing")
	case opts.Logger == nil:
		return nil, errors.New("webhook options: Logger is missing")
	case opts.Registerer == nil:
		return nil, errors.New("webhook options: Registerer is missing")
	case opts.FailMode != FailOpen && opts.FailMode != FailClosed:
		return nil, fmt.Errorf("webhook options: FailMode is %q, want %s or %s", opts.FailMode, FailOpen, FailClosed)
	case opts.Timeout < 0:
		return nil, errors.New("webhook options: Timeout is negative")
	}
	h := &Handler{opts: opts, large: semaphore.NewWeighted(maxBody + 1)}
	h.buffers.New = func() any { return new(bytes.Buffer) }
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("webhook metrics: %w", err)
	}
	h.metrics = m
	return h, nil
}

// ServeHTTP answers one review.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	growStack()
	req, err := h.read(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	a := h.judge(r, req)
	body, err := encode(req.ID, &a)
	if err != nil {
		// Nothing that a Judge returns can make this happen.
		http.Error(w, "encode the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	// No header is set: for those that a handler sets, net/http waits until they are sent, and sends the body in a frame,
	// a record and a packet of its own. That made a verdict a fifth dearer, and API servers do not look at the type.
	if _, err := w.Write(body); err != nil { //nolint:gosec // no page: JSON, which net/http takes for plain text
		h.opts.Logger.Warn("answer did not reach the API server", "session", req.Session, "err", err)
	}
	h.metrics.answered(req.Door, a.decision, time.Since(begin))
}

// growStack makes room for all that follows at once. net/http makes a goroutine for each request, which begins with a stack of
// 2 KiB, and what is done here needs 8: to grow twice, with many frames to move, was half of the handler's time.
//
//go:noinline
func growStack() {
	var room [stackSize]byte
	runtime.KeepAlive(&room)
}

// stackSize is what a judgement needs of a stack, and less than what is taken for it, a power of two.
const stackSize = 4200

// read decodes the request's body. The error is a *callError.
func (h *Handler) read(r *http.Request) (*Request, error) {
	if !h.opts.Callers.KnownAdmissionPath(r.URL.Path) {
		return nil, &callError{
			http.StatusUnauthorized, "path",
			errors.New("the URL's path is none that API servers are told in the ValidatingWebhookConfiguration"),
		}
	}
	if r.Method != http.MethodPost {
		return nil, &callError{http.StatusMethodNotAllowed, "method", fmt.Errorf("got a %.16q, want POST", r.Method)}
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, &callError{
			http.StatusUnsupportedMediaType, "content-type",
			fmt.Errorf("got the content type %.64q, want application/json", r.Header.Get("Content-Type")),
		}
	}
	release, err := h.admit(r)
	if err != nil {
		return nil, err
	}
	defer release()
	buf, _ := h.buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= largeBody {
			buf.Reset()
			h.buffers.Put(buf)
		}
	}()
	buf.Grow(int(min(max(r.ContentLength, 0), maxBody)) + bytes.MinRead)
	n, err := buf.ReadFrom(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, bad("body", "read the review: %w", err)
	case n > maxBody:
		return nil, tooLarge()
	}
	return decode(buf.Bytes())
}

// admit waits until there is room for the request's body.
func (h *Handler) admit(r *http.Request) (release func(), err error) {
	size := r.ContentLength
	switch {
	case size > maxBody:
		return nil, tooLarge()
	case size < 0:
		size = maxBody + 1 // nobody knows, and no API server does that
	case size <= largeBody:
		return func() {}, nil
	}
	if err := h.large.Acquire(r.Context(), size); err != nil {
		return nil, &callError{http.StatusServiceUnavailable, "busy", fmt.Errorf("too many large reviews at a time: %w", err)}
	}
	return func() { h.large.Release(size) }, nil
}

func tooLarge() *callError {
	return &callError{http.StatusRequestEntityTooLarge, "size", fmt.Errorf("the review has more than %d bytes", maxBody)}
}

// refuse answers a bad call so that it counts as failed.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	call := &callError{http.StatusBadRequest, "other", err}
	errors.As(err, &call)
	h.metrics.rejected.WithLabelValues(call.reason).Inc()
	now := time.Now().UnixNano()
	if last := h.logged.Load(); now-last >= int64(logEvery) && h.logged.CompareAndSwap(last, now) {
		h.opts.Logger.Warn("call is no review of ours", "err", err, "remote", r.RemoteAddr, "userAgent", r.UserAgent())
	}
	http.Error(w, call.Error(), call.status)
}

// The webhook's own audit annotations.
const (
	annotationSession  = "session"
	annotationDecision = "decision"
	annotationFailure  = "failure"
)

// answer is a verdict with all that goes around it.
type answer struct {
	verdict     Verdict
	annotations map[string]string
	warnings    []string
	code        int32
	reason      metav1.StatusReason
	// decision is the label of the metrics.
	decision string
}

// judge asks the Judge, and decides itself where that fails.
func (h *Handler) judge(r *http.Request, req *Request) answer {
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout(r))
	defer cancel()
	v, err := h.ask(ctx, req)
	if err != nil {
		return h.failed(req, err)
	}
	a := answer{verdict: v, annotations: map[string]string{}, warnings: v.Warnings, decision: "allow"}
	maps.Copy(a.annotations, v.Annotations)
	if !v.Allowed {
		a.decision, a.code, a.reason = "deny", http.StatusForbidden, metav1.StatusReasonForbidden
	}
	a.annotations[annotationSession], a.annotations[annotationDecision] = cmp.Or(v.Session, req.Session), a.decision
	return a
}

// errPanic is what a panic of the Judge becomes.
var errPanic = errors.New("the judge panicked")

// ask lets no panic out: net/http would break the connection, and with it the
// answers to everybody else's reviews on it.
func (h *Handler) ask(ctx context.Context, req *Request) (v Verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.opts.Logger.Error("judge panicked", "session", req.Session, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return h.opts.Judge.Judge(ctx, *req)
}

// failed is the answer where no judgement could be had.
func (h *Handler) failed(req *Request, err error) answer {
	why := "error"
	switch {
	case errors.Is(err, errPanic):
		why = "panic"
	case errors.Is(err, context.DeadlineExceeded):
		why = "timeout"
	case errors.Is(err, context.Canceled):
		why = "canceled"
	}
	h.metrics.failures.WithLabelValues(why).Inc()
	h.opts.Logger.Error("request could not be judged", "session", req.Session, "failMode", string(h.opts.FailMode), "err", err)
	a := answer{annotations: map[string]string{annotationSession: req.Session, annotationFailure: why}}
	if h.opts.FailMode == FailClosed {
		a.verdict.Message = "Portcullis could not judge this request and is set to refuse in that case; its log tells more under session " + req.Session
		a.code, a.reason = http.StatusInternalServerError, metav1.StatusReasonInternalError
		a.annotations[annotationDecision], a.decision = "deny", "failed-closed"
		return a
	}
	a.verdict.Allowed = true
	a.warnings = []string{"Portcullis could not judge this request and let it pass, session " + req.Session}
	a.annotations[annotationDecision], a.decision = "allow", "failed-open"
	return a
}

// timeout is the time that is left for the judgement: the API server says how long it
// waits, and the answer has to get there.
func (h *Handler) timeout(r *http.Request) time.Duration {
	theirs, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || theirs <= 0 {
		return h.opts.Timeout
	}
	return min(h.opts.Timeout, theirs*9/10)
}
