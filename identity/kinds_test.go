package identity

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/portcullis-dev/portcullis/event"
)

// status is a container's status.
func status(name, id string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, Image: name + ":1", ContainerID: "containerd://" + id}
}

// TestWhichContainer: a container is the one that the pod's status names, of whatever kind, or it is said
// to be unknown.
func TestWhichContainer(t *testing.T) {
	r, _ := newResolver(t, fixed(at(60)))
	yes := true
	r.put(newRecord(pod("u1", "web-0", at(0), func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "setup"}, {Name: "mesh", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}
		p.Spec.Containers = []corev1.Container{{Name: "main"}, {Name: "starting"}}
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{status("setup", "i1"), status("mesh", "s1")}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{status("main", "c1"), {Name: "starting"}}
		p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{status("debug", "e1")}
	})))
	r.put(newRecord(pod("u2", "single-0", at(0))))
	for _, tt := range []struct {
		what, uid, id string
		want          Outcome
		name          string
		privileged    bool
	}{
		{"a container", "u1", "c1", Completed, "main", false},
		{"an init container that has ended", "u1", "i1", Completed, "setup", false},
		{"a sidecar", "u1", "s1", Completed, "mesh", true},
		{"an ephemeral container", "u1", "e1", Completed, "debug", false},
		{"one whose status has not reached the API", "u1", "new", ContainerUnknown, "", false},
		// It may be the sandbox, or nested in the one there is.
		{"one of a pod with a single container", "u2", "new", ContainerUnknown, "", false},
		{"the container of another pod", "u2", "c1", ContainerUnknown, "", false},
		{"none that telemetry tells", "u1", "", Completed, "", false},
	} {
		e := &event.Event{Time: at(30), Pod: event.Pod{UID: tt.uid, Node: "node-1"}, Container: &event.Container{ID: tt.id}}
		got := r.Complete(e)
		if got != tt.want || e.Container.Name != tt.name || e.Pod.Name == "" {
			t.Errorf("%s: %v, container %q of %q, want %v, %q", tt.what, got, e.Container.Name, e.Pod.Name, tt.want, tt.name)
		}
		if e.Container.Privileged != nil && *e.Container.Privileged != tt.privileged {
			t.Errorf("%s: privileged %v", tt.what, *e.Container.Privileged)
		}
	}
}

// TestHostNetworkPods share their node's address, and nothing else.
func TestHostNetworkPods(t *testing.T) {
	r, _ := newResolver(t, fixed(at(60)))
	host := func(p *corev1.Pod) {
		p.Spec.HostNetwork = true
		p.Status.PodIP = "10.0.0.1"
	}
	r.put(newRecord(pod("u1", "proxy-a", at(0), host, running("c1"))))
	r.put(newRecord(pod("u2", "proxy-b", at(0), host, running("c2"))))
	for uid, want := range map[string]string{"u1": "proxy-a", "u2": "proxy-b"} {
		e := &event.Event{Time: at(30), Pod: event.Pod{UID: uid, Node: "node-1"}, Container: &event.Container{ID: "c" + uid[1:]}}
		if r.Complete(e) != Completed || e.Pod.Name != want || e.Container.Name != "main" {
			t.Errorf("%s is %+v", uid, e.Pod)
		}
		if d, ok := r.Details(uid); !ok || !d.HostNetwork {
			t.Errorf("details of %s are %+v", uid, d)
		}
	}
	// The address alone names nobody.
	a := &event.Event{Time: at(30), Audit: &event.Audit{SourceIPs: []string{"10.0.0.1"}}}
	if r.Complete(a); !a.Audit.Caller.IsZero() || !a.Audit.Target.IsZero() {
		t.Errorf("by an address: %+v, %+v", a.Audit.Caller, a.Audit.Target)
	}
}

// TestDeletedAndRecreated: each of a StatefulSet's pods of one name keeps what is its own.
func TestDeletedAndRecreated(t *testing.T) {
	now := at(0)
	r, _ := newResolver(t, func() time.Time { return now })
	for i, uid := range []string{"u0", "u1", "u2"} {
		now = at(float64(100 * i))
		r.put(newRecord(pod(uid, "web-0", now, running("c-"+uid), onNode("node-"+uid))))
		now = at(float64(100*i + 90))
		r.remove(uid)
	}
	for i, uid := range []string{"u0", "u1", "u2"} {
		then := at(float64(100*i + 50))
		e := &event.Event{Time: then, Pod: event.Pod{UID: uid, Node: "node-" + uid}, Container: &event.Container{ID: "c-" + uid}}
		if r.Complete(e) != Completed || e.Pod.Name != "web-0" || e.Container.Name != "main" {
			t.Errorf("telemetry of %s, which is gone: %+v, %+v", uid, e.Pod, e.Container)
		}
		if got := r.At("shop", "web-0", then); got.UID != uid || got.Node != "node-"+uid {
			t.Errorf("at %v it was %+v, want %s", then, got, uid)
		}
	}
}

// TestStampsOfClocksThatDiffer: who had a name when does not depend on which API server made the pods.
func TestStampsOfClocksThatDiffer(t *testing.T) {
	const ahead, behind = 3 * time.Minute, -4 * time.Minute
	now := at(0)
	r, _ := newResolver(t, func() time.Time { return now })
	r.connected()
	r.SetOffsets([]time.Duration{behind, ahead})
	stamps := []time.Duration{ahead, behind, behind, ahead}
	for i, off := range stamps {
		now = at(float64(30 + 20*i))
		made := newRecord(pod(string(rune('a'+i)), "web-0", now.Add(off)))
		made.fresh = r.live()
		r.put(made)
		now = at(float64(30 + 20*i + 15))
		r.remove(made.pod.UID)
	}
	for i := range stamps {
		if got := r.At("shop", "web-0", at(float64(30+20*i+8))); got.UID != string(rune('a'+i)) {
			t.Errorf("pod %d: it was %q, %v, %v", i, got.UID, got.Confidence, got.Candidates)
		}
	}
	// A caller's pod lived then, whatever its stamp says.
	e := &event.Event{Time: at(35), Audit: &event.Audit{Caller: event.Pod{UID: "a", Namespace: "shop", Name: "web-0"}}}
	if r.Complete(e); e.Audit.Caller.Confidence != event.Exact {
		t.Errorf("the caller is %+v", e.Audit.Caller)
	}
	// An API server whose clock nobody has measured yet stamps its pods in the future.
	r.SetOffsets(nil)
	now = at(200)
	made := newRecord(pod("new", "web-1", now.Add(ahead)))
	made.fresh = true
	r.put(made)
	if got := r.At("shop", "web-1", at(202)); got.UID != "new" {
		t.Errorf("a pod from the future is %+v", got)
	}
}

// TestToleranceOfTheEventsClock: what may be off by more is held less strictly against a pod's life.
func TestToleranceOfTheEventsClock(t *testing.T) {
	now := at(0)
	r, _ := newResolver(t, func() time.Time { return now })
	r.put(newRecord(pod("u1", "web-0", at(0))))
	now = at(100)
	r.remove("u1")
	now = at(105)
	r.put(newRecord(pod("u2", "web-0", at(105))))
	for tolerance, want := range map[time.Duration]event.Confidence{0: event.ByName, 10 * time.Second: event.Ambiguous} {
		e := &event.Event{
			Time: at(97), Clock: event.Clock{Measured: true, Tolerance: tolerance},
			Audit: &event.Audit{Target: event.Pod{Namespace: "shop", Name: "web-0"}},
		}
		if r.Complete(e); e.Audit.Target.Confidence != want {
			t.Errorf("give or take %v it is %+v, want %v", tolerance, e.Audit.Target, want)
		}
	}
}
