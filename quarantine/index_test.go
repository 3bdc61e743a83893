package quarantine

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

func podEntry(name, uid, pod string, expires time.Time) *Entry {
	return &Entry{Name: name, Expires: expires, Subject: v1alpha1.Subject{
		Kind: v1alpha1.SubjectPod, UID: uid, Namespace: "shop", Name: pod,
	}}
}

func userEntry(name, user string) *Entry {
	return &Entry{Name: name, Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: user}}
}

func TestIndex(t *testing.T) {
	var x Index
	if _, ok := x.Lookup(event.Pod{UID: "u1"}, "alice", at(0)); ok || x.Len() != 0 || x.Named("shop", "web-0") != nil {
		t.Error("the empty index has something")
	}
	x.put(podEntry("a", "u1", "web-0", at(10)))
	x.put(podEntry("b", "u1", "web-0", at(20)))
	x.put(userEntry("c", "alice"))
	x.put(userEntry("nobody", ""))
	x.put(podEntry("nothing", "", "", time.Time{}))
	x.remove("unknown")

	for _, tt := range []struct {
		uid, user string
		now       time.Time
		want      string
	}{
		{"u1", "", at(0), "a"},
		{"u1", "", at(15), "b"}, // the first has expired
		{"u1", "", at(20), ""},
		{"u1", "alice", at(20), "c"},
		{"u2", "alice", at(0), "c"},
		{"", "alice", at(0), "c"},
		{"u2", "bob", at(0), ""},
		{"", "", at(0), ""},
	} {
		got := ""
		if e, ok := x.Lookup(event.Pod{UID: tt.uid}, tt.user, tt.now); ok {
			got = e.Name
		}
		if got != tt.want {
			t.Errorf("%q, %q at %v: %q, want %q", tt.uid, tt.user, tt.now, got, tt.want)
		}
	}
	if got := len(x.Named("shop", "web-0")); got != 2 {
		t.Errorf("%d entries of that name, want 2", got)
	}

	x.put(podEntry("a", "u3", "web-1", time.Time{})) // the same object, another subject
	x.put(userEntry("b", "bob"))
	if _, ok := x.Lookup(event.Pod{UID: "u1"}, "", at(0)); ok || x.Len() != 5 {
		t.Error("what an entry was before is still in the index")
	}
	for _, name := range []string{"a", "b", "c", "nobody", "nothing"} {
		x.remove(name)
	}
	left := x.Len()
	for _, m := range []*sync.Map{&x.pods, &x.users, &x.named} {
		m.Range(func(any, any) bool { left++; return true })
	}
	if left != 0 {
		t.Errorf("removing all leaves %d entries and keys", left)
	}
}

func TestIndexLookupAllocatesNothing(t *testing.T) {
	var x Index
	x.put(podEntry("a", "u1", "web-0", time.Time{}))
	x.put(userEntry("b", "alice"))
	now := at(0)
	for _, pod := range []event.Pod{{UID: "u1"}, {UID: "u2"}} {
		if n := testing.AllocsPerRun(100, func() { x.Lookup(pod, "alice", now) }); n != 0 {
			t.Errorf("a lookup of %s allocates %v times", pod.UID, n)
		}
	}
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
			for range 2000 {
				if _, ok := x.Lookup(event.Pod{UID: "fixed"}, "", at(0)); !ok {
					t.Error("an entry vanished while others changed")
					return
				}
			}
		})
	}
	wg.Wait()
	if x.Len() != 1 || len(x.Named("shop", "web-0")) != 1 {
		t.Errorf("%d entries are left, want the fixed one", x.Len())
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
			pod, now := event.Pod{UID: "uid-77"}, at(0)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					x.Lookup(pod, "alice@example.com", now)
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
