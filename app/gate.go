package app

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/portcullis-dev/portcullis/app/admission"
	"github.com/portcullis-dev/portcullis/app/ending"
	"github.com/portcullis-dev/portcullis/barrier"
	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/webhook"
)

// agents are those on the nodes, which connect to a collector that is built after everything that asks them.
type agents struct{ server *Server }

// Flush implements barrier.Agents.
func (a agents) Flush(ctx context.Context, node string) (absent bool, err error) {
	err = a.server.collector.Flush(ctx, node)
	if errors.Is(err, collector.ErrNotConnected) {
		return true, nil
	}
	return false, err
}

// EndSession implements ending.Agents.
func (a agents) EndSession(ctx context.Context, what collector.Session) (collector.Ended, error) {
	return a.server.collector.EndSession(ctx, what)
}

// finder asks the API server for pods.
type finder struct{ client kubernetes.Interface }

// Find implements barrier.Pods.
func (f finder) Find(ctx context.Context, namespace, name string) (barrier.Place, error) {
	pod, err := f.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return barrier.Place{}, nil
	case err != nil:
		return barrier.Place{}, err
	}
	return barrier.Place{Node: pod.Spec.NodeName, Pod: string(pod.UID)}, nil
}

// waiters are events that wait for their pod, in a pipeline that is built later.
type waiters struct{ server *Server }

// PassedOn implements barrier.Held.
func (w waiters) PassedOn(ctx context.Context, pods []string) error {
	return w.server.pipeline.PassedOn(ctx, pods)
}

// buildGate makes what judges requests at the doors, but for the rules: those are built on it.
func (s *Server) buildGate(context.Context) error {
	endpoints, err := quarantine.NewEndpointLists(s.clients.kubernetes)
	if err != nil {
		return err
	}
	cfg := s.opts.Config.Gate
	s.gate, err = quarantine.NewGate(quarantine.GateOptions{
		Index:     s.index,
		Pods:      s.resolver,
		Endpoints: endpoints,
		Refusals:  s.events,
		Noted:     s.quarantine.Denied,
		Exempt: quarantine.Exempt{
			Users: cfg.Exempt.Users, Groups: cfg.Exempt.Groups, Namespaces: cfg.Exempt.Namespaces,
		},
		BreakGlass: cfg.BreakGlassGroups,
		Now:        s.clock.Now,
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	s.barrier, err = barrier.New(barrier.Options{
		Agents: agents{s}, Pods: finder{s.clients.kubernetes}, Held: waiters{s}, Judgement: s.durable.bus,
		Timeout: cfg.Barrier.Timeout.Duration, Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	s.killer, err = ending.New(ending.Options{
		Sessions: s.sessions, Agents: agents{s}, Announcer: s.events, Now: s.clock.Now,
		Logger: s.logger("session kill"), Registerer: s.opts.Registry,
	})
	return err
}

// gateHandler answers admission reviews.
func (s *Server) gateHandler() (http.Handler, error) {
	cfg := s.opts.Config.Gate
	judge, err := admission.New(admission.Options{
		Quarantines:   s.gate,
		Barrier:       s.barrier,
		Waits:         s.mayEnforce,
		BarrierClosed: cfg.Barrier.FailMode == config.FailClosed,
		Pods:          s.resolver,
		Rules:         s.correlator,
		Detections:    s.responder,
		Judged:        s.reviews.add,
		Now:           s.clock.Now,
		Logger:        s.logger("gate"),
		Registerer:    s.opts.Registry,
	})
	if err != nil {
		return nil, err
	}
	return webhook.New(webhook.Options{
		Judge:      judge,
		Callers:    s.certificates,
		FailMode:   webhook.FailMode(cfg.FailMode),
		Logger:     s.logger("webhook"),
		Registerer: s.opts.Registry,
	})
}
