// Package canary knows whether the audit stream is alive. It makes a harmless
// API request of its own at intervals and waits for that request's audit event
// to come back through the sink: how long that takes is the pipeline's lag, and
// when it does not come back Portcullis is blind and says so.
//
// The request is a GET of one ConfigMap, the only one of Portcullis' own
// requests within its rights that the audit policy records. Each carries a random nonce in its
// user agent, so that nobody can make a blind Portcullis believe that it sees.
package canary

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

// UserAgentPrefix is what a canary request's user agent starts with; the nonce follows.
const UserAgentPrefix = "portcullis-canary/"

// maxFlying bounds the canaries whose audit event is still awaited. The oldest
// is given up for a new one: its loss is already known as blindness by then.
const maxFlying = 64

// Options are a Canary's dependencies; all are required.
type Options struct {
	// Request makes one API request with the given user agent.
	Request func(ctx context.Context, userAgent string) error
	// Period is the time between two requests. After three periods (and at
	// least BlindAfter) without a return the stream counts as blind.
	Period     time.Duration
	BlindAfter time.Duration
	Clock      func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Canary makes the requests and awaits their events.
type Canary struct {
	opts    Options
	metrics metrics

	mu       sync.Mutex
	flying   map[string]time.Time // by user agent
	started  time.Time
	returned map[string]time.Time // the latest return, by source
	blind    bool
}

// New returns a Canary that does nothing until Run.
func New(opts Options) (*Canary, error) {
	switch {
	case opts.Request == nil:
		return nil, errors.New("canary: Options.Request is nil")
	case opts.Period <= 0:
		return nil, errors.New("canary: Options.Period must be positive")
	case opts.Clock == nil:
		return nil, errors.New("canary: Options.Clock is nil")
	case opts.Logger == nil:
		return nil, errors.New("canary: Options.Logger is nil")
	case opts.Registerer == nil:
		return nil, errors.New("canary: Options.Registerer is nil")
	}
	return &Canary{
		opts:     opts,
		metrics:  newMetrics(opts.Registerer),
		flying:   make(map[string]time.Time),
		returned: make(map[string]time.Time),
		started:  opts.Clock(),
		blind:    true, // until the first one has returned
	}, nil
}

// Run makes a request every period until ctx ends. It returns nil.
func (c *Canary) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.opts.Period)
	defer ticker.Stop()
	for {
		c.fly(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			c.judge()
		}
	}
}

func (c *Canary) fly(ctx context.Context) {
	agent := UserAgentPrefix + rand.Text()
	c.mu.Lock()
	c.forgetOldest()
	c.flying[agent] = c.opts.Clock()
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, c.opts.Period)
	defer cancel()
	if err := c.opts.Request(ctx, agent); err != nil && ctx.Err() == nil {
		c.metrics.failed.Inc()
		c.opts.Logger.Warn("canary request failed", "error", err)
	}
}

func (c *Canary) forgetOldest() {
	if len(c.flying) < maxFlying {
		return
	}
	var oldest string
	for agent, at := range c.flying {
		if oldest == "" || at.Before(c.flying[oldest]) {
			oldest = agent
		}
	}
	delete(c.flying, oldest)
	c.metrics.lost.Inc()
}

// Observe looks at an event from a sink. It reports whether the event is a
// canary's return, which no rule needs to see.
func (c *Canary) Observe(e *event.Event) bool {
	if e.Audit == nil || !strings.HasPrefix(e.Audit.UserAgent, UserAgentPrefix) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The API server may add to a user agent, never in front of it.
	agent, _, _ := strings.Cut(e.Audit.UserAgent, " ")
	sent, ok := c.flying[agent]
	if !ok {
		// A forged nonce, or one given up: it proves nothing, and rules may judge it.
		return false
	}
	delete(c.flying, agent)
	c.metrics.lag.Observe(e.Received.Sub(sent).Seconds())
	c.metrics.last.WithLabelValues(e.Source).Set(float64(e.Received.UnixMilli()) / 1000)
	c.returned[e.Source] = e.Received
	if c.blind {
		c.blind = false
		c.metrics.blind.Set(0)
		c.opts.Logger.Info("audit stream is live", "source", e.Source, "lag", e.Received.Sub(sent))
	}
	return true
}

// judge notices when no canary has returned for too long.
func (c *Canary) judge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	latest := c.started
	for _, at := range c.returned {
		if at.After(latest) {
			latest = at
		}
	}
	silent := c.opts.Clock().Sub(latest)
	if silent < max(3*c.opts.Period, c.opts.BlindAfter) {
		return
	}
	c.metrics.blind.Set(1)
	if !c.blind || len(c.returned) == 0 {
		c.opts.Logger.Warn("audit stream is silent: check the API server's audit-webhook flags, its audit policy, and that it reaches the sink",
			"silent", silent.Round(time.Second))
	}
	c.blind = true
}

// Blind reports whether no audit event is coming through.
func (c *Canary) Blind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blind
}

// String says the state for people.
func (c *Canary) String() string {
	if c.Blind() {
		return "audit stream: blind"
	}
	return fmt.Sprintf("audit stream: live, asked every %s", c.opts.Period)
}

type metrics struct {
	lag    prometheus.Histogram
	last   *prometheus.GaugeVec
	blind  prometheus.Gauge
	failed prometheus.Counter
	lost   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "portcullis_audit_canary_lag_seconds",
			Help:    "Time from a canary request to its audit event at the sink.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portcullis_audit_canary_last_returned_timestamp_seconds",
			Help: "When the latest canary came back, per audit source.",
		}, []string{"source"}),
		blind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_audit_blind",
			Help: "1 while no canary comes back: audit is off, filtered, or does not reach the sink.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_audit_canary_request_failures_total",
			Help: "Canary requests that the API server did not answer.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_audit_canary_lost_total",
			Help: "Canary requests whose audit event was given up.",
		}),
	}
	m.blind.Set(1)
	reg.MustRegister(m.lag, m.last, m.blind, m.failed, m.lost)
	return m
}
