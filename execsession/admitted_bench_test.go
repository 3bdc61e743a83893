package execsession

import (
	"fmt"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

func BenchmarkAdmitted(b *testing.B) {
	w := newScene(b, nil)
	w.tracker.Advance(noon, false)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.tracker.Admitted(Admission{
			Session: fmt.Sprintf("s-%016x", i), Door: DoorExec, Time: time.Now(), Allowed: true, User: "alice", Groups: []string{"devs", "system:authenticated"},
			Pod: event.Pod{Namespace: "shop", Name: "web-0", UID: "u", Confidence: event.ByName}, Container: "main", Command: []string{"sh", "-c", "id"},
		})
	}
}
