package correlator

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 8, 22, 12, 0, 0, 0, time.UTC)

// shipped reads the shipped rules.
func shipped(tb testing.TB, schema *field.Schema) *rule.Set {
	tb.Helper()
	set, err := rule.Load(os.DirFS("../config/rules"), rule.Options{Schema: schema})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// shippedWith reads one shipped rule with one more exception.
func shippedWith(tb testing.TB, schema *field.Schema, name, where string) *rule.Set {
	tb.Helper()
	text, err := os.ReadFile("../config/rules/" + name + ".yaml")
	if err != nil {
		tb.Fatal(err)
	}
	exception := fmt.Sprintf("  - name: known-good\n    reason: test\n    where: >-\n      %s\n", where)
	if head := "  exceptions:\n"; strings.Contains(string(text), head) {
		text = []byte(strings.Replace(string(text), head, head+exception, 1))
	} else {
		text = append(text, (head + exception)...)
	}
	return ruleSet(tb, schema, string(text))
}

// ruleSet reads rules from text.
func ruleSet(tb testing.TB, schema *field.Schema, text string) *rule.Set {
	tb.Helper()
	set, err := rule.Load(fstest.MapFS{"rules.yaml": {Data: []byte(text)}}, rule.Options{Schema: schema})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// ruleText is a rule around a query; extra continues the spec.
func ruleText(name, query, extra string) string {
	return fmt.Sprintf(`apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: %s}
spec:
  title: %s
  description: test
  severity: high
  riskScore: 50
  query: |
    %s
%s
---
`, name, name, strings.ReplaceAll(query, "\n", "\n    "), extra)
}

// recorder keeps detections: in all those that are new, in told every change.
type recorder struct {
	mutex     sync.Mutex
	all, told []*event.Detection
	// last is what was told last of each ID.
	last map[string]*event.Detection
	// each, if not nil, gets every new detection too.
	each chan *event.Detection
}

func (r *recorder) Handle(_ context.Context, d *event.Detection) {
	r.mutex.Lock()
	if r.last == nil {
		r.last = map[string]*event.Detection{}
	}
	_, known := r.last[d.ID]
	r.last[d.ID] = d
	r.told = append(r.told, d)
	if !known {
		r.all = append(r.all, d)
	}
	r.mutex.Unlock()
	if r.each != nil && !known {
		r.each <- d
	}
}

// final are the detections that are final, sorted.
func (r *recorder) final() []*event.Detection {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var final []*event.Detection
	for _, d := range r.last {
		if d.State == event.Final {
			final = append(final, d)
		}
	}
	slices.SortFunc(final, func(a, b *event.Detection) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID, b.ID))
	})
	return final
}

func (r *recorder) names() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	names := make([]string, 0, len(r.all))
	for _, d := range r.all {
		names = append(names, d.Rule.Name)
	}
	return names
}

// sorted sorts in place and returns its argument.
func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

// harness is a Correlator that a test drives by hand: what is fed is matched,
// handed over and joined before feed returns.
type harness struct {
	*Correlator
	recorder *recorder
	registry *prometheus.Registry
	now      time.Time
}

func newHarness(tb testing.TB, schema *field.Schema, set *rule.Set, change func(*Options)) *harness {
	tb.Helper()
	h := &harness{recorder: &recorder{}, registry: prometheus.NewRegistry(), now: noon.Add(time.Minute)}
	memory, err := bus.NewMemory(bus.MemoryOptions{Registerer: h.registry})
	if err != nil {
		tb.Fatal(err)
	}
	o := Options{
		Rules: set, Schema: schema, Bus: memory, Detections: h.recorder, Registerer: h.registry,
		Clock: func() time.Time { return h.now }, Logger: slog.New(slog.DiscardHandler),
		UnmeasuredTolerance: -1,
	}
	if change != nil {
		change(&o)
	}
	h.Correlator, err = New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func (h *harness) feed(tb testing.TB, events ...*event.Event) {
	tb.Helper()
	for _, c := range h.matcher.Load().match(events) {
		if err := h.consume(tb.Context(), c); err != nil {
			tb.Fatal(err)
		}
	}
}

// pass lets time pass without events.
func (h *harness) pass(tb testing.TB, d time.Duration) {
	tb.Helper()
	h.now = h.now.Add(d)
	h.hand(tb.Context(), h.join.advance(h.now))
}
