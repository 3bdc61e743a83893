package coverage

import (
	"fmt"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

func TestShares(t *testing.T) {
	for name, want := range map[string]string{
		"agent/n1": "agent/*", "join/eve": "join/*", "join/uid:p": "join/uid:*", "join/uid:*": "join/*",
		"join/system:serviceaccount:ns:web": "join/system:serviceaccount:ns:*", "join/system:serviceaccount:ns:*": "join/*",
		"join/system:serviceaccount:ns": "join/*", "join/*": "join/*", "pod/p": "pod/*",
	} {
		if got := shareOf(name); got != want {
			t.Errorf("%s shares %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"pod/p": "agent/n1", "join/uid:p": "join/node:n1"} {
		if got := shareOn("n1", name); got != want {
			t.Errorf("%s on n1 shares %s, want %s", name, got, want)
		}
	}
	if got := shareOn("", "pod/p"); got != "pod/*" {
		t.Errorf("a pod nowhere shares %s", got)
	}
}

// TestWhoeverFloodsFoldsHisOwn: a node, or a namespace, that makes sources without end costs others nothing.
func TestWhoeverFloodsFoldsHisOwn(t *testing.T) {
	store := &memory{}
	r := restarted(t, store, at(0), func(o *Options) { o.MaxSources = 160 })
	for _, node := range []string{"bad", "good"} {
		r.Known("agent/"+node, at(-1000))
	}
	r.Known("audit/a", at(-1000))
	for i := range 1000 {
		r.NoteOn("bad", hole(fmt.Sprintf("pod/%d", i), "x", 0, 9))
		r.NoteOn("bad", hole(fmt.Sprintf("join/uid:%d", i), "x", 0, 9))
		r.Note(hole(fmt.Sprintf("join/system:serviceaccount:bad:%d", i), "x", 0, 9))
		r.Note(hole(fmt.Sprintf("join/uid:nowhere-%d", i), "x", 0, 9))
	}
	r.store(t.Context(), &time.Time{}, true)
	again := restarted(t, store, at(1), func(o *Options) { o.MaxSources = 160 })
	again.Started(at(1))
	for _, node := range []string{"good", "bad"} {
		again.Agents().Connected(node, "s", at(1))
		again.Fill("agent/"+node, CauseDisconnected)
	}
	for name, r := range map[string]*rig{"before a restart": r, "after it": again} {
		pod := func(uid, node string) *event.Detection {
			return &event.Detection{Events: []*event.Event{{Source: "agent/" + node, Time: at(5), Pod: event.Pod{UID: uid, Name: "web", Node: node}}}}
		}
		count := func(d *event.Detection) (n int) {
			for _, h := range r.Of(d, at(5), at(5)).Holes {
				if h.Cause == "x" && h.Source != "join/uid:*" {
					n++
				}
			}
			return n
		}
		user := func(name string) *event.Detection {
			return &event.Detection{User: name, Events: []*event.Event{audit(5, name, event.Pod{})}}
		}
		if n := count(pod("web", "good")) + count(user("system:serviceaccount:good:web")) + count(user("eve")); n > 0 {
			t.Errorf("%s: %d holes of somebody else", name, n)
		}
		for i := range 1000 {
			if count(pod(fmt.Sprint(i), "bad")) < 2 || count(user(fmt.Sprintf("system:serviceaccount:bad:%d", i))) == 0 {
				t.Fatalf("%s: the hole of %d is forgotten", name, i)
			}
		}
		if len(r.families[FamilyPod]) != 10 || len(r.families[FamilyJoin]) > 3*10+3 {
			t.Errorf("%s: %d pods and %d owners are remembered", name, len(r.families[FamilyPod]), len(r.families[FamilyJoin]))
		}
	}
}

// BenchmarkNoteWhenFull notes holes when there is no room for any.
func BenchmarkNoteWhenFull(b *testing.B) {
	r := newRig(b, nil)
	for i := range 16_000 {
		for j := range 5 {
			r.Note(hole(fmt.Sprintf("agent/%d", i), "x", 10*j, 10*j+1))
		}
	}
	i := 0
	for b.Loop() {
		i++
		r.Note(hole("agent/0", "x", i*10, i*10+1))
	}
}
