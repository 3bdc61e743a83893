package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/status"
)

// maxRows bounds how many nodes have a line of their own.
const maxRows = 20

// checkAgents: does every node have an agent that is connected?
func (p *patient) checkAgents() Check {
	const name = "agents"
	if c, failed := p.unknown(name, "agents"); failed {
		return c
	}
	if p.agents == nil {
		return Check{name, Warn, "there are none (no DaemonSet " + agentName + "): rules that ask for processes or files cannot fire",
			"Set agent.enabled in the chart's values, unless this is as you want it."}
	}
	s := p.agents.Status
	says := fmt.Sprintf("%d of %d pods are ready", s.NumberReady, s.DesiredNumberScheduled)
	state, do := OK, ""
	if s.NumberReady < s.DesiredNumberScheduled {
		state, do = Fail, "Look at those that are not:"+p.kubectl("get pods -l app.kubernetes.io/component=agent -o wide")
	}
	if p.says != nil {
		connected, known := p.connected()
		says += fmt.Sprintf(", %d of %d nodes are connected", connected, max(known, int(s.DesiredNumberScheduled)))
		if connected < int(s.DesiredNumberScheduled) && state == OK {
			state, do = Fail, "Agents run and do not reach the server:"+p.kubectl("logs daemonset/portcullis-agent")
		}
	}
	if left := p.withoutAgent(); len(left) > 0 {
		says += fmt.Sprintf("; no agent is meant to run on %s (%s)", count(len(left), "node", "nodes"), someOf(left))
		if state == OK {
			state, do = Warn, "Portcullis sees no processes there. Check agent.nodeSelector and agent.tolerations in the chart's values."
		}
	}
	return Check{name, state, says, do}
}

// connected counts the nodes of the cluster whose agents are connected, and those that have or had one.
func (p *patient) connected() (connected, known int) {
	known, connected = p.says.Nodes.Known, p.says.Nodes.Connected
	for _, n := range p.says.Nodes.Unhealthy {
		if p.gone(n.Name) { // The server does not know that nodes go.
			known--
			if n.DisconnectedSince.IsZero() {
				connected--
			}
		}
	}
	return connected, known
}

// gone reports whether a node is known to be no more.
func (p *patient) gone(node string) bool { return p.nodes != nil && !p.nodes[node] }

// withoutAgent are the nodes that have no pod of the DaemonSet, if that can be told.
func (p *patient) withoutAgent() []string {
	if p.nodes == nil || p.unread["agent pods"] != nil {
		return nil
	}
	left := maps.Clone(p.nodes)
	for i := range p.agentPods {
		delete(left, p.agentPods[i].Spec.NodeName)
	}
	// One that is on its way has no node yet.
	if int(p.agents.Status.DesiredNumberScheduled) >= len(p.nodes) {
		return nil
	}
	return slices.Sorted(maps.Keys(left))
}

func someOf(names []string) string {
	const some = 3
	if len(names) <= some {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:some], ", ") + ", …"
}

// checkNodes says what is wrong on single nodes. Nothing is said of those that are well.
func (p *patient) checkNodes() []Check {
	if p.says == nil {
		return nil // checkAgents says what there is to say.
	}
	var checks []Check
	left := p.says.Left["nodes.unhealthy"]
	for i := range p.says.Nodes.Unhealthy {
		n := &p.says.Nodes.Unhealthy[i]
		if p.gone(n.Name) {
			continue
		}
		if len(checks) == maxRows {
			left++
			continue
		}
		checks = append(checks, p.checkNode(n))
	}
	if left > 0 {
		checks = append(checks, Check{"nodes", Warn, fmt.Sprintf("something is to be said of %d more", left), "The server's metrics have all of them."})
	}
	return checks
}

func (p *patient) checkNode(n *status.Node) Check {
	c := Check{Name: "node " + n.Name, State: Warn}
	var says []string
	if !n.DisconnectedSince.IsZero() {
		c.State = Fail
		says = append(says, fmt.Sprintf("blind for %s: its agent is not connected%s", p.ago(n.DisconnectedSince), p.agentTrouble(n.Name)))
		c.Do = "Portcullis does not see what happens there. Look at the agent:" +
			p.kubectl("get pods -l app.kubernetes.io/component=agent --field-selector spec.nodeName="+output.Text(n.Name))
	}
	for _, l := range n.Losses {
		says = append(says, p.loss(l))
		c.Do = orElse(c.Do, "Detections of that time say what they may lack. If it goes on, the node does more than its agent is given: raise agent.resources in the chart's values.")
	}
	if offset := n.Offset.Duration(); offset.Abs() >= clockWorthTelling {
		says = append(says, fmt.Sprintf("its clock is off by %s (corrected)", short(offset)))
		c.Do = orElse(c.Do, "Set the node's clock: is its time service running?")
	} else if offset != 0 {
		says = append(says, fmt.Sprintf("its clock is off by %s (corrected)", short(offset)))
	}
	if n.Partial > 0 {
		says = append(says, fmt.Sprintf("its agent cannot see or do %s fully", count(n.Partial, "thing", "things")))
		c.Do = orElse(c.Do, "Its log says which, and why (mostly an old kernel):"+p.kubectl("logs daemonset/portcullis-agent"))
	}
	c.Says = strings.Join(says, "; ")
	return c
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// agentTrouble is what is wrong with a node's agent, as far as its pod says.
func (p *patient) agentTrouble(node string) string {
	i := slices.IndexFunc(p.agentPods, func(pod corev1.Pod) bool { return pod.Spec.NodeName == node })
	switch {
	case p.agents == nil || p.unread["agent pods"] != nil:
		return ""
	case i < 0:
		return ", there is no pod of it"
	}
	if why := trouble(&p.agentPods[i]); why != "" {
		return ", " + p.agentPods[i].Name + " " + why
	}
	return ""
}
