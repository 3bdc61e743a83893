package app

import (
	"context"
	"net/http"

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

// gateHandler answers admission reviews.
func (s *Server) gateHandler() (http.Handler, error) {
	judge, err := quarantine.NewGate(quarantine.GateOptions{
		Index:      s.index,
		Pods:       s.resolver,
		Refusals:   s.events,
		Now:        s.clock.Now,
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return nil, err
	}
	handler, err := webhook.New(webhook.Options{
		Judge:      gate{judge},
		Logger:     s.logger("webhook"),
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(admissionPath, handler)
	return mux, nil
}
