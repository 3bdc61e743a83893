package serverprocess

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authnv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/agent/transport"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// AgentOptions describe a node's agent that a test plays.
type AgentOptions struct {
	// Node is the node's name. Its object, and the agent's pod on it, are made.
	Node string
	// Ahead is how far the node's clock is ahead of ours.
	Ahead time.Duration
	// Spool changes the real agent's settings.
	Spool transport.SpoolOptions
	// AckTimeout is how long the agent waits for an acknowledgement; the real one's default if zero.
	AckTimeout time.Duration
	// Lost is what the agent says that it lost; nil is nothing.
	Lost func() *telemetryv1.Lost
	// Flush gives the Spool what it has not been given yet; nil is an agent that cannot.
	Flush func(context.Context) error
}

// Agent is the sending half of the real agent. Its methods are for one goroutine; the Spool is for any.
type Agent struct {
	Node  string
	Ahead time.Duration
	// Spool takes the events; their times are the node's clock's (Now).
	Spool *transport.Spool

	opts    transport.Options
	cancel  context.CancelFunc
	running sync.WaitGroup
	// registries are those of each connection's client.
	registries []*prometheus.Registry
}

// Agent makes an agent with a token of its own. It does not connect.
func (s *Site) Agent(t standalone.TB, opts AgentOptions) *Agent {
	t.Helper()
	a := &Agent{Node: opts.Node, Ahead: opts.Ahead}
	tokenFile := s.agentToken(t, opts.Node)
	var err error
	if a.Spool, err = transport.NewSpool(opts.Spool); err != nil {
		t.Fatalf("spool of %s: %v", opts.Node, err)
	}
	lost := opts.Lost
	if lost == nil {
		lost = func() *telemetryv1.Lost { return &telemetryv1.Lost{} }
	}
	a.opts = transport.Options{
		Server: s.Config.Collector.Listen, ServerName: "127.0.0.1",
		CAFile: s.file("ca.crt"), TokenFile: tokenFile,
		Hello: func() *telemetryv1.Hello {
			return &telemetryv1.Hello{AgentVersion: "test", BootId: "boot-" + opts.Node, KernelRelease: "test", SessionId: "session-" + opts.Node}
		},
		Lost: lost, Flush: opts.Flush, Spool: a.Spool, Logger: slog.New(slog.DiscardHandler), Now: a.Now,
		AckTimeout: opts.AckTimeout, MaxBackoff: time.Second,
	}
	t.Cleanup(a.Cut)
	return a
}

// AgentFlags are those of a real agent (cmd/portcullis-agent), which let it reach the server as a node's. The node's
// object, and the agent's pod on it, are made.
func (s *Site) AgentFlags(t standalone.TB, node string) []string {
	t.Helper()
	return []string{
		"--server", s.Config.Collector.Listen, "--server-name", "127.0.0.1",
		"--ca-file", s.file("ca.crt"), "--token-file", s.agentToken(t, node), "--node-name", node,
	}
}

// agentToken is the file that a kubelet would have put into the agent's pod.
func (s *Site) agentToken(t standalone.TB, node string) string {
	t.Helper()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	if _, err := s.Client.CoreV1().Nodes().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create node %s: %v", node, err)
	}
	account := s.Config.Collector.ServiceAccount
	pod, err := s.Client.CoreV1().Pods(Namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "portcullis-agent-" + node},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: account, Containers: []corev1.Container{{Name: "agent", Image: "agent:1"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create the agent's pod on %s: %v", node, err)
	}
	token := s.token(t, account, &authnv1.TokenRequest{Spec: authnv1.TokenRequestSpec{
		Audiences: []string{"portcullis"}, ExpirationSeconds: seconds(tokenLife),
		BoundObjectRef: &authnv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}})
	s.write(t, "token-"+node, []byte(token))
	return s.file("token-" + node)
}

// Now is the node's clock.
func (a *Agent) Now() time.Time { return time.Now().Add(a.Ahead) }

// Connect has the agent send until Cut or the end of ctx, connecting again by itself.
func (a *Agent) Connect(ctx context.Context) error {
	registry := prometheus.NewRegistry()
	client, err := transport.New(a.opts, registry)
	if err != nil {
		return fmt.Errorf("agent of %s: %w", a.Node, err)
	}
	a.registries = append(a.registries, registry)
	ctx, a.cancel = context.WithCancel(ctx)
	a.running.Go(func() { _ = client.Run(ctx) }) // how it ended shows in what is left in the spool
	return nil
}

// Resent is how many batches it has sent again.
func (a *Agent) Resent() (int, error) {
	total := 0.0
	for _, r := range a.registries {
		families, err := r.Gather()
		if err != nil {
			return 0, fmt.Errorf("agent of %s: %w", a.Node, err)
		}
		for _, f := range families {
			if f.GetName() == "portcullis_agent_batches_resent_total" {
				total += f.GetMetric()[0].GetCounter().GetValue()
			}
		}
	}
	return int(total), nil
}

// Cut ends the agent's connection in the middle of whatever it was doing. What the server has not acknowledged
// is sent again after the next Connect.
func (a *Agent) Cut() {
	if a.cancel != nil {
		a.cancel()
	}
	a.running.Wait()
}

// Drain waits until the server has acknowledged everything.
func (a *Agent) Drain(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s := a.Spool.Stats()
		if s.Pending == 0 && s.Flight == 0 && s.FileEvents == 0 {
			if s.Dropped > 0 {
				return fmt.Errorf("agent of %s: its spool dropped %d events", a.Node, s.Dropped)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("agent of %s: %d events and %d batches are not acknowledged: %w", a.Node, s.Pending, s.Flight, ctx.Err())
		}
	}
}
