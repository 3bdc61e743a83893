package app

import (
	"context"
	"net/http"
	"time"

	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/webhook"
)

// admissionPath is where the ValidatingWebhookConfiguration sends its reviews.
const admissionPath = "/admit"

// gate lets the webhook ask the quarantines, which know nothing of admission.
type gate struct{ quarantines *quarantine.Gate }

// Judge implements webhook.Judge. It cannot fail: everything it asks is in memory.
func (g gate) Judge(ctx context.Context, r webhook.Request) (webhook.Verdict, error) {
	v := g.quarantines.Judge(ctx, quarantine.Request{
		Namespace: r.Namespace, Pod: r.Pod, Door: r.Door,
		User: r.User, Groups: r.Groups, Command: r.Command,
	})
	return webhook.Verdict{Allowed: v.Allowed, Message: v.Message, Annotations: v.Annotations()}, nil
}

// buildGate binds the webhook's address.
func (s *Server) buildGate(ctx context.Context) error {
	judge, err := quarantine.NewGate(quarantine.GateOptions{
		Index:      s.index,
		Pods:       s.resolver,
		Refusals:   s.events,
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	handler, err := webhook.New(webhook.Options{
		Judge:      gate{judge},
		Logger:     s.logger("webhook"),
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(admissionPath, handler)
	s.webhook, err = webhook.NewServer(ctx, webhook.ServerOptions{
		Address:      s.opts.Config.Webhook.Listen,
		TLS:          s.certificates.ServerTLS(),
		Handler:      mux,
		DrainTimeout: stopLimit - time.Second,
		Logger:       s.logger("webhook"),
	})
	return err
}
