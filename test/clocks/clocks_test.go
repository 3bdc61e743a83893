package clocks_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/identity"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// within is a rule for what follows within a second.
const within = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: within-a-second}
spec:
  title: test
  description: test
  severity: high
  riskScore: 50
  query: |
    sequence with maxspan=1s
      [process where process.name == "curl"] by orchestrator.resource.name
      [any where event.dataset == "kubernetes.audit_logs" and kubernetes.audit.stage == "ResponseComplete"]
        by ` + "`kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`\n"

const everything = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}`

// noCanaries leaves out what the canaries get.
const noCanaries = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
	{"level": "None", "resources": [{"group": "", "resources": ["configmaps"]}]}, {"level": "Metadata"}]}`

// site is the part of Portcullis that lies between the sources and the detections.
type site struct {
	t          *testing.T
	canary     *canary.Canary
	resolver   *identity.Resolver
	correlator *correlator.Correlator

	mu sync.Mutex
	// requests are the ends of requests that have been taken in, by user agent.
	requests   map[string]*event.Event
	detections []*event.Detection
}

// Ingest implements auditsink.Pipeline.
func (s *site) Ingest(ctx context.Context, events []*event.Event) error {
	events = s.canary.Take(events)
	for _, e := range events {
		s.resolver.Complete(e)
	}
	if err := s.correlator.Ingest(ctx, events); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if e.Audit != nil && e.Audit.Stage == "ResponseComplete" {
			s.requests[e.Audit.UserAgent] = e.Own() // It is lent until Ingest returns.
		}
	}
	return nil
}

func (s *site) Handle(_ context.Context, d *event.Detection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.State == event.Provisional { // The rule's are told again when they are final.
		s.detections = append(s.detections, d)
	}
}

// taken returns the end of a request, once it has been taken in.
func (s *site) taken(agent string) *event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[agent]
}

// eventually asks until the answer is yes: what is waited for announces itself to nobody.
func (s *site) eventually(what string, ask func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ask() {
		if time.Now().After(deadline) {
			s.t.Fatalf("still not: %s; %+v", what, s.canary.Status())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// machine is an API server that is part of the test's cluster.
type machine struct {
	name   string
	ahead  time.Duration
	policy string // none: no audit
	// ip is where the Service says that it is.
	ip     string
	server *apiserver.Server
}

func (m *machine) address() string { return net.JoinHostPort(m.ip, "6443") }

// cluster starts the machines. It returns how to connect to their addresses.
func cluster(t *testing.T, sink *sink, machines []*machine) (dial func(context.Context, string, string) (net.Conn, error)) {
	t.Helper()
	listening := map[string]string{}
	var first *apiserver.Server
	for _, m := range machines {
		opts := apiserver.Options{WithoutCRDs: true, Ahead: m.ahead, Beside: first}
		if m.policy != "" {
			opts.Args = sink.flags(m.name, m.policy)
		}
		m.server = apiserver.Start(t, opts)
		if first == nil {
			first = m.server
		}
		listening[m.address()] = m.server.Address
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, listening[address])
	}
}

// publish writes where a machine is into the Service "kubernetes", as API servers do that listen on addresses of their own.
func (m *machine) publish(t *testing.T) {
	t.Helper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: m.name, Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(6443))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{m.ip}}},
	}
	if _, err := client(t, m.server).DiscoveryV1().EndpointSlices("default").Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func client(t *testing.T, server *apiserver.Server) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, requests: map[string]*event.Event{}}
	schema := field.New()
	rules, err := rule.Load(fstest.MapFS{"rule.yaml": {Data: []byte(within)}}, rule.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	handover, err := bus.NewMemory(bus.MemoryOptions{Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	s.correlator, err = correlator.New(correlator.Options{
		Rules: rules, Schema: schema, Bus: handover, Detections: s, Clock: time.Now,
		Logger: slog.New(slog.DiscardHandler), Registerer: reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// watch has the site know its API servers' pods and clocks.
func (s *site) watch(server *apiserver.Server, dial func(context.Context, string, string) (net.Conn, error)) {
	s.t.Helper()
	reg := prometheus.NewPedanticRegistry()
	logger := slog.New(slog.NewTextHandler(s.t.Output(), nil))
	var err error
	s.resolver, err = identity.New(identity.Options{Client: client(s.t, server), Logger: logger, Registerer: reg})
	if err != nil {
		s.t.Fatal(err)
	}
	service, err := canary.NewService(canary.ServiceOptions{
		REST: server.Config, Client: client(s.t, server), Dial: dial, Path: "/api/v1/namespaces/default/configmaps/canary",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.canary, err = canary.New(canary.Options{
		APIServers: service, Period: 500 * time.Millisecond, BlindAfter: 6 * time.Second,
		Offsets: s.resolver.SetOffsets, Clock: time.Now, Logger: logger, Registerer: reg,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// run runs the parts until the function that it returns is called, which returns when all has been concluded.
func (s *site) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{s.canary.Run, s.resolver.Run, s.correlator.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	s.t.Cleanup(stop)
	return stop
}

// started is a program that starts in a pod, told by an agent whose clock is ours.
func started(p *corev1.Pod, at time.Time) *event.Event {
	at = at.UTC().Round(0)
	id := p.Name + at.String()
	return &event.Event{
		ID: id, Request: id, Kind: event.KindProcess, Source: "agent/node-1", Time: at, StageTime: at, Received: time.Now(),
		Dataset: "portcullis.process", Category: []string{"process"}, Type: []string{"start"}, Action: []string{"exec"},
		Pod:     event.Pod{UID: string(p.UID), Confidence: event.Exact},
		Process: &event.Process{PID: 1, Name: "curl", Args: []string{"curl"}, Start: at},
	}
}

// TestSpansOfASecond: whatever the API servers' clocks say, what happens in a pod and what its token does within a
// second of that are joined, and what is further apart, or in the other order, is not.
func TestSpansOfASecond(t *testing.T) {
	sink := newSink(t)
	machines := []*machine{
		{name: "cp-ahead", ahead: 3 * time.Minute, policy: everything, ip: "192.0.2.1"},
		{name: "cp-behind", ahead: -4 * time.Minute, policy: everything, ip: "192.0.2.2"},
		{name: "cp-filtered", policy: noCanaries, ip: "192.0.2.3"},
		{name: "cp-silent", ip: "192.0.2.4"},
	}
	dial := cluster(t, sink, machines)
	for _, m := range machines[:3] {
		m.publish(t)
	}
	canary := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "canary"}}
	if _, err := client(t, machines[0].server).CoreV1().ConfigMaps("default").Create(t.Context(), canary, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.watch(machines[0].server, dial)
	sink.serve(s)
	stop := s.run()
	s.eventually("the clocks are measured", func() bool { return s.inState(machines[:2], live) && s.resolver.Synced() })

	pods := &actors{site: s, oldest: machines[1].server}
	pods.prepare()
	want := make([]string, 0, 2)
	for _, m := range machines[:2] {
		joined := pods.create(m.name + "-joined")
		made := pods.act(joined, m)
		s.feed(started(joined, made.sent.Add(-200*time.Millisecond)))
		want = append(want, joined.Name)
		s.check(made, joined, m)

		apart := pods.create(m.name + "-apart")
		made = pods.act(apart, m)
		s.feed(started(apart, made.sent.Add(-1500*time.Millisecond)))
		s.check(made, apart, m)

		after := pods.create(m.name + "-after")
		made = pods.act(after, m)
		s.feed(started(after, made.answered.Add(200*time.Millisecond)))
		s.check(made, after, m)
	}
	s.eventually("one leaves out what it should record", func() bool { return s.inState(machines[2:3], filtered) })
	machines[3].publish(t)
	s.eventually("one sends nothing", func() bool {
		return s.inState(machines[:2], live) && s.inState(machines[2:3], filtered) && s.inState(machines[3:], silent)
	})
	stop()
	got := make([]string, 0, len(want))
	for _, d := range s.detections {
		got = append(got, d.Pod.Name)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("detections (-want +got):\n%s", diff)
	}
}

const live, filtered, silent = canary.Live, canary.Filtered, canary.Silent

// inState reports whether all of the machines are.
func (s *site) inState(machines []*machine, state canary.State) bool {
	found := map[string]canary.State{}
	for _, st := range s.canary.Status() {
		found[st.Address] = st.State
	}
	return !slices.ContainsFunc(machines, func(m *machine) bool { return found[m.address()] != state })
}

// check waits for a request's event, and holds its times against what the test's own clock saw.
func (s *site) check(made trip, p *corev1.Pod, m *machine) {
	s.t.Helper()
	s.eventually("the request of "+made.agent+" has arrived", func() bool { return s.taken(made.agent) != nil })
	e := s.taken(made.agent)
	if raw := e.Time.Add(e.Clock.Offset).Sub(made.sent); (raw - m.ahead).Abs() > quick+time.Millisecond {
		s.t.Errorf("%s: its API server's clock was meant to be %v ahead, it stamps %v", made.agent, m.ahead, raw)
	}
	if off := (e.Clock.Offset - m.ahead).Abs(); !e.Clock.Measured || off > e.Clock.Tolerance || e.Clock.Tolerance > quick/2 {
		s.t.Errorf("%s: its clock is %+v, which is off by %v", made.agent, e.Clock, off)
	}
	if e.Audit.Caller.UID != string(p.UID) || e.Audit.Caller.Confidence != event.Exact {
		s.t.Errorf("%s: the caller is %+v", made.agent, e.Audit.Caller)
	}
}

// feed takes an agent's event in.
func (s *site) feed(e *event.Event) {
	s.t.Helper()
	s.eventually("the pod is known", func() bool { return s.resolver.Complete(e) == identity.Completed })
	if err := s.correlator.Ingest(s.t.Context(), []*event.Event{e}); err != nil {
		s.t.Fatal(err)
	}
}
