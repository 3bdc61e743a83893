package serverprocess_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

// TestDetectionAcrossAKill: clocks that are minutes apart are measured, a chain is detected, by a server that was killed before.
func TestDetectionAcrossAKill(t *testing.T) {
	const ahead = 3 * time.Minute
	site := serverprocess.New(t, serverprocess.Options{
		Configure:  func(c *config.Config) { c.Audit.CanaryPeriod.Duration = time.Second },
		APIServers: []serverprocess.APIServerOptions{{Name: "cp-1", Ahead: ahead}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	pod, err := site.Client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-0"},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "main", Image: "shell:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Image: "shell:1", ContainerID: "containerd://" + container}}
	if pod, err = site.Client.CoreV1().Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	site.Start(t)
	site.Kill()
	site.Start(t)
	agent := site.Agent(t, serverprocess.AgentOptions{Node: "node-1", Ahead: -2 * time.Minute})
	if err = agent.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	at := agent.Now()
	agent.Spool.Push(&telemetryv1.Event{
		Time: timestamppb.New(at), Container: &telemetryv1.Container{Id: container, PodUid: string(pod.UID)},
		Process: &telemetryv1.Process{
			Pid: 7, EntityId: "e-7", Name: "cat", Start: timestamppb.New(at), Interactive: true,
			EntryLeader: &telemetryv1.EntryLeader{Pid: 5, EntityId: "e-5", Interactive: true, MetaType: "container"},
		},
		What: &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{Path: "/var/run/secrets/kubernetes.io/serviceaccount/token"}},
	})
	if err = agent.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	cp := site.APIServer("cp-1")
	if err = site.AwaitClock(ctx, "audit/cp-1", ahead); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(request(pod, cp.Now().Add(time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	if err = cp.Deliver(ctx, body); err != nil {
		t.Fatal(err)
	}
	site.Stop(t)
	found, err := site.Detections()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, d := range found {
		ids[d.Event.ID] = true
		if d.Rule.ID != "token-access-then-api-request" || d.Orchestrator.Resource.ID != string(pod.UID) || d.Process.EntityID != "e-7" ||
			d.Kubernetes.Audit.AuditID != "request-1" {
			t.Errorf("detected %+v", d)
		}
	}
	if len(ids) != 1 {
		t.Errorf("%d detections, want one", len(ids))
	}
}

// container is the pod's, by its id.
const container = "c0ffee"

// request is what an API server records of a request with the pod's token.
func request(pod *corev1.Pod, at time.Time) *auditv1.EventList {
	return &auditv1.EventList{
		TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "audit.k8s.io/v1"},
		Items: []auditv1.Event{{
			Level: auditv1.LevelMetadata, AuditID: "request-1", Stage: auditv1.StageResponseComplete, Verb: "list",
			RequestURI: "/api/v1/namespaces/default/secrets",
			User: authenticationv1.UserInfo{Username: "system:serviceaccount:default:web", Extra: map[string]authenticationv1.ExtraValue{
				"authentication.kubernetes.io/pod-name": {pod.Name}, "authentication.kubernetes.io/pod-uid": {string(pod.UID)},
			}},
			RequestReceivedTimestamp: metav1.NewMicroTime(at), StageTimestamp: metav1.NewMicroTime(at),
		}},
	}
}
