package quarantine

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// unused is a client of a Manager that does not run.
type unused struct{ client.WithWatch }

type deaf struct{}

func (deaf) Quarantined(*event.Detection, *Entry)   {}
func (deaf) Created(*Entry)                         {}
func (deaf) WouldQuarantine(*event.Detection, Spec) {}
func (deaf) Released(*Entry, string, time.Time)     {}

func TestRulesMakeOnlySoManyQuarantines(t *testing.T) {
	m, err := NewManager(Options{
		Client: unused{}, Index: &Index{}, Announcer: deaf{}, PodGone: func(string) bool { return false }, Record: newMemory(),
		MaxQuarantines: 2, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry(), Now: func() time.Time { return at(0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { m.queue.ShutDown(); m.reports.ShutDown() }()
	m.change(func(s *state, fx *effects) { s.observed(byHand("case-1", time.Time{}), at(0), fx) })
	quarantine := func(id, uid string) error {
		d := detection(id)
		d.Pod.UID = uid
		_, err := m.Quarantine(t.Context(), d, podSpec(time.Hour))
		return err
	}
	if err := errors.Join(quarantine("d1", "u7"), quarantine("d2", "u7")); err != nil {
		t.Errorf("the second quarantine, and another detection of it: %v", err)
	}
	if err := quarantine("d3", "u8"); !errors.Is(err, ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	if m.InForce(v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u8"}) || !m.InForce(v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u7"}) {
		t.Error("who is in quarantine is somebody else")
	}
	m.change(func(s *state, fx *effects) { s.observed(byHand("case-2", time.Time{}), at(0), fx) })
	if m.opts.Index.Len() != 3 {
		t.Errorf("%d quarantines, want what people made as well", m.opts.Index.Len())
	}
}
