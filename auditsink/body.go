package auditsink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// checkHeaders returns how many bytes the request may have.
func (h *Handler) checkHeaders(name string, r *http.Request) (size int64, refused *refusal) {
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
		return 0, h.tooLarge(name)
	case size < 0: // not told: reserve for the largest
		return h.opts.MaxBodyBytes, nil
	default:
		return size, nil
	}
}

// tooLarge refuses a body that nobody reads: its events are lost, however often it is sent.
func (h *Handler) tooLarge(name string) *refusal {
	err := fmt.Errorf("the body exceeds %d bytes: run the API server with --audit-webhook-truncate-enabled "+
		"or a smaller --audit-webhook-batch-max-size, or raise the sink's limit (config.audit.maxBodyMegabytes)", h.opts.MaxBodyBytes)
	h.metrics.rejected.WithLabelValues("dropped").Inc()
	h.opts.Rejects.note(Delivery{APIServer: name, Received: h.opts.Clock()}, []Rejected{{Index: WholeBody, Reason: err}})
	return &refusal{http.StatusRequestEntityTooLarge, reasonTooLarge, err}
}

func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, name string, size int64) ([]byte, *refusal) {
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
		return nil, h.tooLarge(name)
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
