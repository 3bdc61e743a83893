package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/execsession"
)

// Path is where the sessions are; each has its ID below it.
const Path = "/sessions"

const (
	// DefaultMaxFollowers is how many may follow at once.
	DefaultMaxFollowers = 8
	// DefaultMaxReaders is how many lists and single sessions may be under way at once: a list can be of some MiB.
	DefaultMaxReaders = 4
	// DefaultHeartbeat is how often a stream says that nothing has happened.
	DefaultHeartbeat = 15 * time.Second
	// writeTimeout is for a line of a stream, or a part of a list.
	writeTimeout = 10 * time.Second
	// maxID bounds what can be a session's ID.
	maxID = 128
)

// The types of what is answered.
const (
	typeLines = "application/x-ndjson"
	typeJSON  = "application/json"
)

// Sessions are what is served; an execsession.Tracker is one.
type Sessions interface {
	// List returns the sessions that a filter chooses, without processes and timelines.
	List(execsession.Filter) []execsession.Document
	// Get returns a session with everything, by its ID or that of its request.
	Get(id string) (execsession.Document, bool)
	// Follow sends changes until ctx ends; it closes the channel then, and when its reader is too slow.
	Follow(context.Context, execsession.Filter) <-chan execsession.Document
}

// Options are a Feed's dependencies and settings. Zero settings mean the defaults.
type Options struct {
	Sessions     Sessions
	MaxFollowers int
	MaxReaders   int
	Heartbeat    time.Duration
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

// Feed is an http.Handler for Path and what is below it.
type Feed struct {
	opts      Options
	mux       *http.ServeMux
	metrics   metrics
	followers chan struct{}
	readers   chan struct{}
	// stopped is closed when nobody may follow any more.
	stopped chan struct{}
}

// New returns a Feed. Its followers stay until they go, or until Run ends.
func New(opts Options) (*Feed, error) {
	if opts.Sessions == nil || opts.Logger == nil || opts.Registerer == nil {
		return nil, errors.New("feed: Options needs Sessions, Logger and Registerer")
	}
	if opts.MaxFollowers < 0 || opts.MaxReaders < 0 || opts.Heartbeat < 0 {
		return nil, errors.New("feed: Options.MaxFollowers, MaxReaders and Heartbeat must not be negative")
	}
	setDefault(&opts.MaxFollowers, DefaultMaxFollowers)
	setDefault(&opts.MaxReaders, DefaultMaxReaders)
	setDefault(&opts.Heartbeat, DefaultHeartbeat)
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("feed: metrics: %w", err)
	}
	f := &Feed{
		opts: opts, mux: http.NewServeMux(), metrics: m,
		followers: make(chan struct{}, opts.MaxFollowers), readers: make(chan struct{}, opts.MaxReaders), stopped: make(chan struct{}),
	}
	f.mux.HandleFunc("GET "+Path, f.many)
	f.mux.HandleFunc("GET "+Path+"/{id}", f.one)
	return f, nil
}

func setDefault[T int | time.Duration](setting *T, value T) {
	if *setting == 0 {
		*setting = value
	}
}

// Run sends followers away when ctx ends: their requests would outlive a server that lets requests finish. It runs once.
func (f *Feed) Run(ctx context.Context) error {
	<-ctx.Done()
	close(f.stopped)
	return nil
}

// ServeHTTP answers a request of somebody who has been let in.
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead { // a pattern for GET takes it too, and nobody would read the stream
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "only GET is served", http.StatusMethodNotAllowed)
		return
	}
	f.mux.ServeHTTP(w, r)
}

func (f *Feed) one(w http.ResponseWriter, r *http.Request) {
	if !f.enter(w, f.readers, "readers") {
		return
	}
	defer func() { <-f.readers }()
	id := r.PathValue("id")
	if len(id) > maxID {
		http.Error(w, "that is too long for the ID of a session", http.StatusBadRequest)
		return
	}
	d, ok := f.opts.Sessions.Get(id)
	if !ok {
		http.Error(w, fmt.Sprintf("there is no session %q: it is not known yet, or forgotten already", id), http.StatusNotFound)
		return
	}
	text, err := json.Marshal(d)
	if err != nil {
		f.opts.Logger.Error("a session cannot be shown", "session", id, "error", err)
		http.Error(w, "the session cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	_, _ = w.Write(append(text, '\n'))
}

func (f *Feed) many(w http.ResponseWriter, r *http.Request) {
	q, err := parse(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if q.follow {
		f.follow(w, r, q.filter)
		return
	}
	if !f.enter(w, f.readers, "readers") {
		return
	}
	defer func() { <-f.readers }()
	f.list(w, q)
}

// enter takes a place, or answers that there is none. The caller gives it back.
func (f *Feed) enter(w http.ResponseWriter, places chan struct{}, who string) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		f.metrics.refused.WithLabelValues(who).Inc()
		w.Header().Set("Retry-After", "5")
		http.Error(w, fmt.Sprintf("%d %s are there already, there is no room for more: try again later", cap(places), who), http.StatusServiceUnavailable)
		return false
	}
}

// list writes sessions, each as a line. An answer that breaks off has no proper end, so that nobody takes it for whole.
func (f *Feed) list(w http.ResponseWriter, q query) {
	w.Header().Set("Content-Type", typeLines)
	out := newLines(w)
	for _, d := range f.opts.Sessions.List(q.filter) {
		if q.details {
			if whole, ok := f.opts.Sessions.Get(d.ID); ok {
				d = whole
			}
		}
		if err := out.write(d); err != nil {
			f.opts.Logger.Debug("a list of sessions broke off", "error", err)
			panic(http.ErrAbortHandler)
		}
	}
}

// follow writes changes until the client goes, the server stops, or the client is too slow.
func (f *Feed) follow(w http.ResponseWriter, r *http.Request, filter execsession.Filter) {
	if !f.enter(w, f.followers, "followers") {
		return
	}
	defer func() { <-f.followers }()
	f.metrics.followers.Inc()
	defer f.metrics.followers.Dec()

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	changes := f.opts.Sessions.Follow(ctx, filter)
	w.Header().Set("Content-Type", typeLines)
	out := newLines(w)
	if err := out.stay(); err != nil {
		f.opts.Logger.Error("a stream of sessions is not possible", "error", err)
		http.Error(w, "streams are not possible here", http.StatusInternalServerError)
		return
	}
	if err := f.pass(ctx, out, changes); err != nil {
		f.opts.Logger.Debug("a follower of sessions is gone", "error", err)
	}
}

func (f *Feed) pass(ctx context.Context, out *lines, changes <-chan execsession.Document) error {
	heartbeat := time.NewTicker(f.opts.Heartbeat)
	defer heartbeat.Stop()
	// The client learns at once that it follows, and that nothing before this line is missing.
	if err := out.beat(); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-f.stopped:
			return nil
		case <-heartbeat.C:
			err = out.beat()
		case d, open := <-changes:
			if !open {
				return errors.New("it was too far behind")
			}
			err = out.send(d)
		}
		if err != nil {
			return err
		}
	}
}
