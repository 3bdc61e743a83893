package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// plot is a kind of story: what happens in one pod, and so what has to be detected.
type plot string

// The plots. Each has pods of its own, so that nothing goes together but what belongs together.
const (
	// tokenUsed: the token is read by hand, and used some seconds later.
	tokenUsed plot = "token used"
	// clientRun: curl is run by hand, and the token used at once; one in two times that is refused.
	clientRun plot = "client run"
	// session: somebody opens an exec session, of which the API server tells twice.
	session plot = "session"
	// shell: the node sees a shell start.
	shell plot = "shell"
	// harmless: the same acts in the wrong order, too far apart, or half of them in a pod of the same name. Nothing may be detected.
	harmless plot = "harmless"
)

// The rules' names.
const (
	tokenRule     = "token-access-then-api-request"
	clientRule    = "api-request-common-utilities"
	forbiddenRule = "forbidden-api-request-interactive"
	sessionRule   = "exec-into-pod"
	shellRule     = "interactive-exec-into-container"
)

// respond reports whether a rule asks for a quarantine of the pod.
func responds(rule string) bool {
	return rule == tokenRule || rule == clientRule || rule == forbiddenRule
}

// brief reports whether a rule looks back for a second only. Others look at one event, or back for a minute.
func brief(rule string) bool { return rule == clientRule || rule == forbiddenRule }

// rest is how long after a story its pod is left alone: longer than any rule looks back.
func (p plot) rest() time.Duration {
	switch p {
	case tokenUsed, harmless:
		return 2 * time.Minute
	case clientRun:
		return 5 * time.Second
	default:
		return 0
	}
}

const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // the path, not the token

// act is one event of a story, as its source will tell it. One of the two is set.
type act struct {
	// pod is where the telemetry comes from.
	pod       *pod
	telemetry *telemetryv1.Event
	audit     *auditv1.Event
}

// writer writes stories. It is for one goroutine.
type writer struct {
	random *rand.Rand
	count  int
}

// write makes a story that ends now, in a pod; other is one of the same name.
func (w *writer) write(p plot, in, other *pod, now time.Time) *story {
	w.count++
	s := &story{plot: p, pod: in, begun: now, mark: fmt.Sprintf("%s-%d", in.era, w.count)}
	switch p {
	case tokenUsed:
		s.acts = []act{opened(in, now.Add(-w.between(2*time.Second, 20*time.Second)), s.mark+"-open"), requested(in, now, s.mark, false)}
		s.expect(tokenRule)
	case clientRun:
		refused := w.random.IntN(2) == 0
		s.acts = []act{ran(in, now.Add(-w.between(200*time.Millisecond, 600*time.Millisecond)), s.mark+"-run", false), requested(in, now, s.mark, refused)}
		s.expect(clientRule)
		if refused {
			s.expect(forbiddenRule)
		}
	case session:
		s.acts = execed(in, now, s.mark)
		s.expect(sessionRule)
	case shell:
		s.acts = []act{ran(in, now, s.mark, true)}
		s.expect(shellRule)
	case harmless:
		s.acts = w.harmless(in, other, now, s.mark)
	}
	return s
}

// harmless is none of what the rules mean.
func (w *writer) harmless(in, other *pod, now time.Time, mark string) []act {
	switch w.random.IntN(3) {
	case 0: // The other way round.
		return []act{requested(in, now.Add(-10*time.Second), mark, false), opened(in, now, mark+"-open")}
	case 1: // Too far apart.
		return []act{opened(in, now.Add(-75*time.Second), mark+"-open"), requested(in, now, mark, false)}
	default: // In different pods.
		return []act{opened(in, now.Add(-10*time.Second), mark+"-open"), requested(other, now, mark, false)}
	}
}

func (w *writer) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.random.Int64N(int64(most-least)))
}

// noise is a request that no rule wants.
func (w *writer) noise(now time.Time) *auditv1.Event {
	w.count++
	e := audit(now, fmt.Sprintf("noise-%d", w.count))
	e.Verb, e.RequestURI = "update", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/controller"
	e.ObjectRef = &auditv1.ObjectReference{Resource: "leases", Namespace: "kube-system", Name: "controller", APIGroup: "coordination.k8s.io", APIVersion: "v1"}
	e.User = authenticationv1.UserInfo{Username: "system:kube-controller-manager", Groups: []string{"system:authenticated"}}
	return e
}

// quiet is telemetry that no rule wants.
func (w *writer) quiet(in *pod, now time.Time) act {
	w.count++
	e := telemetry(in, now, fmt.Sprintf("quiet-%d", w.count))
	e.Process.Name, e.Process.Executable, e.Process.Args = "nginx", "/usr/sbin/nginx", []string{"nginx", "-t"}
	e.What = &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}}
	return act{pod: in, telemetry: e}
}

// opened is the token being read at a terminal.
func opened(in *pod, at time.Time, mark string) act {
	e := telemetry(in, at, mark)
	e.Process.Interactive, e.Process.EntryLeader.Interactive = true, true
	e.Process.Name, e.Process.Executable, e.Process.Args = "cat", "/usr/bin/cat", []string{"cat", tokenPath}
	e.What = &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{Path: tokenPath, ResolvedPath: tokenPath}}
	return act{pod: in, telemetry: e}
}

// ran is curl, or a shell that begins a session, at a terminal.
func ran(in *pod, at time.Time, mark string, begins bool) act {
	e := telemetry(in, at, mark)
	e.Process.Interactive, e.Process.EntryLeader.Interactive = true, true
	e.Process.Name, e.Process.Executable, e.Process.Args = "curl", "/usr/bin/curl", []string{"curl", "-sk", "https://10.96.0.1/api"}
	if begins {
		e.Process.Name, e.Process.Executable, e.Process.Args = "bash", "/usr/bin/bash", []string{"bash"}
		e.Process.EntryLeader.SameAsProcess = true
	}
	e.What = &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}}
	return act{pod: in, telemetry: e}
}

func telemetry(in *pod, at time.Time, mark string) *telemetryv1.Event {
	return &telemetryv1.Event{
		Time:      timestamppb.New(at),
		Container: &telemetryv1.Container{Id: in.container, PodUid: in.uid},
		Process: &telemetryv1.Process{
			Pid: 4711, Ppid: 4700, EntityId: mark, Start: timestamppb.New(at), Tty: 34816,
			EntryLeader: &telemetryv1.EntryLeader{Pid: 4700, EntityId: "leader-" + mark, MetaType: "container"},
		},
	}
}

// requested is a request with the pod's token.
func requested(in *pod, at time.Time, mark string, refused bool) act {
	e := audit(at, mark)
	e.Verb, e.RequestURI = "list", "/api/v1/namespaces/"+in.namespace+"/secrets"
	e.ObjectRef = &auditv1.ObjectReference{Resource: "secrets", Namespace: in.namespace, APIVersion: "v1"}
	if refused {
		e.ResponseStatus = &metav1.Status{Code: 403, Status: "Failure", Reason: metav1.StatusReasonForbidden}
		e.Annotations["authorization.k8s.io/decision"] = "forbid"
	}
	e.User = authenticationv1.UserInfo{
		Username: "system:serviceaccount:" + in.namespace + ":default",
		Groups:   []string{"system:serviceaccounts", "system:authenticated"},
		Extra: map[string]authenticationv1.ExtraValue{
			"authentication.kubernetes.io/pod-name":  {in.name},
			"authentication.kubernetes.io/pod-uid":   {in.uid},
			"authentication.kubernetes.io/node-name": {in.node},
		},
	}
	return act{audit: e}
}

// execed is an exec session, as it begins and as it ends.
func execed(in *pod, at time.Time, mark string) []act {
	began := audit(at, mark)
	began.Level, began.Verb, began.Stage = auditv1.LevelRequest, "get", auditv1.StageResponseStarted
	began.RequestURI = "/api/v1/namespaces/" + in.namespace + "/pods/" + in.name + "/exec?" +
		url.Values{"command": {"id"}, "container": {"main"}, "stdout": {"true"}}.Encode()
	began.User = authenticationv1.UserInfo{Username: "alice", Groups: []string{"devs", "system:authenticated"}}
	began.ObjectRef = &auditv1.ObjectReference{Resource: "pods", Namespace: in.namespace, Name: in.name, APIVersion: "v1", Subresource: "exec"}
	began.ResponseStatus = &metav1.Status{Code: 101}
	ended := began.DeepCopy()
	ended.Stage, ended.StageTimestamp = auditv1.StageResponseComplete, metav1.NewMicroTime(at.Add(50*time.Millisecond))
	return []act{{audit: began}, {audit: ended}}
}

func audit(at time.Time, mark string) *auditv1.Event {
	return &auditv1.Event{
		Level: auditv1.LevelMetadata, AuditID: types.UID(mark), Stage: auditv1.StageResponseComplete,
		SourceIPs: []string{"10.244.0.6"}, UserAgent: "curl/8.14.1",
		RequestReceivedTimestamp: metav1.NewMicroTime(at), StageTimestamp: metav1.NewMicroTime(at.Add(5 * time.Millisecond)),
		ResponseStatus: &metav1.Status{Code: 200},
		Annotations:    map[string]string{"authorization.k8s.io/decision": "allow"},
	}
}
