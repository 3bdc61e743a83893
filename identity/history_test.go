package identity

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/portcullis-dev/portcullis/event"
)

// noon is when the tests' stories begin.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// pod is a running pod shop/<name> on node-1.
func pod(uid, podName string, created time.Time, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			UID: types.UID(uid), Namespace: "shop", Name: podName,
			CreationTimestamp: metav1.NewTime(created.Truncate(time.Second)),
		},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "main"}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

// mirrorOf makes the pod, <static pod>-node-<n>, what a kubelet makes for a static pod.
func mirrorOf(hash string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: hash}
		_, number, _ := strings.Cut(p.Name, "node-")
		p.Spec.NodeName = "node-" + number
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: p.Spec.NodeName, Controller: &yes}}
	}
}

// terminating makes it one that is to be deleted.
func terminating(p *corev1.Pod) {
	p.DeletionTimestamp = &metav1.Time{Time: p.CreationTimestamp.Add(time.Hour)}
}

func onNode(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeName = node }
}

func running(containerIDs ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		s := corev1.ContainerStatus{Name: "main", Image: "busybox:1", ContainerID: "containerd://" + containerIDs[0]}
		if len(containerIDs) > 1 {
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: "containerd://" + containerIDs[1]}
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{s}
	}
}

func put(h *history, now time.Time, p *corev1.Pod) bool { return h.put(newRecord(p), now) }

// newTestHistory is one that knows everything from long before noon.
func newTestHistory() *history {
	h := newHistory(time.Second, 30*time.Minute, 100, 1<<20)
	h.begin, h.synced = at(-86400), true
	h.hear(at(0))
	return h
}

func TestNameAtATime(t *testing.T) {
	h := newTestHistory()
	put(h, at(0), pod("u1", "web-0", at(0)))
	h.remove("u1", at(100.4))
	put(h, at(102), pod("u2", "web-0", at(101.5)))
	put(h, at(0), pod("other", "web-1", at(0)))

	for _, tt := range []struct {
		name       string
		t          time.Time
		want       string
		confidence event.Confidence
		candidates []string
	}{
		{"long before the first", at(-60), "", event.Unknown, nil},
		{"in the second in which it was created", at(0.2), "u1", event.ByName, nil},
		{"just before, clocks differ", at(-0.9), "u1", event.ByName, nil},
		{"during the first", at(50), "u1", event.ByName, nil},
		{"at the hand-over", at(100.5), "", event.Ambiguous, []string{"u1", "u2"}},
		{"during the second", at(110), "u2", event.ByName, nil},
		{"long after, it still lives", at(9999), "u2", event.ByName, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := h.at("shop", "web-0", tt.t, time.Second)
			if got.UID != tt.want || got.Confidence != tt.confidence || !slices.Equal(got.Candidates, tt.candidates) {
				t.Errorf("got %q, %v, %v, want %q, %v, %v",
					got.UID, got.Confidence, got.Candidates, tt.want, tt.confidence, tt.candidates)
			}
			if got.String() != "shop/web-0" {
				t.Errorf("the result says %q, want the name that was asked for", got.String())
			}
		})
	}
	if got := h.at("bank", "web-0", at(50), time.Second); got.Confidence != event.Unknown {
		t.Errorf("another namespace's pod of the same name resolves to %q", got.UID)
	}
}

func TestSuccessorTellsWhenThePredecessorEnded(t *testing.T) {
	h := newTestHistory()
	put(h, at(0), pod("u1", "web-0", at(0)))
	h.hear(at(25))
	// Then the watch was down for ten minutes: the new list has another pod of that name.
	h.replace([]*record{newRecord(pod("u2", "web-0", at(30)))}, at(600))

	for _, tt := range []struct {
		why  string
		t    time.Time
		want event.Pod
	}{
		{"the watch would have told of another", at(12), event.Pod{UID: "u1", Confidence: event.ByName}},
		{"it may have been gone, and another been there", at(20), event.Pod{Confidence: event.Ambiguous, Candidates: []string{"u1"}}},
		{"the one may have followed the other just then", at(30.5), event.Pod{Confidence: event.Ambiguous, Candidates: []string{"u1", "u2"}}},
		{"only the successor can have lived", at(300), event.Pod{UID: "u2", Confidence: event.ByName}},
	} {
		got := h.at("shop", "web-0", tt.t, time.Second)
		got = event.Pod{UID: got.UID, Confidence: got.Confidence, Candidates: got.Candidates}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v, %s (-want +got):\n%s", tt.t, tt.why, diff)
		}
	}
	if end := h.end(h.pods["u1"]); !end.Equal(at(31)) {
		t.Errorf("the first ended at %v", end)
	}
}

func TestReplaceEndsWhoIsNotOnTheList(t *testing.T) {
	h := newTestHistory()
	put(h, at(0), pod("u1", "a", at(0)))
	put(h, at(0), pod("u2", "b", at(0)))
	added := h.replace([]*record{newRecord(pod("u2", "b", at(0))), newRecord(pod("u3", "c", at(5)))}, at(10))

	if len(added) != 1 || added[0].pod.UID != "u3" {
		t.Errorf("new on the list are %v, want u3 alone", added)
	}
	if h.current("shop", "a") != nil {
		t.Error("a pod that is not on the list is still current")
	}
	if h.current("shop", "b") == nil || h.alive != 2 {
		t.Errorf("%d pods live, want b and c", h.alive)
	}
	if got := h.at("shop", "a", at(5), time.Second); !slices.Equal(got.Candidates, []string{"u1"}) {
		t.Errorf("the pod that is gone is forgotten: %+v", got)
	}
}

// TestPodsOlderThanTheServer: what was before the first list is known of those pods alone that are on it.
func TestPodsOlderThanTheServer(t *testing.T) {
	h := newHistory(time.Second, 30*time.Minute, 100, 1<<20)
	h.replace([]*record{newRecord(pod("old", "web-0", at(-3600))), newRecord(pod("young", "web-1", at(-20)))}, at(0))
	for _, tt := range []struct {
		name       string
		t          time.Time
		want       string
		confidence event.Confidence
	}{
		{"web-0", at(-60), "old", event.ByName},
		{"web-0", at(-3600.5), "", event.Ambiguous}, // it, or one before it
		{"web-0", at(-7200), "", event.Unknown},
		{"web-1", at(-60), "", event.Unknown},
		{"web-1", at(-5), "young", event.ByName},
		{"web-1", at(100), "young", event.ByName},
	} {
		if got := h.at("shop", tt.name, tt.t, time.Second); got.UID != tt.want || got.Confidence != tt.confidence {
			t.Errorf("%s at %v is %q, %v, want %q, %v", tt.name, tt.t, got.UID, got.Confidence, tt.want, tt.confidence)
		}
	}
}

func TestGapsAreBounded(t *testing.T) {
	h := newTestHistory()
	for i := range 3 * maxGaps {
		h.hear(at(float64(100*i + 50)))
		h.replace(nil, at(float64(100*i+60)))
	}
	if len(h.gaps) != maxGaps {
		t.Errorf("%d gaps are remembered", len(h.gaps))
	}
	for i := range 3 * maxGaps {
		if !h.unknown(at(float64(100*i+55)), time.Second) {
			t.Fatalf("the gap at %d is forgotten", 100*i+55)
		}
	}
	if h.unknown(at(float64(100*(3*maxGaps-1)+35)), time.Second) {
		t.Error("a time at which the watch told everything counts as unknown")
	}
}

func TestRetention(t *testing.T) {
	h := newHistory(time.Second, 30*time.Minute, 3, 1<<20)
	put(h, at(0), pod("old", "a", at(0)))
	h.remove("old", at(10))
	if h.expire(at(10 + 29*60)); h.pods["old"] == nil {
		t.Fatal("forgotten before the retention ended")
	}
	if n := h.expire(at(11 + 30*60)); n != 0 || h.pods["old"] != nil || len(h.names) != 0 {
		t.Errorf("after the retention: evicted %d, %d pods, %d names", n, len(h.pods), len(h.names))
	}

	for i := range 5 {
		uid := fmt.Sprint("u", i)
		put(h, at(5000), pod(uid, uid, at(5000)))
		h.remove(uid, at(5000+float64(i)))
	}
	if n := h.expire(at(5010)); n != 2 || h.pods["u1"] != nil || h.pods["u2"] == nil {
		t.Errorf("beyond the bound: evicted %d, want the oldest 2", n)
	}
}

func TestComeBack(t *testing.T) {
	// A relist from a server that lags can bring back a pod that was gone.
	h := newTestHistory()
	put(h, at(0), pod("u1", "a", at(0)))
	h.remove("u1", at(10))
	h.replace([]*record{newRecord(pod("u1", "a", at(0)))}, at(11))
	if h.expire(at(7200)); h.current("shop", "a") == nil || h.alive != 1 {
		t.Error("a pod that came back was forgotten with its departure")
	}
	h.remove("u1", at(7300))
	if h.expire(at(7400)); h.pods["u1"] == nil {
		t.Error("the retention counts from the first departure")
	}
}

func TestStaticPods(t *testing.T) {
	h := newTestHistory()
	put(h, at(0), pod("m1", "etcd-node-1", at(0), mirrorOf("hash")))
	put(h, at(0), pod("s1", "proxy-node-1", at(0), mirrorOf("shared")))
	put(h, at(0), pod("s2", "proxy-node-2", at(0), mirrorOf("shared"), onNode("node-2")))
	// Someone deleted the mirror pod; the kubelet made another while the containers ran on.
	h.remove("m1", at(50))
	put(h, at(51), pod("m2", "etcd-node-1", at(51), mirrorOf("hash")))

	for _, tt := range []struct {
		uid, node string
		t         time.Time
		want      []string
	}{
		{"hash", "node-1", at(20), []string{"m1"}},
		{"hash", "", at(60), []string{"m2"}},
		{"hash", "node-1", at(50.5), []string{"m2"}}, // either may be meant: the living one is
		{"shared", "node-2", at(20), []string{"s2"}},
		{"shared", "", at(20), []string{"s1", "s2"}},
		{"m1", "", at(20), []string{"m1"}},
		{"nobody", "", at(20), nil},
	} {
		found, _ := h.inCgroup(tt.uid, tt.node, tt.t)
		got := make([]string, len(found))
		for i, r := range found {
			got[i] = r.pod.UID
		}
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s on %q at %v (-want +got):\n%s", tt.uid, tt.node, tt.t, diff)
		}
	}
}

func TestContainersAreRemembered(t *testing.T) {
	h := newTestHistory()
	put(h, at(0), pod("u1", "a", at(0)))
	put(h, at(1), pod("u1", "a", at(0), running("c1")))
	put(h, at(2), pod("u1", "a", at(0), running("c2", "c1")))
	put(h, at(3), pod("u1", "a", at(0), running("c4", "c3")))
	for _, id := range []string{"c1", "c2", "c3", "c4"} {
		if c := h.pods["u1"].containers[id]; c.name != "main" || c.image != "busybox:1" || *c.privileged {
			t.Errorf("container %s is %+v", id, c)
		}
	}
	for i := range 3 * maxContainers {
		put(h, at(4), pod("u1", "a", at(0), running(fmt.Sprint("x", i))))
	}
	r := h.pods["u1"]
	if len(r.containers) != maxContainers || len(r.seen) != maxContainers {
		t.Errorf("%d containers are kept, want %d", len(r.containers), maxContainers)
	}
	if _, ok := r.containers[fmt.Sprint("x", 3*maxContainers-1)]; !ok {
		t.Error("the newest container was dropped, not the oldest")
	}
}

func TestTrimKeepsWhatRecordsNeed(t *testing.T) {
	yes := true
	p := pod("u1", "a", at(0), running("c2", "c1"), terminating, func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web"}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-7d", Controller: &yes}}
		p.Spec.HostNetwork = true
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "not kept"}}
		p.Spec.InitContainers = []corev1.Container{{Name: "setup"}}
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"},
		}}
		p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debug", ContainerID: "containerd://e1"}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "setup", ContainerID: "containerd://i1"}}
	})
	small, err := trim(p)
	if err != nil {
		t.Fatal(err)
	}
	if small.(*corev1.Pod).Spec.Containers[0].Env != nil {
		t.Error("trim keeps environment variables")
	}
	opts := cmp.AllowUnexported(record{}, container{})
	if diff := cmp.Diff(newRecord(p), newRecord(small.(*corev1.Pod)), opts); diff != "" {
		t.Errorf("trim changes what is known (-full +trimmed):\n%s", diff)
	}
	mirror := pod("m1", "etcd-node-1", at(0), mirrorOf("hash"))
	if small, err = trim(mirror); err != nil {
		t.Fatal(err)
	}
	if got := newRecord(small.(*corev1.Pod)).hash; got != "hash" {
		t.Errorf("a trimmed mirror pod is one of %q", got)
	}
	r := newRecord(p)
	if !*r.containers["c2"].privileged || *r.containers["e1"].privileged || r.owner != (Owner{"ReplicaSet", "web-7d"}) {
		t.Errorf("the record is %+v", r)
	}
}

// life is one incarnation of a name, as it really was.
type life struct {
	uid      string
	from, to time.Time // to is zero for the last
	// stamp is when it was created by the clock of the API server that made it.
	stamp time.Time
}

// TestNeverSureAndWrong plays many histories of one name, made by API servers whose clocks differ, told by a
// watch that lags and is interrupted, after which it either goes on where it was or begins with a new list. It
// asks about every moment: a result that is sure must be the truth, an ambiguous one must contain
// it, unless it is known that there is something that nobody told.
func TestNeverSureAndWrong(t *testing.T) {
	sure := 0
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 7))
		offsets := []time.Duration{0}
		if rng.IntN(2) == 0 {
			offsets = []time.Duration{time.Duration(rng.IntN(600)-300) * time.Second, time.Duration(rng.IntN(600)-300) * time.Second}
		}
		lives := randomLives(rng, offsets)
		w := &watchStory{rng: rng, h: newTestHistory(), lives: lives, connected: at(-60), now: noon}
		w.h.offsets = offsets
		w.play()
		for range 50 {
			when := at(rng.Float64() * 120)
			got := w.h.at("shop", "web-0", when, time.Second)
			if got.Confidence == event.ByName {
				sure++
			}
			if want := truth(lives, when); want != "" { // else whoever is named, no request can have reached it
				check(t, seed, w.h, got, want, when)
			}
		}
	}
	if sure < 40_000 {
		t.Errorf("only %d of 100,000 answers were sure", sure)
	}
}

func randomLives(rng *rand.Rand, offsets []time.Duration) []life {
	n := 1 + rng.IntN(8)
	out := make([]life, 0, n)
	t := at(rng.Float64() * 3)
	for i := range n {
		end := t.Add(time.Duration(rng.Float64() * float64(30*time.Second)))
		out = append(out, life{uid: fmt.Sprint("u", i), from: t, to: end, stamp: t.Add(offsets[rng.IntN(len(offsets))])})
		t = end.Add(time.Duration(rng.Float64() * rng.Float64() * float64(5*time.Second)))
	}
	out[len(out)-1].to = time.Time{}
	return out
}

// watchStory is how a history hears of the lives of a name.
type watchStory struct {
	rng       *rand.Rand
	h         *history
	lives     []life
	now       time.Time
	connected time.Time
}

// change is a beginning or an end.
type change struct {
	at   time.Time
	life life
	end  bool
}

func (w *watchStory) changes() []change {
	var out []change
	for _, l := range w.lives {
		out = append(out, change{l.from, l, false})
		if !l.to.IsZero() {
			out = append(out, change{l.to, l, true})
		}
	}
	return out
}

func (w *watchStory) play() {
	outage := span{}
	if w.rng.IntN(2) == 0 {
		outage.from = at(w.rng.Float64() * 60)
		outage.to = outage.from.Add(time.Duration(w.rng.Float64() * float64(40*time.Second)))
	}
	relist := w.rng.IntN(2) == 0
	for _, c := range w.changes() {
		during := !c.at.Before(outage.from) && c.at.Before(outage.to)
		if c.at.After(outage.to) {
			w.resume(&outage, relist)
		}
		switch {
		case during && relist: // nobody hears of it
		case during:
			w.reach(outage.to)
			w.connected = outage.to
			w.tell(c)
		default:
			w.reach(c.at.Add(time.Duration(w.rng.Float64() * float64(2*time.Second))))
			w.tell(c)
		}
	}
	w.resume(&outage, relist)
	w.reach(at(240))
	w.hear()
}

// resume ends an outage, once.
func (w *watchStory) resume(outage *span, relist bool) {
	if outage.to.IsZero() {
		return
	}
	w.reach(outage.to)
	w.connected = outage.to
	if relist {
		var list []*record
		for _, l := range w.lives {
			if !l.from.After(outage.to) && (l.to.IsZero() || l.to.After(outage.to)) {
				list = append(list, newRecord(pod(l.uid, "web-0", l.stamp)))
			}
		}
		w.h.replace(list, w.now)
	}
	*outage = span{}
}

func (w *watchStory) reach(t time.Time) {
	if t.After(w.now) {
		w.now = t
	}
}

func (w *watchStory) live() bool { return w.now.Sub(w.connected) > watchLag }

func (w *watchStory) tell(c change) {
	if c.end {
		w.h.remove(c.life.uid, w.now)
	} else {
		r := newRecord(pod(c.life.uid, "web-0", c.life.stamp))
		r.fresh = w.live()
		w.h.put(r, w.now)
	}
	w.hear()
}

func (w *watchStory) hear() {
	if w.live() {
		w.h.hear(w.now)
	}
}

func truth(lives []life, t time.Time) string {
	for _, l := range lives {
		if !t.Before(l.from) && (l.to.IsZero() || t.Before(l.to)) {
			return l.uid
		}
	}
	return ""
}

func check(t *testing.T, seed uint64, h *history, got event.Pod, want string, when time.Time) {
	t.Helper()
	switch got.Confidence {
	case event.ByName:
		if got.UID != want {
			t.Fatalf("seed %d, %v: sure of %s, but it was %s", seed, when, got.UID, want)
		}
	case event.Ambiguous:
		if !slices.Contains(got.Candidates, want) && !h.unknown(when, time.Second) {
			t.Fatalf("seed %d, %v: candidates %v without %s", seed, when, got.Candidates, want)
		}
	default:
		if !h.unknown(when, time.Second) {
			t.Fatalf("seed %d, %v: nobody known, but it was %s", seed, when, want)
		}
	}
}
