package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/portcullis-dev/portcullis/agent"
	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/transport"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// output is where events go: it empties itself in Run, which returns when it
// has been closed and is empty, or when ctx ends.
type output interface {
	agent.Sink
	Run(ctx context.Context) error
	Ready() error
}

func run(ctx context.Context, o *options, stdout io.Writer) (err error) {
	programs, err := bpf.Load(bpf.Options{
		Logger: o.logger, RingSize: o.ringBytes, ContainerRate: o.containerRate,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	for _, c := range programs.Coverage() {
		o.logger.Info("coverage", "name", c.Name, "available", c.Available, "complete", c.Complete, "detail", c.Detail)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	bootID, err := agent.BootID()
	if err != nil {
		return err
	}
	var a *agent.Agent
	out, err := newOutput(o, programs, bootID, registry, func() *telemetryv1.Lost { return a.Lost() }, stdout)
	if err != nil {
		return err
	}
	a, err = agent.New(agent.Options{
		Programs: programs, BootID: bootID, Sink: out, Logger: o.logger, Registerer: registry,
	})
	if err != nil {
		return err
	}
	return supervise(ctx, o, a, out, registry)
}

// supervise runs the parts until ctx ends or one of them fails. The output
// goes on for a while after the agent has handed over its last event.
func supervise(ctx context.Context, o *options, a *agent.Agent, out output, registry *prometheus.Registry) error {
	health, err := newHealth(ctx, o.healthAddr, o.logger, registry, out.Ready)
	if err != nil {
		return err
	}
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer time.AfterFunc(o.drainTimeout, stopSending)
		return a.Run(ctx)
	})
	group.Go(func() error {
		defer stopServing()
		if err := out.Run(sending); err != nil {
			return fmt.Errorf("stopped with events that were not delivered: %w", err)
		}
		return nil
	})
	group.Go(func() error { return health.run(serving) })
	return group.Wait()
}

func newOutput(o *options, programs *bpf.Programs, bootID string, registry *prometheus.Registry,
	lost func() *telemetryv1.Lost, stdout io.Writer) (output, error) {
	if o.output == "json" {
		return newPrinter(stdout, o.logger), nil
	}
	release, err := agent.KernelRelease()
	if err != nil {
		return nil, err
	}
	hello := &telemetryv1.Hello{
		AgentVersion: version, BootId: bootID, KernelRelease: release, SessionId: rand.Text(),
	}
	for _, c := range programs.Coverage() {
		if c.Available {
			hello.Coverage = append(hello.Coverage, &telemetryv1.Capability{Name: c.Name, Complete: c.Complete, Detail: c.Detail})
		}
	}
	spool, err := transport.NewSpool(transport.SpoolOptions{MaxBytes: o.spoolBytes})
	if err != nil {
		return nil, err
	}
	client, err := transport.New(transport.Options{
		Server: o.server, ServerName: o.serverName, CAFile: o.caFile, TokenFile: o.tokenFile,
		Hello: func() *telemetryv1.Hello { return hello }, Lost: lost, Spool: spool, Logger: o.logger,
	}, registry)
	if err != nil {
		return nil, err
	}
	return &sender{spool, client}, nil
}

// sender is the output to the server.
type sender struct {
	*transport.Spool
	client *transport.Client
}

func (s *sender) Run(ctx context.Context) error { return s.client.Run(ctx) }

func (s *sender) Ready() error {
	if !s.client.Connected() {
		return errors.New("there is no stream to the server")
	}
	return nil
}
