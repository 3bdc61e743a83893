package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Intervals of Manager.Run where the options name none.
const (
	// DefaultCheckInterval is how long something that was taken away stays so.
	// A check is five small reads.
	DefaultCheckInterval = time.Minute
	// retryInterval is the pause after a check that failed.
	retryInterval = 5 * time.Second
	// checkTimeout bounds one check, so that an API server that does not answer
	// cannot hold the next one up.
	checkTimeout = 30 * time.Second
)

// Options are a Manager's dependencies and settings.
type Options struct {
	Store *Store
	// Names are the DNS names and IP addresses that the server certificate is
	// for. It is asked at every check, since a Service's addresses may change.
	Names func(context.Context) ([]string, error)
	// TrustConfigMap, in the Store's namespace, is where the serving CA is
	// published under the key ca.crt.
	TrustConfigMap string
	// WebhookConfiguration is the ValidatingWebhookConfiguration whose caBundle
	// is kept; empty where the server runs without its webhook.
	WebhookConfiguration string
	// CheckInterval is the time between two checks; zero means the default.
	CheckInterval time.Duration
	Logger        *slog.Logger
	Registerer    prometheus.Registerer
}

// Manager holds the certificates that are in force, and keeps Secrets, trust
// ConfigMap and webhook configuration as they have to be.
type Manager struct {
	opts    Options
	store   *Store
	metrics metrics
	current atomic.Pointer[current]
}

// current is what one check found; it is replaced as a whole and never altered.
type current struct {
	certificate tls.Certificate
	serving     Bundle
	sink        Bundle
	sinkPool    *x509.CertPool
	tokens      sinkTokens
}

// NewManager returns a Manager that has no certificates until Ensure.
func NewManager(opts Options) (*Manager, error) {
	switch {
	case opts.Store == nil:
		return nil, errors.New("pki: Options.Store is nil")
	case opts.Names == nil:
		return nil, errors.New("pki: Options.Names is nil")
	case opts.TrustConfigMap == "":
		return nil, errors.New("pki: Options.TrustConfigMap is empty")
	case opts.CheckInterval < 0:
		return nil, errors.New("pki: Options.CheckInterval must not be negative")
	case opts.Logger == nil:
		return nil, errors.New("pki: Options.Logger is nil")
	case opts.Registerer == nil:
		return nil, errors.New("pki: Options.Registerer is nil")
	}
	if opts.CheckInterval == 0 {
		opts.CheckInterval = DefaultCheckInterval
	}
	return &Manager{opts: opts, store: opts.Store, metrics: newMetrics(opts.Registerer)}, nil
}

// Ensure makes or reads the certificates and puts them in force. Without it the
// endpoints cannot be served; with it they can, even if Publish should fail.
func (m *Manager) Ensure(ctx context.Context) error {
	names, err := m.opts.Names(ctx)
	if err != nil {
		return fmt.Errorf("find the server certificate's names: %w", err)
	}
	serving, err := m.store.EnsureServing(ctx, names)
	if err != nil {
		return fmt.Errorf("ensure the server certificate: %w", err)
	}
	sink, err := m.store.EnsureSinkCA(ctx)
	if err != nil {
		return fmt.Errorf("ensure the sink CA: %w", err)
	}
	certificate, err := serving.Pair.TLS()
	if err != nil {
		return err
	}
	tokens, failed := m.store.readSinkTokens(ctx)
	if before := m.current.Load(); failed != nil && before != nil {
		tokens = before.tokens
	}
	m.current.Store(&current{
		certificate: certificate,
		serving:     serving.Trust,
		sink:        sink,
		sinkPool:    sink.Pool(),
		tokens:      tokens,
	})
	m.metrics.expires("server", serving.Pair.Certificate().NotAfter)
	m.metrics.expires("serving_ca", earliest(serving.Trust))
	m.metrics.expires("sink_ca", earliest(sink))
	return failed
}

// Publish tells those who call the endpoints what to trust. Ensure comes first.
func (m *Manager) Publish(ctx context.Context) error {
	cur := m.current.Load()
	if cur == nil {
		return errNotReady
	}
	client, namespace := m.store.opts.Client, m.store.opts.Namespace
	wrote, err := publishTrust(ctx, client, namespace, m.opts.TrustConfigMap, cur.serving)
	if err != nil {
		return fmt.Errorf("publish the serving CA: %w", err)
	}
	if wrote {
		m.metrics.repaired.WithLabelValues("trust_configmap").Inc()
		m.opts.Logger.Info("published the serving CA", "configMap", m.opts.TrustConfigMap)
	}
	if m.opts.WebhookConfiguration == "" {
		return nil
	}
	wrote, err = injectTrust(ctx, client, m.opts.WebhookConfiguration, cur.serving)
	if err != nil {
		return fmt.Errorf("inject the serving CA: %w", err)
	}
	if wrote {
		m.metrics.repaired.WithLabelValues("webhook_configuration").Inc()
		m.opts.Logger.Info("injected the serving CA", "validatingWebhookConfiguration", m.opts.WebhookConfiguration)
	}
	return nil
}

// Run checks at once and then at intervals, until ctx ends. A check that fails
// is logged, counted and repeated soon: what is in force stays so. It returns nil.
func (m *Manager) Run(ctx context.Context) error {
	for {
		pause := m.opts.CheckInterval
		if err := m.check(ctx); err != nil && ctx.Err() == nil {
			m.metrics.failures.Inc()
			m.opts.Logger.Error("certificates could not be checked", "error", err)
			pause = min(pause, retryInterval)
		}
		// Replicas that started together must not stay in step.
		timer := time.NewTimer(pause - rand.N(pause/10+1)) //nolint:gosec // spreads load, guards nothing
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (m *Manager) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := m.Ensure(ctx)
	// What is in force is published even if it could not be renewed.
	if m.current.Load() == nil {
		return err
	}
	return errors.Join(err, m.Publish(ctx))
}

// earliest is when the first certificate of a bundle ends.
func earliest(b Bundle) time.Time {
	end := b[0].NotAfter
	for _, cert := range b[1:] {
		if cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	return end
}
