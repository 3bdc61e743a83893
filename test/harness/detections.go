package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Detection is a detection as the HTTP endpoint gets it: the ECS document, and
// the parts of it that the harness reads.
type Detection struct {
	Raw      json.RawMessage
	Arrived  time.Time
	Document Document
}

// Document is the part of a detection's ECS document that the harness reads.
type Document struct {
	Event struct {
		// Created is when Portcullis concluded.
		Created time.Time `json:"created"`
	} `json:"event"`
	Rule struct {
		Name string `json:"name"`
		ID   string `json:"id"`
	} `json:"rule"`
	Orchestrator struct {
		Namespace string `json:"namespace"`
		Resource  struct {
			Name string `json:"name"`
			ID   string `json:"id"`
		} `json:"resource"`
	} `json:"orchestrator"`
	User struct {
		Name string `json:"name"`
	} `json:"user"`
	Portcullis struct {
		Detection struct {
			ID     string           `json:"id"`
			Action string           `json:"action"`
			Why    string           `json:"why"`
			Events []DetectionEvent `json:"events"`
			// Sessions are those that its events happened in.
			Sessions []struct {
				ID, Attribution string
				User            struct{ Name string }
			} `json:"sessions"`
			// Coverage says what was not seen.
			Coverage struct {
				Status string                           `json:"status"`
				Holes  []struct{ Source, Cause string } `json:"holes"`
			} `json:"coverage"`
		} `json:"detection"`
	} `json:"portcullis"`
}

// DetectionEvent is one event of a detection's chain.
type DetectionEvent struct {
	Time    time.Time `json:"time"`
	DelayMS float64   `json:"delay_ms"`
	Kind    string    `json:"kind"`
	Source  string    `json:"source"`
	Summary string    `json:"summary"`
}

// Received is when Portcullis had it.
func (e DetectionEvent) Received() time.Time {
	return e.Time.Add(time.Duration(e.DelayMS * float64(time.Millisecond)))
}

// Detections is an HTTP endpoint that keeps what Portcullis sends it.
type Detections struct {
	URL    string
	server *http.Server

	mu      sync.Mutex
	all     []Detection
	changed chan struct{}
}

// listenForDetections serves on the given host, at a free port.
func listenForDetections(ctx context.Context, host string) (*Detections, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("listen for detections: %w", err)
	}
	d := &Detections{URL: "http://" + listener.Addr().String() + "/detections", changed: make(chan struct{})}
	d.server = &http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = d.server.Serve(listener) }() // ends with Close
	return d, nil
}

// Close stops the endpoint.
func (d *Detections) Close() error { return d.server.Close() }

// ServeHTTP takes one detection.
func (d *Detections) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	got := Detection{Raw: body, Arrived: time.Now()}
	if err := json.Unmarshal(body, &got.Document); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	d.all = append(d.all, got)
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// All returns what has arrived so far.
func (d *Detections) All() []Detection {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Detection(nil), d.all...)
}

// Await waits for a detection that match accepts.
func (d *Detections) Await(ctx context.Context, match func(Detection) bool) (Detection, error) {
	seen := 0
	for {
		d.mu.Lock()
		all, changed := d.all, d.changed
		d.mu.Unlock()
		for _, got := range all[seen:] {
			if match(got) {
				return got, nil
			}
		}
		seen = len(all)
		select {
		case <-changed:
		case <-ctx.Done():
			return Detection{}, errors.Join(fmt.Errorf("no such detection among %d", seen), ctx.Err())
		}
	}
}
