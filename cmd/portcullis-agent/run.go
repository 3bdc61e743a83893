package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/portcullis-dev/portcullis/agent"
	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/session"
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

// memoryBeside is what the agent needs at most beside a full spool, of memory that Go manages.
const memoryBeside = 12 << 20

// boundMemory lets garbage gather until there is as much as what is in use, which is little and makes for few
// collections, but no further than to a third of a full spool. GOMEMLIMIT overrides it.
func boundMemory(spoolBytes int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(spoolBytes)/3*4 + memoryBeside)
	}
}

func run(ctx context.Context, o *options, stdout io.Writer) (err error) {
	boundMemory(o.spoolBytes)
	programs, err := bpf.Load(bpf.Options{
		Logger: o.logger, RingSize: o.ringBytes, ContainerRate: o.containerRate,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	seen := newCoverage(programs)
	for _, c := range seen {
		o.logger.Info("coverage", "name", c.Name, "available", c.Available, "complete", c.Complete, "detail", c.Detail)
	}
	p := parts{options: o, programs: programs, coverage: seen, registry: prometheus.NewRegistry()}
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err = seen.register(p.registry); err != nil {
		return err
	}
	if p.bootID, err = agent.BootID(); err != nil {
		return err
	}
	if err = p.assemble(stdout); err != nil {
		return err
	}
	return p.supervise(ctx)
}

// parts are what the agent is made of.
type parts struct {
	*options
	programs *bpf.Programs
	coverage coverage
	registry *prometheus.Registry
	bootID   string

	agent *agent.Agent
	ender *session.Ender
	out   output
}

func (p *parts) assemble(stdout io.Writer) (err error) {
	if p.out, err = p.newOutput(stdout); err != nil {
		return err
	}
	p.agent, err = agent.New(agent.Options{
		Programs: p.programs, BootID: p.bootID, Sink: p.out, Logger: p.logger, Registerer: p.registry,
	})
	if err != nil {
		return err
	}
	p.ender, err = session.New(session.Options{
		Table: p.programs, Container: p.agent.Container, First: p.agent.First, BootID: p.bootID, Logger: p.logger,
	})
	return err
}

// do does what the server asks for.
func (p *parts) do(ctx context.Context, command *telemetryv1.Command) *telemetryv1.CommandResult {
	if end := command.GetEndSession(); end != nil {
		return p.ender.End(ctx, end)
	}
	return &telemetryv1.CommandResult{
		Outcome: telemetryv1.Outcome_OUTCOME_UNSUPPORTED, Detail: "this agent does not know the command: is it older than the server?",
	}
}

// supervise runs the parts until ctx ends or one of them fails. The output
// goes on for a while after the agent has handed over its last event.
func (p *parts) supervise(ctx context.Context) error {
	health, err := newHealth(ctx, p.healthAddr, p.logger, p.registry, p.coverage.word(), p.out.Ready)
	if err != nil {
		return err
	}
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer time.AfterFunc(p.drainTimeout, stopSending)
		return p.agent.Run(ctx)
	})
	group.Go(func() error {
		defer stopServing()
		if err := p.out.Run(sending); err != nil {
			return fmt.Errorf("stopped with events that were not delivered: %w", err)
		}
		return nil
	})
	group.Go(func() error { return health.run(serving) })
	return group.Wait()
}

func (p *parts) newOutput(stdout io.Writer) (output, error) {
	if p.output == "json" {
		return newPrinter(stdout, p.logger), nil
	}
	release, err := agent.KernelRelease()
	if err != nil {
		return nil, err
	}
	hello := &telemetryv1.Hello{
		AgentVersion: version, BootId: p.bootID, KernelRelease: release, SessionId: rand.Text(), Coverage: p.coverage.proto(),
	}
	spool, err := transport.NewSpool(transport.SpoolOptions{
		MaxBytes: p.spoolBytes, SessionID: hello.GetSessionId(), Directory: p.spoolDir, DirectoryBytes: p.spoolDirBytes, Logger: p.logger,
	})
	if err != nil {
		return nil, err
	}
	client, err := transport.New(transport.Options{
		Server: p.server, ServerName: p.serverName, CAFile: p.caFile, TokenFile: p.tokenFile,
		Hello: func() *telemetryv1.Hello { return hello }, Lost: func() *telemetryv1.Lost { return p.agent.Lost() },
		Spool: spool, Command: p.do, Logger: p.logger,
		Flush: func(ctx context.Context) error { return p.agent.Flush(ctx) },
	}, p.registry)
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
