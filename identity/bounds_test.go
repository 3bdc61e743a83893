package identity

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// labels are so many labels, each with a value of that length.
func labels(n, length int) map[string]string {
	out := make(map[string]string, n)
	for i := range n {
		out[fmt.Sprintf("label-%06d", i)] = strings.Repeat("x", length)
	}
	return out
}

func TestLabelsAreCut(t *testing.T) {
	r, _ := newResolver(t, fixed(at(60)))
	huge := pod("u1", "web-0", at(0), func(p *corev1.Pod) {
		p.Labels = labels(20_000, 50)
		p.Labels["app"] = "web"
	})
	for range 5 {
		r.put(newRecord(huge))
	}
	r.put(newRecord(pod("u2", "web-1", at(0), func(p *corev1.Pod) { p.Labels = labels(100, 50) })))
	kept, _ := r.Pod("u1")
	size := 0
	for key, value := range kept.Labels {
		size += len(key) + len(value)
	}
	if size > maxLabels || size < maxLabels-100 || kept.Labels["app"] != "web" {
		t.Errorf("%d bytes of labels are kept, app is %q", size, kept.Labels["app"])
	}
	if other, _ := r.Pod("u2"); len(other.Labels) != 100 || testutil.ToFloat64(r.metrics.cut) != 1 {
		t.Errorf("%d of 100 labels are kept, %v pods are counted as cut", len(other.Labels), testutil.ToFloat64(r.metrics.cut))
	}
}

func TestTextsThatNobodyElseBoundsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	yes := true
	r := newRecord(pod("u1", "web-0", at(0), func(p *corev1.Pod) {
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: long}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: long, Name: long, Controller: &yes}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{
			{Name: long, Image: long, ContainerID: "c1"}, {Name: "main", ContainerID: long},
		}
	}))
	if n := r.size(); n > 10<<10 {
		t.Errorf("a record takes %d bytes", n)
	}
}

// TestGonePodsAreBoundedInBytes, and the sum is right whatever came back or was forgotten.
func TestGonePodsAreBoundedInBytes(t *testing.T) {
	now := at(0)
	r, _ := newResolver(t, func() time.Time { return now })
	r.history.maxGoneBytes = 1 << 20
	for i := range 200 {
		uid := fmt.Sprint("u", i)
		p := pod(uid, uid, now, func(p *corev1.Pod) { p.Labels = labels(1000, 1000) })
		r.put(newRecord(p))
		r.remove(uid)
		if i%3 == 0 { // A list that lags brings it back.
			r.put(newRecord(p))
			r.remove(uid)
		}
		if n := r.history.goneBytes; n > 1<<20 {
			t.Fatalf("pods that are gone take %d bytes", n)
		}
	}
	_, gone := r.size()
	if gone < 10 || gone > 100 || r.history.pods["u199"] == nil || r.history.pods["u0"] != nil {
		t.Errorf("%d pods that are gone are remembered", gone)
	}
	if n := testutil.ToFloat64(r.metrics.evicted); n != float64(200-gone) {
		t.Errorf("%v are counted as evicted, %d are", n, 200-gone)
	}
	now = at(2 * 3600)
	r.expire()
	if _, gone := r.size(); gone != 0 || r.history.goneBytes != 0 {
		t.Errorf("%d pods that are gone take %d bytes", gone, r.history.goneBytes)
	}
}

func TestGonePodsThatWereStoredCount(t *testing.T) {
	store := newMemory()
	first := storing(t, store, fixed(at(60)))
	first.put(newRecord(pod("u1", "web-0", at(0))))
	first.remove("u1")
	first.store(t.Context())
	second := storing(t, store, fixed(at(70)))
	load(t, second)
	if got, want := second.history.goneBytes, first.history.goneBytes; got != want || got == 0 {
		t.Errorf("they take %d bytes, %d before", got, want)
	}
}
