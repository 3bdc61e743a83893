package recording

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/auditsink"
)

const (
	auditAPI = "audit.k8s.io/v1"
	// eventHead is how API servers begin every line.
	eventHead = `{"kind":"Event","apiVersion":"` + auditAPI + `",`
	// apiServer stands for the API server, which a log does not name. It must not
	// be the file's name: logs that overlap have some events twice, and those
	// must be the same event.
	apiServer = "log"
)

// header says what a value of the Kubernetes API is.
type header struct {
	Kind       string            `json:"kind"`
	APIVersion string            `json:"apiVersion"`
	Items      []json.RawMessage `json:"items"`
}

// isAudit reports whether a value is one of the audit API, of whatever version.
func isAudit(text []byte) bool {
	const group = "audit.k8s.io/"
	var h header
	return bytes.HasPrefix(text, []byte(eventHead)) ||
		bytes.Contains(text, []byte(group)) && json.Unmarshal(text, &h) == nil && strings.HasPrefix(h.APIVersion, group)
}

// audit yields the event or the events of a value of the Kubernetes API.
func (s *scan) audit(text []byte) {
	if bytes.HasPrefix(text, []byte(eventHead)) {
		s.auditEvent(text)
		return
	}
	var h header
	switch err := json.Unmarshal(text, &h); {
	case err != nil:
		s.syntax(err)
	case h.APIVersion != auditAPI:
		s.bad(fmt.Errorf("want apiVersion %s, got %s", auditAPI, quote(h.APIVersion)), false)
	case h.Kind == "Event":
		s.auditEvent(text)
	case h.Kind == "EventList":
		for _, item := range h.Items {
			s.auditEvent(item)
		}
	default:
		s.bad(fmt.Errorf("want kind Event or EventList, got %s", quote(h.Kind)), false)
	}
}

func (s *scan) auditEvent(text []byte) {
	if s.lines.torn && !json.Valid(text) {
		s.bad(errors.New("not JSON"), true)
		return
	}
	e, err := s.reader.audit.DecodeEvent(text, auditsink.Delivery{APIServer: apiServer})
	if err != nil {
		s.bad(err, false)
		return
	}
	s.give(e, len(text))
}

// telemetry yields the event of a document.
func (s *scan) telemetry(text []byte) {
	if !json.Valid(text) {
		s.syntax(json.Unmarshal(text, new(any)))
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		s.syntax(err)
		return
	}
	e, unknown, err := s.reader.opts.Schema.EventOfOthers(document)
	switch {
	case err != nil:
		s.bad(err, false)
		return
	case e.Time.IsZero():
		s.bad(errors.New("no @timestamp"), false)
		return
	}
	for _, name := range unknown {
		s.reader.unknown(name)
	}
	// When it was received says nothing about a replay.
	e.Received = time.Time{}
	s.give(e, len(text))
}

// maxUnknown bounds the names that are counted.
const maxUnknown = 1000

func (r *Reader) unknown(name string) {
	if _, known := r.counts.Unknown[name]; known || len(r.counts.Unknown) < maxUnknown {
		r.counts.Unknown[name]++
	}
}

// quote makes foreign text fit for a message.
func quote(text string) string {
	const most = 60
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strconv.Quote(text)
}
