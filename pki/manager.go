package pki

import (
	"cmp"
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
	// A check is some small reads.
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
	// WebhookConfiguration is the ValidatingWebhookConfiguration whose caBundle and path
	// are kept; empty where the server runs without its webhook.
	WebhookConfiguration string
	// WebhookClientCA is a file of the CAs that sign API servers' client certificates for the webhook. If there is one, callers
	// must show such a certificate. It is read again at every check.
	WebhookClientCA string
	// Serving and Sink are certificates of somebody else, for the sink and for all other endpoints. Where they are
	// zero, the Store issues them.
	Serving, Sink Files
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
	// sink is what API servers trust the sink by, sinkClients what it trusts them by.
	sinkCertificate tls.Certificate
	sink            Bundle
	sinkClients     *x509.CertPool
	tokens          sinkTokens
	// webhookClients is nil where the webhook asks for no certificates.
	webhookClients *x509.CertPool
	paths          admissionPaths
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
	case 2*cmp.Or(opts.CheckInterval, DefaultCheckInterval) > opts.Store.opts.Overlap:
		return nil, errors.New("pki: Options.CheckInterval must not be longer than half of StoreOptions.Overlap: " +
			"replicas would learn too late of what another one has replaced")
	case opts.Logger == nil:
		return nil, errors.New("pki: Options.Logger is nil")
	case opts.Registerer == nil:
		return nil, errors.New("pki: Options.Registerer is nil")
	}
	if opts.CheckInterval == 0 {
		opts.CheckInterval = DefaultCheckInterval
	}
	if err := errors.Join(opts.Serving.validate("Serving"), opts.Sink.validate("Sink")); err != nil {
		return nil, err
	}
	return &Manager{opts: opts, store: opts.Store, metrics: newMetrics(opts.Registerer)}, nil
}

// Ensure makes or reads the certificates and puts them in force. Without it the
// endpoints cannot be served; with it they can, even if Publish should fail.
func (m *Manager) Ensure(ctx context.Context) error {
	next, failed := m.find(ctx)
	if next == nil {
		return failed
	}
	m.current.Store(next)
	m.metrics.expires("server", next.certificate.Leaf.NotAfter)
	m.metrics.expires("sink_server", next.sinkCertificate.Leaf.NotAfter)
	for name, bundle := range map[string]Bundle{"serving_ca": next.serving, "sink_ca": next.sink} {
		if len(bundle) > 0 {
			m.metrics.expires(name, earliest(bundle))
		}
	}
	return failed
}

// find is what there is to put in force; nil where that lacks something that cannot be done without. The error
// tells of the rest, which then stays as it was.
func (m *Manager) find(ctx context.Context) (next *current, failed error) {
	names, err := m.opts.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the server certificate's names: %w", err)
	}
	serving, err := m.certificate(ctx, m.opts.Serving, m.store.EnsureServing, names)
	if err != nil {
		return nil, fmt.Errorf("ensure the server certificate: %w", err)
	}
	sink, err := m.certificate(ctx, m.opts.Sink, m.store.EnsureSink, names)
	if err != nil {
		return nil, fmt.Errorf("ensure the sink's certificate: %w", err)
	}
	clients := sink.Trust
	if !m.opts.Sink.IsZero() {
		if clients, err = m.store.EnsureSinkCA(ctx); err != nil {
			return nil, fmt.Errorf("ensure the sink CA: %w", err)
		}
	}
	next = &current{serving: serving.Trust, sink: sink.Trust, sinkClients: clients.Pool()}
	if next.certificate, err = serving.Pair.TLS(); err != nil {
		return nil, err
	}
	if next.sinkCertificate, err = sink.Pair.TLS(); err != nil {
		return nil, err
	}
	before := m.current.Load()
	if before == nil {
		before = &current{}
	}
	var errs [3]error
	if next.tokens, errs[0] = m.store.readSinkTokens(ctx); errs[0] != nil {
		next.tokens = before.tokens
	}
	if next.paths, errs[1] = m.store.ensurePaths(ctx); errs[1] != nil {
		next.paths = before.paths
	}
	if next.webhookClients, errs[2] = m.readWebhookClients(); errs[2] != nil {
		if before.webhookClients == nil {
			return nil, errs[2]
		}
		next.webhookClients = before.webhookClients
	}
	return next, errors.Join(errs[:]...)
}

// certificate is somebody else's, or the Store's.
func (m *Manager) certificate(ctx context.Context, files Files, ensure func(context.Context, []string) (Serving, error), names []string) (Serving, error) {
	if !files.IsZero() {
		return files.read()
	}
	return ensure(ctx, names)
}

func (m *Manager) readWebhookClients() (*x509.CertPool, error) {
	bundle, err := readBundle(m.opts.WebhookClientCA)
	if err != nil {
		return nil, fmt.Errorf("read the CA of the webhook's clients: %w", err)
	}
	if bundle == nil {
		return nil, nil
	}
	return bundle.Pool(), nil
}

// Publish tells those who call the endpoints what to trust. Ensure comes first.
func (m *Manager) Publish(ctx context.Context) error {
	cur := m.current.Load()
	if cur == nil {
		return errNotReady
	}
	client, namespace := m.store.opts.Client, m.store.opts.Namespace
	if len(cur.serving) > 0 {
		wrote, err := publishTrust(ctx, client, namespace, m.opts.TrustConfigMap, cur.serving)
		if err != nil {
			return fmt.Errorf("publish the serving CA: %w", err)
		}
		if wrote {
			m.metrics.repaired.WithLabelValues("trust_configmap").Inc()
			m.opts.Logger.Info("published the serving CA", "configMap", m.opts.TrustConfigMap)
		}
	}
	if m.opts.WebhookConfiguration == "" {
		return nil
	}
	wrote, err := tellAPIServers(ctx, client, m.opts.WebhookConfiguration, cur.serving, m.admissionPath(cur))
	if err != nil {
		return fmt.Errorf("tell API servers the serving CA and the path: %w", err)
	}
	if wrote {
		m.metrics.repaired.WithLabelValues("webhook_configuration").Inc()
		m.opts.Logger.Info("told API servers the serving CA and the path", "validatingWebhookConfiguration", m.opts.WebhookConfiguration)
	}
	return nil
}

// admissionPath is the path that API servers are told; empty while there is none.
func (m *Manager) admissionPath(cur *current) string {
	if len(cur.paths) == 0 {
		return ""
	}
	return admissionPrefix + cur.paths[cur.paths.told(m.store.opts.Clock(), m.store.opts.Overlap)].Secret
}

// advance takes the next step of what is being replaced. It comes after Publish, which has
// seen that everybody is told what was found before.
func (m *Manager) advance(ctx context.Context) error {
	if m.opts.Serving.IsZero() {
		changed, err := m.store.advanceServingCA(ctx)
		if err != nil {
			return fmt.Errorf("replace the serving CA: %w", err)
		}
		if changed {
			if err := m.Ensure(ctx); err != nil {
				return err
			}
		}
	}
	if m.opts.WebhookConfiguration == "" {
		return nil
	}
	return m.store.retirePaths(ctx)
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
	if published := m.Publish(ctx); err != nil || published != nil {
		return errors.Join(err, published)
	}
	return m.advance(ctx)
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
