package main

import (
	"context"
	"net"
	"net/http"
	"strconv"

	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// serveEmpty is a controller-runtime webhook that lets everybody in, as its documentation has it.
func serveEmpty(ctx context.Context, address, certificates string) error {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	server := webhook.NewServer(webhook.Options{Host: host, Port: port, CertDir: certificates})
	server.Register("/admit", &admission.Webhook{Handler: admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
		return admission.Allowed("")
	})})
	server.Register("/ready", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	return server.Start(ctx)
}
