package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// notice is a detection as somebody was told of it.
type notice struct {
	serverprocess.Detection
	// life is the number of the server's process that told it.
	life int
	// coverage is what it says of what was not seen.
	coverage string
}

// happening is what it is about.
func (n *notice) happening() happening {
	mark := n.Kubernetes.Audit.AuditID
	if mark == "" {
		mark = n.Process.EntityID
	}
	return happening{n.Rule.ID, mark}
}

func (n *notice) state() string { return n.Portcullis.Detection.State }

// content is what a notice says of what happened: two of one detection in one state must be the same. When it was
// concluded is no part of it, nor what was done, which is judged for itself. The times of its events are not either: they
// are corrected by what is known of a clock, and another process measures it anew.
type content struct{ rule, pod, process, request, confidence, events string }

func (n *notice) content() content {
	d := n.Portcullis.Detection
	events := make([]string, 0, len(d.Events))
	for _, e := range d.Events {
		events = append(events, e.ID)
	}
	return content{
		rule: n.Rule.ID, pod: n.Orchestrator.Resource.ID, process: n.Process.EntityID, request: n.Kubernetes.Audit.AuditID,
		confidence: d.Confidence, events: strings.Join(events, " "),
	}
}

// read makes a notice of a document.
func read(body []byte, life int) (notice, error) {
	n := notice{life: life}
	var more struct {
		Portcullis struct {
			Detection struct {
				Coverage json.RawMessage `json:"coverage"`
			} `json:"detection"`
		} `json:"portcullis"`
	}
	if err := errors.Join(json.Unmarshal(body, &n.Detection), json.Unmarshal(body, &more)); err != nil {
		return notice{}, fmt.Errorf("a document that is none: %w: %.200q", err, body)
	}
	n.coverage = string(more.Portcullis.Detection.Coverage)
	return n, nil
}

// receiver is told of detections, as somebody's alerting is, which fails now and then.
type receiver struct {
	url string

	mu      sync.Mutex
	random  *rand.Rand
	life    int
	notices []notice
	made    map[happening]bool
	// failed counts the times that it did.
	failed   int
	problems []error
}

// openReceiver listens until the suite ends.
func openReceiver(t standalone.TB, random *rand.Rand) *receiver {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{url: "http://" + listener.Addr().String(), random: random, made: map[happening]bool{}}
	server := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("receiver of detections: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return r
}

// ServeHTTP implements http.Handler. What it answers 503 to it has not taken.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return // Who sends was killed.
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.random.IntN(50) == 0 {
		r.failed++
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	n, err := read(body, r.life)
	if err != nil {
		r.problems = append(r.problems, err)
		return
	}
	r.notices = append(r.notices, n)
	r.made[n.happening()] = true
}

// begin tells that the next process begins.
func (r *receiver) begin() (life int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life++
	return r.life
}

// sofar is what was made so far.
func (r *receiver) sofar() map[happening]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[happening]bool, len(r.made))
	for h := range r.made {
		out[h] = true
	}
	return out
}

// told returns everything that it was told.
func (r *receiver) told() (notices []notice, failed int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notices, r.failed, errors.Join(r.problems...)
}
