package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/identity"
	"github.com/portcullis-dev/portcullis/jetstream"
	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/ruleload"
)

// apiServer is the name under which the lists are sent.
const apiServer = "bench"

// part is a part of the way, with the time that was spent in it.
type part struct{ spent atomic.Int64 }

func (p *part) since(start time.Time) time.Time {
	now := time.Now()
	p.spent.Add(int64(now.Sub(start)))
	return now
}

// parts are the names of the parts of the pipeline, in their order.
func parts() []string { return []string{"canary", "identity", "match and publish"} }

// pipeline is what the server has between sink and correlator: the canary's
// sieve, the pods' identities. No pod is known here, so none is found.
type pipeline struct {
	canary     *canary.Canary
	resolver   *identity.Resolver
	correlator *correlator.Correlator

	sieve, identities, rest part
}

// Ingest implements auditsink.Pipeline.
func (p *pipeline) Ingest(ctx context.Context, events []*event.Event) error {
	at := time.Now()
	events = p.canary.Take(events)
	at = p.sieve.since(at)
	for _, e := range events {
		p.resolver.Complete(e)
	}
	at = p.identities.since(at)
	err := p.correlator.Ingest(ctx, events)
	p.rest.since(at)
	return err
}

// server is the process that is measured: it says how it is reached, opens
// sequences, and answers each line that it reads with what it has used.
func server(in io.Reader, out io.Writer, open int) (err error) {
	dir, err := os.MkdirTemp("", "ingestbench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	registry := prometheus.NewRegistry()
	store, err := jetstream.Open(ctx, jetstream.Options{Directory: dir + "/store", Clock: time.Now, Logger: quiet(), Registerer: registry})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p, err := newPipeline(ctx, store, registry)
	if err != nil {
		return err
	}
	running := make(chan error, 1)
	go func() { running <- p.correlator.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-running)
	}()
	if err = p.open(ctx, open, registry); err != nil {
		return err
	}
	hello, serving, err := listen(dir, p, registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, serving.Close()) }()
	answers := json.NewEncoder(out)
	if err = answers.Encode(hello); err != nil {
		return err
	}
	for asked := bufio.NewScanner(in); asked.Scan(); {
		// What is acknowledged is not joined yet, and that is part of what it costs.
		if err = await(func() bool { return gauge(registry, "portcullis_bus_waiting") == 0 }); err != nil {
			return fmt.Errorf("the join does not come to an end: %w", err)
		}
		if err = answers.Encode(p.usage(registry)); err != nil {
			return err
		}
	}
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// nobody is where no API server is.
type nobody struct{}

// Addresses implements canary.APIServers.
func (nobody) Addresses(context.Context) ([]string, error) { return nil, nil }

// Get implements canary.APIServers.
func (nobody) Get(context.Context, string, string) (canary.Trip, error) {
	return canary.Trip{}, errors.New("there is no API server")
}

func newPipeline(ctx context.Context, store *jetstream.Store, registry *prometheus.Registry) (*pipeline, error) {
	handover, err := store.Bus(ctx, jetstream.BusOptions{Retention: time.Hour})
	if err != nil {
		return nil, err
	}
	p := &pipeline{}
	if p.canary, err = canary.New(canary.Options{APIServers: nobody{}, Period: time.Minute, Clock: time.Now, Logger: quiet(), Registerer: registry}); err != nil {
		return nil, err
	}
	if p.resolver, err = identity.New(identity.Options{Client: fake.NewClientset(), Logger: quiet(), Registerer: registry}); err != nil {
		return nil, err
	}
	p.correlator, err = newCorrelator(handover, registry, opening)
	return p, err
}

// open opens sequences, each of a pod of its own.
func (p *pipeline) open(ctx context.Context, count int, registry *prometheus.Registry) error {
	const atOnce = 1000
	for from := 0; from < count; from += atOnce {
		var events []*event.Event
		for pod := from; pod < min(count, from+atOnce); pod++ {
			events = append(events, ruleload.Opening(pod, 0, time.Now()))
		}
		if err := p.correlator.Ingest(ctx, events); err != nil {
			return err
		}
	}
	if err := await(func() bool { return openSequences(registry) >= count }); err != nil {
		return fmt.Errorf("%d sequences are open, want %d: %w", openSequences(registry), count, err)
	}
	return nil
}

// await waits until something is so.
func await(so func() bool) error {
	for deadline := time.Now().Add(2 * time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("it takes too long")
		}
	}
	return nil
}

func openSequences(registry *prometheus.Registry) int {
	return gauge(registry, "portcullis_correlator_open_partials")
}

// gauge asks the server's metrics. It is -1 if there is none of that name.
func gauge(registry *prometheus.Registry, name string) int {
	families, err := registry.Gather()
	if err != nil {
		return -1
	}
	for _, f := range families {
		if f.GetName() == name {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return -1
}

func (p *pipeline) usage(registry *prometheus.Registry) usage {
	u := usage{Processor: processorTime(), Open: openSequences(registry), Parts: map[string]time.Duration{}}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Allocated, u.Mallocs = m.TotalAlloc, m.Mallocs
	for i, part := range []*part{&p.sieve, &p.identities, &p.rest} {
		u.Parts[parts()[i]] = time.Duration(part.spent.Load())
	}
	return u
}

// listen serves the sink, and returns how it is reached.
func listen(dir string, p *pipeline, registry *prometheus.Registry) (hello greeting, serving *http.Server, err error) {
	rejects, err := auditsink.OpenRejects(auditsink.RejectsOptions{Dir: dir + "/rejects", Logger: quiet(), Registerer: registry})
	if err != nil {
		return greeting{}, nil, err
	}
	handler, err := auditsink.New(auditsink.Options{Pipeline: p, Rejects: rejects, Logger: quiet(), Registerer: registry, Clock: time.Now})
	if err != nil {
		return greeting{}, nil, err
	}
	now := time.Now()
	authority, err := pki.NewCA("ingestbench", now, time.Hour)
	if err != nil {
		return greeting{}, nil, err
	}
	own, err := authority.IssueServer("sink", []string{"127.0.0.1"}, now, time.Hour)
	if err != nil {
		return greeting{}, nil, err
	}
	clients, err := authority.IssueClient(auditsink.ClientCommonName(apiServer), now, time.Hour)
	if err != nil {
		return greeting{}, nil, err
	}
	certificate, err := own.TLS()
	if err != nil {
		return greeting{}, nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return greeting{}, nil, err
	}
	serving = &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Bundle().Pool(),
		},
	}
	go func() { _ = serving.ServeTLS(listener, "", "") }() // until Close
	return greeting{
		URL:       "https://" + listener.Addr().String() + auditsink.PathPrefix + apiServer,
		Authority: string(authority.Bundle().PEM()), Certificate: string(clients.CertificatePEM()), Key: string(clients.KeyPEM()),
	}, serving, nil
}
