package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/app/audited"
	"github.com/portcullis-dev/portcullis/app/ending"
	"github.com/portcullis-dev/portcullis/app/rulebook"
	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/barrier"
	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/enforcement"
	"github.com/portcullis-dev/portcullis/enforcement/namespaces"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession"
	"github.com/portcullis-dev/portcullis/identity"
	"github.com/portcullis-dev/portcullis/notify"
	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/record"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/steady"
)

// blindAfter is how long the audit stream may be silent before the server calls
// itself blind: the default batch wait of an API server (30 s), and as much again.
const blindAfter = time.Minute

// Options are what a Server is made from. All but Pod are required.
type Options struct {
	Config config.Config
	// Pod is the one that the server runs in, if it runs in one: what whoever
	// runs it should see is told there.
	Pod  event.Pod
	REST *rest.Config
	// Detections is where detections are written, one JSON document a line, if
	// the configuration asks for it.
	Detections io.Writer
	Logger     *slog.Logger
	Registry   *prometheus.Registry
}

func (o Options) validate() error {
	switch {
	case o.REST == nil:
		return errors.New("app: Options.REST is nil")
	case o.Detections == nil:
		return errors.New("app: Options.Detections is nil")
	case o.Logger == nil:
		return errors.New("app: Options.Logger is nil")
	case o.Registry == nil:
		return errors.New("app: Options.Registry is nil")
	}
	return nil
}

// Server is the assembled server.
type Server struct {
	opts Options
	// clock is everybody's, but for what other people check by their own: certificates and tokens.
	clock   *steady.Clock
	clients *clients
	schema  *field.Schema
	rules   *rulebook.Book
	self    *self

	durable      durable
	resumption   *resumption
	oversight    *oversight
	certificates *pki.Manager
	resolver     *identity.Resolver
	hold         *identity.Hold
	canary       *canary.Canary
	correlator   *correlator.Correlator
	recorder     *recorder
	pipeline     *pipeline
	events       *quarantine.Events
	index        *quarantine.Index
	quarantine   *quarantine.Manager
	record       *record.Book
	notify       *notify.Fanout
	responder    *responder
	collector    *collector.Server
	claims       *collector.Claims
	namespaces   *namespaces.Watcher
	enforcer     *enforcement.Enforcer
	responding   atomic.Pointer[responding]
	gate         *quarantine.Gate
	barrier      *barrier.Barrier
	killer       *ending.Killer
	sessions     *execsession.Tracker
	stream       *sessionStream
	unattributed *unattributed
	reviews      *reviews

	endpoints         endpoints
	collectorListener net.Listener
	// serving is set while the endpoints take work.
	serving atomic.Bool
}

// New builds the server and binds its addresses. Nothing runs before Run; after
// an error nothing is bound any more.
func New(ctx context.Context, opts Options) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	s := &Server{opts: opts, index: &quarantine.Index{}}
	for _, build := range []func(context.Context) error{
		s.buildClock, s.buildClients, s.buildRules, s.buildStore, s.buildOversight, s.buildCertificates, s.buildIdentity, s.buildResponse,
		s.buildEnforcement, s.buildSessions, s.buildGate, s.buildCorrelation, s.buildCollector, s.buildEndpoints,
	} {
		if err := build(ctx); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *Server) logger(part string) *slog.Logger { return s.opts.Logger.With("part", part) }

func (s *Server) buildClock(context.Context) (err error) {
	s.clock, err = steady.New(steady.Options{Logger: s.logger("clock"), Registerer: s.opts.Registry})
	return err
}

func (s *Server) buildClients(context.Context) (err error) {
	s.clients, err = newClients(s.opts.REST)
	return err
}

func (s *Server) buildOversight(ctx context.Context) (err error) {
	s.oversight, err = newOversight(ctx, s)
	return err
}

func (s *Server) buildCertificates(context.Context) error {
	cfg := s.opts.Config
	store, err := pki.NewStore(pki.StoreOptions{
		Client:           s.clients.objects,
		Namespace:        cfg.Namespace,
		ServingSecret:    cfg.PKI.ServingSecret,
		SinkCASecret:     cfg.PKI.SinkCASecret,
		SinkTokensSecret: cfg.PKI.SinkTokensSecret,
		Clock:            time.Now,
		Logger:           s.logger("pki"),
	})
	if err != nil {
		return err
	}
	s.certificates, err = pki.NewManager(pki.Options{
		Store:                store,
		Names:                s.serverNames,
		TrustConfigMap:       cfg.PKI.TrustConfigMap,
		WebhookConfiguration: cfg.Webhook.ConfigurationName,
		WebhookClientCA:      cfg.Webhook.ClientCAFile,
		Serving:              pki.Files(cfg.PKI.ServingFiles),
		Sink:                 pki.Files(cfg.PKI.SinkFiles),
		Logger:               s.logger("pki"),
		Registerer:           s.opts.Registry,
	})
	return err
}

func (s *Server) buildIdentity(ctx context.Context) (err error) {
	s.resolver, err = identity.New(identity.Options{
		Client:     s.clients.kubernetes,
		Store:      s.durable.identity,
		Retention:  max(identity.DefaultRetention, s.retention(s.rules.Rules())),
		Now:        s.clock.Now,
		Logger:     s.logger("identity"),
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	if err = s.resolver.Load(ctx); err != nil {
		return err
	}
	s.hold, err = identity.NewHold(identity.HoldOptions{
		Resolver: s.resolver, Incomplete: s.oversight.incomplete, Registerer: s.opts.Registry,
	})
	return err
}

func (s *Server) buildResponse(ctx context.Context) (err error) {
	s.record, err = record.New(ctx, record.Options{
		Store: s.durable.detections, Clock: s.clock.Now, Logger: s.logger("record"), Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	s.events, err = quarantine.NewEvents(quarantine.EventsOptions{
		Client: s.clients.kubernetes, Logger: s.logger("events"), Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	s.quarantine, err = quarantine.NewManager(quarantine.Options{
		Client:    s.clients.objects,
		Index:     s.index,
		Announcer: s.events,
		PodGone:   s.podGone,
		NodeOf:    s.nodeOf,

		MaxQuarantines: s.opts.Config.Gate.Breaker.MaxQuarantines,

		Record:     s.record,
		Now:        s.clock.Now,
		Logger:     s.logger("quarantine"),
		Registerer: s.opts.Registry,

		Mirrors: s.mirrors(),
	})
	if err != nil {
		return err
	}
	s.notify, err = newNotifiers(ctx, s.opts, s.durable.outbox, s.logger("notify"))
	return err
}

// mirrors are the LimitRanges that quarantines are mirrored in, nil for none.
func (s *Server) mirrors() corev1client.LimitRangeInterface {
	if !s.opts.Config.Gate.Mirror {
		return nil
	}
	return s.clients.kubernetes.CoreV1().LimitRanges(s.opts.Config.Namespace)
}

// podGone reports what is known for sure: a pod that the resolver has not seen
// may be newer than its watch.
func (s *Server) podGone(uid string) bool {
	alive, known := s.resolver.Alive(uid)
	return known && !alive
}

// nodeOf is where a pod runs, empty if that is not known.
func (s *Server) nodeOf(uid string) string {
	pod, _ := s.resolver.Pod(uid)
	return pod.Node
}

func (s *Server) buildCorrelation(ctx context.Context) (err error) {
	cfg := s.opts.Config
	waiting, err := newUnattributed(s.sessions.Current, s.clock.Now, s.opts.Registry)
	if err != nil {
		return err
	}
	s.responder = &responder{
		unattributed: waiting, enforce: s.enforce,
		rules: s.rules, quarantine: s.quarantine, sessions: s.sessions, killer: s.killer, announcer: s.events,
		record: s.record, notify: s.notify, clock: s.clock.Now, logger: s.logger("respond"),
	}
	waiting.decided = s.responder.decided
	s.unattributed = waiting
	s.correlator, err = correlator.New(correlator.Options{
		Rules:      s.rules.Rules(),
		Schema:     s.schema,
		Mode:       rule.Mode(cfg.Mode),
		Overrides:  overrides(cfg, s.rules.Rules()),
		Bus:        s.durable.bus,
		Detections: s.responder,
		Enforce:    s.enforce,
		Session:    s.sessions.Current,
		Known:      s.record.Known,
		Replay:     s.resumption,
		Coverage:   s.oversight.ledger.Of,
		Dropped:    s.oversight.forgot,
		Clock:      s.clock.Now,
		Lateness:   cfg.Lateness.Duration,
		MaxSpan:    cfg.MaxSpan.Duration,
		Logger:     s.logger("correlator"),
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	apiServers, err := s.clients.apiServers(cfg.Namespace, cfg.Audit.CanaryConfigMap, s.clock.Now)
	if err != nil {
		return err
	}
	s.canary, err = canary.New(canary.Options{
		APIServers: apiServers,
		Period:     cfg.Audit.CanaryPeriod.Duration,
		BlindAfter: blindAfter,
		LateAfter:  cfg.Lateness.Duration,
		Offsets:    s.resolver.SetOffsets,
		Store:      s.durable.identity,
		Clock:      s.clock.Now,
		Logger:     s.logger("canary"),
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	if err = s.canary.Load(ctx); err != nil {
		return err
	}
	s.recorder, err = newRecorder(cfg.TelemetryLog, s.schema, s.correlator, s.logger("telemetry log"), s.opts.Registry)
	if err != nil {
		return err
	}
	s.stream = newSessionStream(s.sessions, audited.New(audited.Options{
		Next: s.oversight.watching(s.recorder), Gate: s.gate, Releases: s.quarantine, Killer: s.killer, Self: s.self.user,
	}))
	s.claims = collector.NewClaims(s.clock.Now)
	s.pipeline = newPipeline(pipelineOptions{
		Pods: s.resolver, Clocks: s.canary, Hold: s.hold, Claims: s.claims, Next: s.stream, Spool: s.durable.held,
		Logger: s.logger("pipeline"), Registerer: s.opts.Registry,
	})
	return nil
}

func (s *Server) buildCollector(ctx context.Context) error {
	cfg := s.opts.Config
	reviewer, err := collector.NewTokenReviewer(collector.TokenReviewerOptions{
		Reviews:        s.clients.kubernetes.AuthenticationV1().TokenReviews(),
		Namespace:      cfg.Namespace,
		ServiceAccount: cfg.Collector.ServiceAccount,
		Clock:          s.clock.Now,
	})
	if err != nil {
		return err
	}
	s.collector, err = collector.New(collector.Options{
		Pipeline:      s.pipeline,
		Losses:        s.oversight.ledger.Agents(),
		Store:         s.durable.identity,
		Claims:        s.claims,
		Authenticator: reviewer,
		Placement:     s.resolver,
		Ready:         s.resolver.Synced,
		TLS:           s.certificates.ServerTLS(),
		Clock:         s.clock.Now,
		Logger:        s.logger("collector"),
		Registerer:    s.opts.Registry,
	})
	if err != nil {
		return err
	}
	if err = s.collector.Load(ctx); err != nil {
		return err
	}
	s.collectorListener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Collector.Listen)
	return err
}

// close releases what New has bound and opened.
func (s *Server) close() error {
	errs := []error{s.endpoints.close()}
	if s.collectorListener != nil {
		errs = append(errs, s.collectorListener.Close())
	}
	errs = append(errs, s.closeStore())
	return errors.Join(errs...)
}

// Run runs the server until ctx ends or a part of it fails. It runs once.
func (s *Server) Run(ctx context.Context) error {
	serving := append(s.endpoints.serving(),
		part{"collector", func(ctx context.Context) error { return s.collector.Serve(ctx, s.collectorListener) }},
		part{"readiness", s.serve})
	err := runStages(ctx, s.opts.Logger, []stage{
		{{"health", s.endpoints.health.Run}},
		{{"coverage", s.oversight.ledger.Run}, {"status", s.oversight.publisher.Run}},
		{{"notify", s.notify.Run}, {"record", s.record.Run}, {"events", s.events.Run}, {"self", s.self.run}, {"telemetry log", s.recorder.run}},
		{{"identity", s.resolver.Run}, {"quarantine", s.quarantine.Run}, {"namespaces", s.namespaces.Run}},
		{{"respond", s.responder.run}, {"attribution", s.unattributed.run}, {"session kill", s.killer.Run}},
		{{"correlator", s.joining}},
		{{"sessions", s.sessions.Run}, {"sessions' audit stream", s.stream.follow(s.canary)}, {"sessions' reviews", s.reviews.run}},
		{{"pipeline", s.pipeline.run}, {"resumption", s.resumption.run(s.pipeline)}},
		{{"hold", s.hold.Run}, {"certificates", s.certificates.Run}, {"canary", s.canary.Run}, {"rules", s.followRules}, {"oversight", s.oversight.run}},
		serving,
	})
	// Last: until then somebody may have something to store.
	return errors.Join(err, s.closeStore())
}

// serve is ready for work until ctx ends: with the endpoints, which are the last to begin and the first to end.
func (s *Server) serve(ctx context.Context) error {
	s.serving.Store(true)
	<-ctx.Done()
	s.serving.Store(false)
	return nil
}

// Ready says whether the server can really judge, and if not, why.
func (s *Server) Ready() error {
	switch {
	case !s.serving.Load():
		return errors.New("it is starting, or stopping")
	case !s.certificates.Ready():
		return errors.New("certificates are not made yet")
	case !s.resolver.Synced():
		return errors.New("the cluster's pods are not known yet")
	case !s.quarantine.Synced():
		return errors.New("the cluster's quarantines are not known yet")
	case !s.namespaces.Synced():
		return errors.New("the cluster's namespaces are not known yet")
	case !s.replayed() || !s.pipeline.takenUp.Load():
		return errors.New("what was stored before the start is still being joined again")
	}
	if err := s.durable.store.Err(); err != nil {
		return fmt.Errorf("nothing can be stored: %w", err)
	}
	return nil
}

// interface checks: each source owns the interface of what it hands its events to.
var (
	_ auditsink.Pipeline = (*pipeline)(nil)
	_ collector.Pipeline = (*pipeline)(nil)
)
