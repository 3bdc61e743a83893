package doctor

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/portcullis-dev/portcullis/status"
)

// clocksApart is from when on this computer's clock and the server's differ noticeably.
const clocksApart = time.Minute

// checkServer: are the server's pods there and ready?
func (p *patient) checkServer() Check {
	const name = "server"
	if c, failed := p.unknown(name, "server"); failed {
		return c
	}
	if p.server == nil {
		return Check{name, Fail, fmt.Sprintf("Portcullis is not installed in the namespace %s", p.namespace),
			"If it is installed in another namespace, name that:\nportcullisctl doctor --namespace NAME"}
	}
	wanted, ready := int32(1), p.server.Status.ReadyReplicas
	if p.server.Spec.Replicas != nil {
		wanted = *p.server.Spec.Replicas
	}
	switch {
	case wanted == 0:
		return Check{name, Fail, "it is switched off: the StatefulSet has 0 replicas",
			"Switch it on:" + p.kubectl("scale statefulset/portcullis --replicas=1")}
	case ready < wanted:
		return Check{name, Fail, fmt.Sprintf("%d of %d pods are ready%s", ready, wanted, p.podTrouble()),
			"Look at the pod and its log:" + p.kubectl("describe pod -l app.kubernetes.io/component=server") + p.kubectl("logs statefulset/portcullis")}
	case p.says != nil && !p.says.Server.Ready:
		return Check{name, Fail, "it is not ready: " + p.says.Server.NotReady,
			"If this lasts, look at its log:" + p.kubectl("logs statefulset/portcullis")}
	case p.says == nil:
		return Check{name, OK, fmt.Sprintf("%d of %d pods are ready", ready, wanted), ""}
	}
	s := p.says.Server
	if ahead := s.WallAhead.Duration(); ahead != 0 {
		return Check{name, Warn, fmt.Sprintf("its node's clock has been set by %s since it started; it goes on by its own", ahead),
			"Times in detections are off by that, and so is the end of quarantines. If the clock is right now, let the server take it up:" +
				p.kubectl("rollout restart statefulset/portcullis")}
	}
	return Check{name, OK, fmt.Sprintf("%d of %d pods are ready, version %s, for %s, mode %s", ready, wanted, s.Version, p.ago(s.Started), s.Mode), ""}
}

// kubectl is a command for people to copy, on a line of its own.
func (p *patient) kubectl(rest string) string { return "\nkubectl -n " + p.namespace + " " + rest }

// podTrouble is why a pod of the server is not ready, as far as its status says.
func (p *patient) podTrouble() string {
	if len(p.serverPod) == 0 && p.unread["server pods"] == nil {
		return ": there is no pod"
	}
	for i := range p.serverPod {
		if why := trouble(&p.serverPod[i]); why != "" {
			return ": " + p.serverPod[i].Name + " " + why
		}
	}
	return ""
}

func trouble(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "finds no node: " + c.Message
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			return "waits: " + strings.TrimSpace(c.State.Waiting.Reason+" "+c.State.Waiting.Message)
		case c.State.Terminated != nil:
			return fmt.Sprintf("has ended with status %d: %s", c.State.Terminated.ExitCode, c.State.Terminated.Reason)
		}
	}
	return ""
}

// checkStatus: is what the server says about itself there and recent? If so, the other checks go by it.
func (p *patient) checkStatus() Check {
	const name = "status"
	if c, failed := p.unknown(name, "status"); failed {
		return c
	}
	if p.configMap == nil {
		return Check{name, Fail, "there is no ConfigMap " + status.ConfigMap, "The chart makes it: helm upgrade portcullis … brings it back."}
	}
	text, ok := p.configMap.Data[status.Key]
	if !ok {
		return Check{name, Fail, "the server has never said anything about itself",
			"It has not run yet, or may not write the ConfigMap " + status.ConfigMap + ":" + p.kubectl("logs statefulset/portcullis")}
	}
	d, err := status.Decode([]byte(text))
	if err != nil {
		return Check{name, Unknown, err.Error(), "Use the portcullisctl of the server's version."}
	}
	switch age := p.now.Sub(d.At); {
	case age > status.Stale:
		says := fmt.Sprintf("the server has said nothing for %s", p.ago(d.At))
		if !d.Server.Ready {
			says += "; its last words: " + d.Server.NotReady
		}
		return Check{name, Fail, says, "It is down, it cannot reach the API server, or this computer's clock is wrong:" + p.kubectl("get pods") + p.kubectl("logs statefulset/portcullis")}
	case age < -clocksApart:
		p.says = &d
		return Check{name, Warn, fmt.Sprintf("it is from the future: the server's clock, or this computer's, is off by %s", -age.Round(time.Second)),
			"Set the clock that is wrong."}
	}
	p.says = &d
	return Check{name, OK, fmt.Sprintf("the server reported %s ago", p.ago(d.At)), ""}
}

// checkStore: can the server keep what it has acknowledged?
func (p *patient) checkStore() Check {
	const name = "store"
	if p.says == nil {
		return p.silent(name)
	}
	switch s := p.says.Store; {
	case s.Error != "":
		return Check{name, Fail, "it cannot be written: " + s.Error,
			"Nothing is acknowledged meanwhile: API servers drop their events after a minute or so, agents later. Is the volume full?" + p.kubectl("get pvc")}
	case s.Kind != "disk":
		return Check{name, Warn, "it is in memory: a restart loses what is not yet joined", "Give the server a volume: persistence.enabled in the chart's values."}
	default:
		return Check{name, OK, fmt.Sprintf("on disk, %d MB, %d messages that sequences may still need", s.Bytes>>20, s.Waiting), ""}
	}
}
