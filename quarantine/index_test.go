package quarantine

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

func podEntry(name, uid, pod string, expires time.Time) *Entry {
	return &Entry{Name: name, Expires: expires, Subject: v1alpha1.Subject{
		Kind: v1alpha1.SubjectPod, UID: uid, Namespace: "shop", Name: pod,
	}}
}

func userEntry(name, user string) *Entry {
	return &Entry{Name: name, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: user}}
}

// subjects has one subject of each kind.
func subjects() []v1alpha1.Subject {
	return []v1alpha1.Subject{
		{Kind: v1alpha1.SubjectPod, UID: "u1", Namespace: "shop", Name: "web-0"},
		{Kind: v1alpha1.SubjectUser, Name: "alice"},
		{Kind: v1alpha1.SubjectGroup, Name: "devs"},
		{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "web"},
		{Kind: v1alpha1.SubjectCredential, Name: "JTI=1"},
		{Kind: v1alpha1.SubjectNode, Name: "node-1"},
		{Kind: v1alpha1.SubjectNamespace, Name: "shop"},
	}
}

func TestIndex(t *testing.T) {
	for _, s := range subjects() {
		t.Run(string(s.Kind), func(t *testing.T) {
			var x Index
			entry := func(name string, expires time.Time, operations ...v1alpha1.Operation) *Entry {
				return &Entry{Name: name, Subject: s, Expires: expires, Operations: OperationsOf(operations...)}
			}
			check := func(when string, now time.Time, exec, attach bool) {
				t.Helper()
				if x.Denied(s, v1alpha1.OperationExec, now) != exec || x.Denied(s, v1alpha1.OperationAttach, now) != attach {
					t.Errorf("%s: exec is denied %v, attach %v", when, !exec, !attach)
				}
			}
			check("empty", at(0), false, false)
			x.put(entry("a", at(10)))
			x.put(entry("b", at(20), v1alpha1.OperationExec))
			x.remove("unknown")
			check("both in force", at(0), true, true)
			check("the first has expired", at(15), true, false)
			check("both have", at(20), false, false)
			for _, other := range subjects() {
				if other != s && x.Of(other) != nil {
					t.Errorf("it stands for %+v too", other)
				}
			}
			x.put(entry("a", at(30), v1alpha1.OperationAttach))
			check("the first was changed", at(20), false, true)
			if e, ok := x.Get("a"); !ok || e.Expires != at(30) || x.Len() != 2 {
				t.Errorf("a is %+v, of %d", e, x.Len())
			}
			x.put(&Entry{Name: "b", Subject: v1alpha1.Subject{Kind: s.Kind, UID: "other", Namespace: "other", Name: "other"}})
			check("the other is of another subject", at(0), false, true)
			x.remove("a")
			x.remove("b")
			if left := x.Len() + leftovers(&x); left != 0 {
				t.Errorf("removing all leaves %d entries and keys", left)
			}
		})
	}
}

// leftovers are the keys in all of the index's tables.
func leftovers(x *Index) int {
	n := 0
	count := func(any, any) bool { n++; return true }
	for _, t := range []*table[string]{
		&x.pods, &x.nodes, &x.namespaces, &x.users, &x.groups, &x.accounts, &x.credentials, &x.podsIn, &x.podsOn,
	} {
		t.entries.Range(count)
		n += int(t.keys.Load())
	}
	x.named.entries.Range(count)
	return n + int(x.named.keys.Load())
}

func TestIndexIgnoresKindsThatItDoesNotKnow(t *testing.T) {
	var x Index
	odd := &Entry{Name: "a", Subject: v1alpha1.Subject{Kind: "Cluster", Name: "x"}}
	x.put(odd)
	if x.Len() != 1 || x.Of(odd.Subject) != nil {
		t.Errorf("%d entries", x.Len())
	}
	x.remove("a")
}

func TestIndexUnderConcurrency(t *testing.T) {
	var x Index
	x.put(podEntry("fixed", "fixed", "web-0", time.Time{}))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 500 {
				x.put(podEntry(fmt.Sprint("n", i), fmt.Sprint("u", j), "web-0", time.Time{}))
			}
			x.remove(fmt.Sprint("n", i))
		})
		wg.Go(func() {
			fixed := v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "fixed"}
			for range 2000 {
				if !x.Denied(fixed, v1alpha1.OperationExec, at(0)) {
					t.Error("an entry vanished while others changed")
					return
				}
			}
		})
	}
	wg.Wait()
	if x.Len() != 1 || len(x.named.of(podName{"shop", "web-0"})) != 1 {
		t.Errorf("%d entries are left, want the fixed one", x.Len())
	}
}

func TestOperations(t *testing.T) {
	exec, attach := OperationsOf(v1alpha1.OperationExec), OperationsOf(v1alpha1.OperationAttach)
	all := OperationsOf()
	every := doors()
	if OperationsOf(every[:]...) != all || all.List() != nil || OperationsOf("dance") != all {
		t.Error("all, none and what is no operation are not the same")
	}
	for i, door := range every {
		one := OperationsOf(door)
		for j, other := range every {
			if one.Has(string(other)) != (i == j) {
				t.Errorf("%v has %v", one, other)
			}
		}
		if got := one.List(); len(got) != 1 || got[0] != door || !all.Has(string(door)) {
			t.Errorf("%v is listed as %v", door, got)
		}
	}
	both := exec.union(attach)
	if both.String() != "exec, attach" || !both.covers(exec) || exec.covers(both) || !all.covers(both) || both.covers(all) || exec.union(all) != all {
		t.Errorf("unions are wrong: %v", both)
	}
	if exec.Has("dance") || !all.Has("dance") {
		t.Error("a door that nobody knows is not denied by all, or by one")
	}
}

func BenchmarkIndex(b *testing.B) {
	for _, n := range []int{0, 100, 1_000, 10_000} {
		var x Index
		for i := range n {
			x.put(podEntry(fmt.Sprint("n", i), fmt.Sprint("uid-", i), fmt.Sprint("web-", i), time.Time{}))
		}
		b.Run(fmt.Sprintf("lookup/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			pod, now := "uid-77", at(0)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					x.pods.denies(pod, "exec", now)
				}
			})
		})
		b.Run(fmt.Sprintf("put/%d", n), func(b *testing.B) {
			e := podEntry("new", "new", "new", time.Time{})
			for b.Loop() {
				x.put(e)
			}
		})
	}
}
