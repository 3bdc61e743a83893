package agent_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/agent"
	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// TestMain makes the test's binary a tool for its own tests.
func TestMain(m *testing.M) {
	if tool := os.Getenv("AGENT_TEST_TOOL"); tool != "" {
		runTool(tool, os.Args[1:])
	}
	kerneltest.Main(m)
}

// sink keeps all events.
type sink struct {
	mu     sync.Mutex
	events []*telemetryv1.Event
	closed int
}

func (s *sink) Push(e *telemetryv1.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *sink) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
}

func load(t testing.TB) *bpf.Programs {
	t.Helper()
	kerneltest.RequireRoot(t)
	programs, err := bpf.Load(bpf.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := programs.Close(); err != nil {
			t.Error(err)
		}
	})
	return programs
}

func TestRun(t *testing.T) {
	boot, err := agent.BootID()
	if err != nil {
		t.Fatal(err)
	}
	out, registry := &sink{}, prometheus.NewRegistry()
	a, err := agent.New(agent.Options{
		Programs: load(t), BootID: boot, Sink: out, Logger: slog.New(slog.DiscardHandler), Registerer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- a.Run(ctx) }()

	before := time.Now()
	c := kerneltest.Start(t, kerneltest.Options{})
	c.ExecTTY("/bb/sh", "-c", "/bb/cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt; :")
	after := time.Now()
	cancel() // what happened until now must come
	if err := <-result; err != nil {
		t.Fatalf("the agent ended with %v", err)
	}
	if out.closed != 1 {
		t.Errorf("the sink was closed %d times", out.closed)
	}

	events := slices.DeleteFunc(out.events, func(e *telemetryv1.Event) bool { return e.GetContainer().GetId() != c.ID })
	if len(events) != 6 {
		t.Fatalf("%d events, want the first process, the session, cat, its open and their two ends:\n%v", len(events), events)
	}
	for i, began := range map[int]*telemetryv1.Event{4: events[2], 5: events[1]} {
		if events[i].GetExit() == nil || events[i].GetProcess().GetEntityId() != began.GetProcess().GetEntityId() {
			t.Errorf("event %d is no end of %v: %v", i, began, events[i])
		}
	}
	if first := events[0].GetProcess().GetEntryLeader(); first.GetBegan() != telemetryv1.Began_BEGAN_CONTAINER {
		t.Errorf("the container's first process began as %v", first.GetBegan())
	}
	for _, e := range events {
		if at := e.GetTime().AsTime(); at.Before(before) || at.After(after) {
			t.Errorf("an event between %v and %v is said to be of %v", before, after, at)
		}
		if e.GetContainer().GetPodUid() != c.UID {
			t.Errorf("the pod is %q, want %q", e.GetContainer().GetPodUid(), c.UID)
		}
	}
	session, open := events[1].GetProcess(), events[3].GetProcess()
	if !session.GetEntryLeader().GetSameAsProcess() || !session.GetInteractive() || session.GetName() != "sh" ||
		session.GetEntryLeader().GetBegan() != telemetryv1.Began_BEGAN_SESSION {
		t.Errorf("the session is %v", session)
	}
	if open.GetName() != "cat" || open.GetEntryLeader().GetEntityId() != session.GetEntityId() || open.GetParent().GetEntityId() != session.GetEntityId() {
		t.Errorf("the open is by %v", open)
	}
	if got := events[3].GetOpen().GetPath(); got != "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt" {
		t.Errorf("the file is %q", got)
	}
	if !strings.HasPrefix(open.GetEntityId(), strings.ReplaceAll(boot, "-", "")[:16]) {
		t.Errorf("the entity id %q does not name the boot %s", open.GetEntityId(), boot)
	}
	if n := testutil.CollectAndCount(registry); n == 0 {
		t.Error("no metrics")
	}
	if lost := a.Lost(); lost.GetRingFull()+lost.GetLimitedExecs()+lost.GetUndecodable() != 0 {
		t.Errorf("lost: %v", lost)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	programs := &bpf.Programs{}
	whole := agent.Options{
		Programs: programs, BootID: "boot", Sink: &sink{}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
	for want, change := range map[string]func(*agent.Options){
		"Programs":   func(o *agent.Options) { o.Programs = nil },
		"BootID":     func(o *agent.Options) { o.BootID = "" },
		"Sink":       func(o *agent.Options) { o.Sink = nil },
		"Logger":     func(o *agent.Options) { o.Logger = nil },
		"Registerer": func(o *agent.Options) { o.Registerer = nil },
	} {
		opts := whole
		change(&opts)
		if _, err := agent.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", want, err)
		}
	}
}
