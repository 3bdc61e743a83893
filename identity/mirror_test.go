package identity

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/portcullis-dev/portcullis/event"
)

func TestOnlyWhatAKubeletMakesIsAMirror(t *testing.T) {
	for what, tt := range map[string]struct {
		name   string
		change func(*corev1.Pod)
		want   string
	}{
		"a kubelet's":             {"etcd-node-1", func(*corev1.Pod) {}, "hash"},
		"one without an owner":    {"etcd-node-1", func(p *corev1.Pod) { p.OwnerReferences = nil }, ""},
		"a ReplicaSet's":          {"etcd-node-1", func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "ReplicaSet" }, ""},
		"a Node of another group": {"etcd-node-1", func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion = "evil.example/v1" }, ""},
		"another node's":          {"etcd-node-1", func(p *corev1.Pod) { p.OwnerReferences[0].Name = "node-2" }, ""},
		"one on another node":     {"etcd-node-1", func(p *corev1.Pod) { p.Spec.NodeName = "node-2" }, ""},
		"one that is on none":     {"etcd-node-1", func(p *corev1.Pod) { p.Spec.NodeName = ""; p.OwnerReferences[0].Name = "" }, ""},
		"one with another name":   {"node-1", func(*corev1.Pod) {}, ""},
		"one without a hash":      {"etcd-node-1", func(p *corev1.Pod) { p.Annotations = nil }, ""},
	} {
		if got := newRecord(pod("m1", tt.name, at(0), mirrorOf("hash"), tt.change)).hash; got != tt.want {
			t.Errorf("%s is a mirror of %q, want %q", what, got, tt.want)
		}
	}
}

// mirror asks for a static pod's telemetry.
func (r *Resolver) mirror(hash, node string, t time.Time) (event.Pod, Outcome) {
	e := &event.Event{Time: t, Pod: event.Pod{UID: hash, Node: node}}
	outcome := r.Complete(e)
	return e.Pod, outcome
}

// TestForgedMirrors: somebody who may create pods copies everything of a mirror pod, and keeps the kubelet from
// removing the copy with a finalizer.
func TestForgedMirrors(t *testing.T) {
	now := at(0)
	clock := func() time.Time { return now }
	wants := func(r *Resolver, seconds float64, want string) {
		t.Helper()
		if got, _ := r.mirror("hash", "node-1", at(seconds)); got.UID != want || got.Confidence != event.Exact {
			t.Errorf("at %v it is %q, %v of %v, want %s", seconds, got.UID, got.Confidence, got.Candidates, want)
		}
	}
	t.Run("beside a real one", func(t *testing.T) {
		now = at(0)
		r, _ := newResolver(t, clock)
		r.put(newRecord(pod("real", "etcd-node-1", at(0), mirrorOf("hash"))))
		now = at(10)
		r.put(newRecord(pod("forged", "x-node-1", at(10), mirrorOf("hash"))))
		wants(r, 10, "real")
		// Whatever changes last.
		now = at(20)
		r.put(newRecord(pod("real", "etcd-node-1", at(0), mirrorOf("hash"), running("c1"))))
		wants(r, 20, "real")
		r.put(newRecord(pod("forged", "x-node-1", at(10), mirrorOf("hash"), terminating)))
		wants(r, 30, "real")
		// Somebody deletes the real one, and the kubelet makes it anew.
		now = at(40)
		r.remove("real")
		wants(r, 40.5, "real")
		now = at(45)
		r.put(newRecord(pod("again", "etcd-node-1", at(45), mirrorOf("hash"))))
		wants(r, 50, "again")
		wants(r, 15, "real") // late telemetry
	})
	t.Run("before there is a real one", func(t *testing.T) {
		now = at(0)
		r, _ := newResolver(t, clock)
		// It waits without a node, where no kubelet sees it, and is old when it gets one.
		r.put(newRecord(pod("forged", "x-node-1", at(0), mirrorOf("hash"), onNode(""))))
		now = at(10)
		r.put(newRecord(pod("real", "etcd-node-1", at(10), mirrorOf("hash"))))
		now = at(20)
		r.put(newRecord(pod("forged", "x-node-1", at(0), mirrorOf("hash"))))
		wants(r, 21, "real")
	})
	t.Run("until the kubelet has seen it", func(t *testing.T) {
		now = at(0)
		r, _ := newResolver(t, clock)
		r.put(newRecord(pod("forged", "x-node-1", at(0), mirrorOf("hash"))))
		r.put(newRecord(pod("forged", "x-node-1", at(0), mirrorOf("hash"), terminating)))
		now = at(10)
		r.put(newRecord(pod("real", "etcd-node-1", at(10), mirrorOf("hash"))))
		now = at(20)
		r.put(newRecord(pod("forged", "x-node-1", at(0), mirrorOf("hash"), terminating, running("c1"))))
		wants(r, 30, "real")
		if released := r.history.pods["forged"].released; !released.Equal(at(0)) {
			t.Errorf("its claim ended at %v, want when it was first known to be deleted", released)
		}
	})
	t.Run("on the first list", func(t *testing.T) {
		now = at(100)
		r, _ := newResolver(t, clock)
		r.replace([]*record{
			newRecord(pod("forged", "x-node-1", at(10), mirrorOf("hash"))), newRecord(pod("real", "etcd-node-1", at(0), mirrorOf("hash"))),
		}, "1")
		wants(r, 100, "real")
	})
	t.Run("after a restart", func(t *testing.T) {
		now = at(0)
		store := newMemory()
		first := storing(t, store, clock)
		first.put(newRecord(pod("b-real", "etcd-node-1", at(0), mirrorOf("hash"))))
		now = at(10)
		first.put(newRecord(pod("a-forged", "x-node-1", at(10), mirrorOf("hash"))))
		first.store(t.Context())
		r := storing(t, store, clock)
		load(t, r)
		wants(r, 20, "b-real")
	})
	t.Run("of a static pod to come, on another node", func(t *testing.T) {
		now = at(0)
		r, _ := newResolver(t, clock)
		r.put(newRecord(pod("forged", "x-node-2", at(0), mirrorOf("hash"), terminating)))
		if got, outcome := r.mirror("hash", "node-1", at(1)); outcome != PodUnknown {
			t.Errorf("outcome %v, %+v: the static pod's own node is not believed", outcome, got)
		}
		if _, known := r.RunsOn("hash", "node-1"); known {
			t.Error("its node is said to be known")
		}
	})
}

func TestMirrorsThatAreAllGoneAreTold(t *testing.T) {
	now := at(0)
	r, _ := newResolver(t, func() time.Time { return now })
	for _, uid := range []string{"m1", "m2"} {
		r.put(newRecord(pod(uid, "etcd-node-1", now, mirrorOf("hash"))))
		now = now.Add(10 * time.Second)
		r.remove(uid)
	}
	got, _ := r.mirror("hash", "node-1", at(60))
	if got.Confidence != event.Ambiguous || !slices.Equal(got.Candidates, []string{"m1", "m2"}) {
		t.Errorf("after both it is %+v", got)
	}
}
