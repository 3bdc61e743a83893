package field

import (
	"math/rand/v2"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// What is read often is what the table's rows read, of whatever event.
func TestOftenReadFieldsReadAsTheirRows(t *testing.T) {
	t.Parallel()
	s := New()
	for _, name := range oftenRead() {
		if s.rows[name] == nil {
			t.Fatalf("%s is no field", name)
		}
	}
	if n := len(oftenRead()); n != len(often{}) {
		t.Fatalf("%d names for %d places", n, len(often{}))
	}
	random := events{rand.New(rand.NewPCG(3, 4))}
	r, seen := s.NewRecord(), map[string]bool{}
	for i := range 300 {
		e := random.event()
		if given := []*event.Event{telemetry(), auditEvent(), {}, {Kind: event.KindAudit, Audit: &event.Audit{}}}; i < len(given) {
			e = given[i]
		}
		r.Reset(e)
		for slot, d := range s.fixed {
			want, got := show(d.get(r)), show(r.Field(slot))
			if got != want {
				t.Fatalf("%s is %s, by its row it is %s", d.Name, got, want)
			}
			seen[d.Name] = seen[d.Name] || want != "-"
		}
	}
	for _, name := range oftenRead() {
		if !seen[name] {
			t.Errorf("no event has %s", name)
		}
	}
}

func TestFieldsAreReadTogetherAsOneByOne(t *testing.T) {
	t.Parallel()
	s := New()
	slots := make([]int, len(s.fixed)+1)
	for i := range slots {
		slots[i] = i - 1
	}
	slots[len(s.fixed)/2] = 1 << 20
	together := make([]value.Value, len(slots))
	r := s.NewRecord()
	for _, e := range []*event.Event{auditEvent(), telemetry(), nil} {
		r.Reset(e)
		r.Fields(slots, together)
		for i, slot := range slots {
			if got, want := show(together[i]), show(r.Field(slot)); got != want {
				t.Errorf("slot %d is %s, alone %s", slot, got, want)
			}
		}
	}
}
