package identity

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// TestRoomKeepsCount plays many random stories, and compares with counting what is there.
func TestRoomKeepsCount(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		r := newRoom(20, 5)
		now := noon
		in, out := 0, 0
		for range 300 {
			now = now.Add(time.Second)
			switch rng.IntN(8) {
			case 0:
				out += len(r.takeIf(fmt.Sprint(rng.IntN(6)), func(entry) bool { return rng.IntN(2) == 0 }))
			case 1:
				out += len(r.takeOverdue(now))
			default:
				patience := rng.IntN(patiences)
				e := entry{e: &event.Event{}, uid: fmt.Sprint(rng.IntN(6)), by: fmt.Sprint(patience, rng.IntN(4)), share: 8, patience: patience}
				in++
				out += len(r.add(e, now.Add(time.Duration(5+20*patience)*time.Second)))
			}
			checkRoom(t, r, in-out)
		}
		if out += len(r.takeOverdue(time.Time{})); out != in || len(r.pods)+len(r.reporters)+len(r.busiest) != 0 {
			t.Fatalf("seed %d: %d went in, %d came out", seed, in, out)
		}
	}
}

func checkRoom(t *testing.T, r *room, want int) {
	t.Helper()
	byReporter, due, total := map[*reporter]int{}, 0, 0
	for uid, pod := range r.pods {
		ofPod := map[*reporter]int{}
		for _, h := range pod.events {
			byReporter[h.reporter]++
			ofPod[h.reporter]++
			total++
		}
		for by, n := range ofPod {
			if n > 5 || pod.of[by] != n {
				t.Fatalf("of pod %s one reporter has %d events, counted as %d", uid, n, pod.of[by])
			}
		}
	}
	for i := range r.due {
		due += r.due[i].count
	}
	if total != want || r.count != want || due != want || total > 20 {
		t.Fatalf("%d events are there, %d and %d are counted, want %d", total, r.count, due, want)
	}
	for by, n := range byReporter {
		if n > 8 || by.queue.count != n || n > r.busiest[0].queue.count || r.busiest[by.place] != by || len(by.queue.events) > 2*8+1 {
			t.Fatalf("a reporter has %d events, counted as %d; the busiest has %d", n, by.queue.count, r.busiest[0].queue.count)
		}
	}
}
