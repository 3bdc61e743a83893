package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// node is a node with its agent. Its ring is the kernel's: nobody has read yet what is in it.
type node struct {
	name  string
	agent *serverprocess.Agent

	mu   sync.Mutex
	ring []*telemetryv1.Event
}

func newNode(t standalone.TB, site *serverprocess.Site, name string) *node {
	t.Helper()
	n := &node{name: name}
	n.agent = site.Agent(t, serverprocess.AgentOptions{Node: name, Flush: n.flush})
	n.address(t, site)
	if err := n.agent.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// address says where the node's kubelet is: nowhere, so an API server finds out at once.
func (n *node) address(t standalone.TB, site *serverprocess.Site) {
	t.Helper()
	nodes := site.Client.CoreV1().Nodes()
	object, err := nodes.Get(t.Context(), n.name, metav1.GetOptions{})
	if err == nil {
		object.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
		object.Status.DaemonEndpoints.KubeletEndpoint.Port = closedPort
		_, err = nodes.UpdateStatus(t.Context(), object, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatalf("address of node %s: %v", n.name, err)
	}
}

// closedPort is one that nothing listens on.
const closedPort = 1

// record is the kernel's part. Unless it is to stay in the ring, the agent reads it at once.
func (n *node) record(e *telemetryv1.Event, stay bool) {
	if !stay {
		n.agent.Spool.Push(e)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ring = append(n.ring, e)
}

// flush reads the ring.
func (n *node) flush(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.ring {
		n.agent.Spool.Push(e)
	}
	n.ring = nil
	return nil
}

// saw is what the node sees of a pod.
type saw func(p *pod) *telemetryv1.Event

func readToken(p *pod) *telemetryv1.Event {
	e := atTerminal(p, "cat", "/usr/bin/cat", tokenPath)
	e.What = &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{Path: tokenPath}}
	return e
}

const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

func ranCurl(p *pod) *telemetryv1.Event {
	return atTerminal(p, "curl", "/usr/bin/curl", "-sk", "https://10.0.0.1/api")
}

func ranStranger(p *pod) *telemetryv1.Event {
	return atTerminal(p, "python3", "/usr/bin/python3", "steal.py")
}

// ranBorrowed is what the rule wants whose subject is a user. The shipped rules want a terminal.
func ranBorrowed(p *pod) *telemetryv1.Event {
	e := atTerminal(p, borrowed, "/usr/bin/"+borrowed)
	e.Process.Interactive, e.Process.EntryLeader.Interactive = false, false
	return e
}

// atTerminal is a program that was run at a terminal.
func atTerminal(p *pod, name, executable string, args ...string) *telemetryv1.Event {
	at := timestamppb.New(time.Now())
	entity := fmt.Sprintf("%s-of-%s", name, p.UID)
	return &telemetryv1.Event{
		Time: at, Container: &telemetryv1.Container{Id: p.container, PodUid: string(p.UID)},
		Process: &telemetryv1.Process{
			Pid: 7, EntityId: entity, Name: name, Executable: executable, Args: append([]string{name}, args...), Start: at, Interactive: true,
			EntryLeader: &telemetryv1.EntryLeader{Pid: 5, EntityId: "shell-of-" + string(p.UID), Start: at, Interactive: true, MetaType: "container"},
		},
		What: &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}},
	}
}
