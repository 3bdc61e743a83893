package quarantine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

func TestMirrorSaysWhatTheQuarantineSays(t *testing.T) {
	base := func(change func(*v1alpha1.Quarantine)) *v1alpha1.Quarantine {
		q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: "q-1", UID: "0-1"}}
		q.Spec = v1alpha1.QuarantineSpec{Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"}, Reason: "a shell"}
		change(q)
		return q
	}
	expires := metav1.NewTime(time.Date(2026, 1, 2, 5, 4, 5, 0, time.FixedZone("", 7200)))
	for name, c := range map[string]struct {
		q    *v1alpha1.Quarantine
		want map[string]string
	}{
		"a user's": {
			base(func(*v1alpha1.Quarantine) {}),
			map[string]string{"quarantine": "q-1", "kind": "User", "name": "mallory", "namespace": "", "uid": "", "reason": "a shell"},
		},
		"a pod's, with all there is": {
			base(func(q *v1alpha1.Quarantine) {
				q.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u1", Namespace: "shop", Name: "web-0", NodeName: "node-1"}
				q.Spec.Operations = []v1alpha1.Operation{v1alpha1.OperationProxy, v1alpha1.OperationExec}
				q.Spec.ExpiresAt = &expires
				q.Spec.Detection = &v1alpha1.DetectionRef{ID: "d-1", Rule: "token-theft"}
				q.Status.NodeName = "node-2"
			}),
			map[string]string{
				"quarantine": "q-1", "kind": "Pod", "name": "web-0", "namespace": "shop", "uid": "u1", "nodeName": "node-1", "runsOn": "node-2",
				"operations": "exec,proxy", "expiresAt": "2026-01-02T03:04:05Z", "reason": "a shell", "rule": "token-theft", "detection": "d-1",
			},
		},
		"every operation": {
			base(func(q *v1alpha1.Quarantine) { all := doors(); q.Spec.Operations = all[:] }),
			map[string]string{"quarantine": "q-1", "kind": "User", "name": "mallory", "namespace": "", "uid": "", "reason": "a shell"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fields := map[string]string{}
			for key, value := range c.want {
				fields["portcullis.dev/"+key] = value
			}
			want := &corev1.LimitRange{
				ObjectMeta: metav1.ObjectMeta{
					Name: "portcullis-quarantine-0-1", Labels: map[string]string{"portcullis.dev/quarantine": "true", "app.kubernetes.io/managed-by": "portcullis"},
					// Neither a controller nor in the way of its deletion.
					OwnerReferences: []metav1.OwnerReference{{APIVersion: "portcullis.dev/v1alpha1", Kind: "Quarantine", Name: "q-1", UID: "0-1"}},
					Annotations:     fields,
				},
				Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{}},
			}
			if diff := cmp.Diff(want, MirrorOf(c.q)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// reflection is a Manager that only mirrors, in a bubble of time.
type reflection struct {
	*Manager
	api *fake.Clientset
}

func reflect(t *testing.T, there ...runtime.Object) *reflection {
	t.Helper()
	r := &reflection{api: fake.NewClientset(there...)}
	var err error
	r.Manager, err = NewManager(Options{
		Client: unused{}, Index: &Index{}, Announcer: deaf{}, PodGone: func(string) bool { return false }, Record: newMemory(),
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry(),
		Mirrors: r.api.CoreV1().LimitRanges("portcullis"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.mirrorLoop(ctx) }()
	t.Cleanup(func() { cancel(); <-done; r.queue.ShutDown(); r.reports.ShutDown() })
	return r
}

// exist tells the Manager that these are all objects that there are.
func (r *reflection) exist(t *testing.T, all ...*v1alpha1.Quarantine) {
	t.Helper()
	list := make([]any, len(all))
	for i, q := range all {
		list[i] = q
	}
	if err := (store{r.Manager}).Replace(list, "1000"); err != nil {
		t.Fatal(err)
	}
}

// mirrors are those that there are, by name.
func (r *reflection) mirrors(t *testing.T) map[string]*corev1.LimitRange {
	t.Helper()
	list, err := r.api.CoreV1().LimitRanges("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*corev1.LimitRange{}
	for i := range list.Items {
		c := &list.Items[i]
		all[c.Namespace+"/"+c.Name] = c
	}
	return all
}

// expect waits until there is nothing left to do, and compares the mirrors with those of the objects.
func (r *reflection) expect(t *testing.T, want ...*v1alpha1.Quarantine) {
	t.Helper()
	synctest.Wait()
	all := map[string]map[string]string{}
	for _, q := range want {
		m := MirrorOf(q)
		all["portcullis/"+m.Name] = m.Annotations
	}
	got := map[string]map[string]string{}
	for name, c := range r.mirrors(t) {
		got[name] = c.Annotations
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Errorf("mirrors (-want +got):\n%s", diff)
	}
}

// quarantined is an object of a user.
func quarantined(i int, change ...func(*v1alpha1.Quarantine)) *v1alpha1.Quarantine {
	q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("q-%d", i), UID: types.UID(fmt.Sprintf("uid-%d", i)), ResourceVersion: fmt.Sprint(10 + i)}}
	q.Spec = v1alpha1.QuarantineSpec{Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: fmt.Sprintf("user-%d", i)}, Reason: "a shell"}
	for _, f := range change {
		f(q)
	}
	return q
}

// changed is the object in a newer version.
func changed(q *v1alpha1.Quarantine, change func(*v1alpha1.Quarantine)) *v1alpha1.Quarantine {
	q = q.DeepCopy()
	q.ResourceVersion += "0"
	change(q)
	return q
}

func mirrorIn(namespace string, q *v1alpha1.Quarantine) *corev1.LimitRange {
	m := MirrorOf(q)
	m.Namespace = namespace
	return m
}

func TestMirrorsFollowTheirQuarantines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reflect(t)
		q1, q2 := quarantined(1), quarantined(2)
		r.exist(t, q1, q2)
		r.expect(t, q1, q2)
		narrow := changed(q1, func(q *v1alpha1.Quarantine) { q.Spec.Operations = []v1alpha1.Operation{v1alpha1.OperationExec} })
		_ = store{r.Manager}.Update(narrow)
		r.expect(t, narrow, q2)
		placed := changed(narrow, func(q *v1alpha1.Quarantine) { q.Status.NodeName = "node-7" })
		_ = store{r.Manager}.Update(placed)
		r.expect(t, placed, q2)
		_ = store{r.Manager}.Delete(q2)
		r.expect(t, placed)
		again := changed(q2, func(q *v1alpha1.Quarantine) { q.UID = "uid-2b" })
		_ = store{r.Manager}.Add(again)
		r.expect(t, placed, again)
		n := len(r.api.Actions())
		r.Denied(&Entry{Name: "q-1"}, time.Now())
		synctest.Wait()
		if now := len(r.api.Actions()); now != n {
			t.Errorf("%d requests for nothing", now-n)
		}
	})
}

// TestNothingIsKnownBeforeTheFirstList: mirrors are what denies while Portcullis is down, and it is coming up.
func TestNothingIsKnownBeforeTheFirstList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stays, goes := quarantined(1), quarantined(2)
		r := reflect(t, mirrorIn("portcullis", stays), mirrorIn("portcullis", goes))
		time.Sleep(time.Hour)
		r.expect(t, stays, goes)
		r.exist(t, stays)
		r.expect(t, stays)
	})
}

func TestOnlyMirrorsAreDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		labelled := mirrorIn("portcullis", quarantined(1))
		labelled.Name = "portcullis-trust"
		elsewhere, plain := mirrorIn("elsewhere", quarantined(2)), mirrorIn("portcullis", quarantined(3))
		plain.Labels = nil
		r := reflect(t, labelled, elsewhere, plain)
		r.exist(t)
		synctest.Wait()
		want := []string{"elsewhere/portcullis-quarantine-uid-2", "portcullis/portcullis-quarantine-uid-3", "portcullis/portcullis-trust"}
		if got := slices.Sorted(maps.Keys(r.mirrors(t))); !slices.Equal(got, want) {
			t.Errorf("there are %v, want %v", got, want)
		}
	})
}

func TestMirrorsThatSomebodyChangedAreMended(t *testing.T) {
	for name, change := range map[string]func(*corev1.LimitRange){
		"its fields": func(m *corev1.LimitRange) { m.Annotations["portcullis.dev/name"] = "somebody" },
		"its limits": func(m *corev1.LimitRange) { m.Spec.Limits = []corev1.LimitRangeItem{{Type: corev1.LimitTypePod}} },
		"its owner":  func(m *corev1.LimitRange) { m.OwnerReferences = nil },
		"its label":  func(m *corev1.LimitRange) { m.Labels = nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := quarantined(1)
				r := reflect(t)
				r.exist(t, q)
				r.expect(t, q)
				m := mirrorIn("portcullis", q)
				change(m)
				if _, err := r.api.CoreV1().LimitRanges("portcullis").Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(mirrorInterval + time.Second)
				r.expect(t, q)
				m = r.mirrors(t)["portcullis/"+m.Name]
				if len(m.Spec.Limits) > 0 || m.Labels[mirrorLabel] != mirrorLabelled || len(m.OwnerReferences) != 1 {
					t.Errorf("labels %v, owners %v", m.Labels, m.OwnerReferences)
				}
			})
		})
	}
}

// TestExpiredKeepsItsMirrorAsLongAsItsObject: replicas whose clocks differ never undo each other's work.
func TestExpiredKeepsItsMirrorAsLongAsItsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := func(d time.Duration) func(*v1alpha1.Quarantine) {
			return func(q *v1alpha1.Quarantine) { q.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(d)} }
		}
		soon, long := quarantined(1, until(time.Second)), quarantined(2, until(-time.Second))
		r := reflect(t)
		r.exist(t, soon, long)
		r.expect(t, soon)
		time.Sleep(2 * mirrorInterval)
		r.expect(t, soon)
		_ = store{r.Manager}.Delete(soon)
		r.expect(t)
	})
}

func TestMirrorsAreTriedAgain(t *testing.T) {
	for _, verb := range []string{"list", "create", "update", "delete"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, other, gone := quarantined(1), quarantined(2), quarantined(3)
				stale := mirrorIn("portcullis", q)
				stale.Annotations["portcullis.dev/name"] = "somebody"
				r := reflect(t, stale, mirrorIn("portcullis", gone))
				var tries atomic.Int32
				r.api.PrependReactor(verb, "limitranges", func(clienttesting.Action) (bool, runtime.Object, error) {
					return tries.Add(1) <= 3, nil, apierrors.NewServiceUnavailable("etcd has no leader")
				})
				r.exist(t, q, other)
				synctest.Wait()
				if tries.Load() != 1 || r.mirror.pending.Load() == 0 {
					t.Errorf("%d tries at first, %d pending", tries.Load(), r.mirror.pending.Load())
				}
				time.Sleep(3*mirrorRetry + time.Second)
				r.expect(t, q, other)
				if n := r.mirror.pending.Load(); n != 0 {
					t.Errorf("%d pending", n)
				}
			})
		})
	}
}

// TestMirroringIsSlow, and a release does not wait for what came before it.
func TestMirroringIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 500
		released := quarantined(many)
		all := make([]*v1alpha1.Quarantine, 0, many+1)
		for i := range many {
			all = append(all, quarantined(i))
		}
		r := reflect(t, mirrorIn("portcullis", released))
		r.exist(t, append(all, released)...)
		begin := time.Now()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(r.api.Actions()); n > 10*mirrorsPerSecond+mirrorsPerPass {
			t.Errorf("%d requests in 10 s", n)
		}
		_ = store{r.Manager}.Delete(released)
		for {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if _, there := r.mirrors(t)["portcullis/"+MirrorOf(released).Name]; !there {
				break
			}
			if time.Since(begin) > 12*time.Second {
				t.Fatal("a release waits for the mirrors of others")
			}
		}
		time.Sleep(time.Minute)
		r.expect(t, all...)
	})
}

func TestMirrorStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reflect(t)
		r.api.PrependReactor("list", "limitranges", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("down") })
		r.exist(t, quarantined(1))
		synctest.Wait() // It pauses; the cleanup would hang if that did not end.
	})
}
