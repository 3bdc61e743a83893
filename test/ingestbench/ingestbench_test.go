package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func recording(t *testing.T) []string {
	t.Helper()
	events, err := recorded("../../docs/samples/audit.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestStampedListsAreNew(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	batches, ids := newStamped(recording(t)), map[string]bool{}
	for range 2 {
		batch, err := auditsink.NewDecoder().Decode(batches.next(now), auditsink.Delivery{APIServer: apiServer, Received: now})
		if err != nil || len(batch.Events) != batchSize {
			t.Fatalf("%d events, %v", len(batch.Events), err)
		}
		for _, e := range batch.Events {
			ids[e.Audit.AuditID] = true
			if off := e.Time.Sub(now); off < 0 || off > time.Second || e.StageTime.Before(e.Time) {
				t.Fatalf("it happens at %s, its stage is reached at %s", e.Time, e.StageTime)
			}
		}
	}
	if len(ids) != 2*batchSize {
		t.Errorf("%d audit IDs", len(ids))
	}
}

// TestParsersParse: each of them sees that a list is broken.
func TestParsersParse(t *testing.T) {
	body := list(recording(t))
	broken := bytes.Replace(body, []byte(`"verb":`), []byte(`"verb"}`), 1)
	for _, row := range []row{{name: "fastjson", read: fastestParser()}, {name: "encoding/json", read: apiTypes}} {
		for text, want := range map[string]bool{string(body): true, string(broken): false} {
			if err := row.read([]byte(text)); (err == nil) != want {
				t.Errorf("%s: %v, want success: %v", row.name, err, want)
			}
		}
	}
}

// TestNothingIsAllocatedForEventsThatNoRuleWants is the bound of allocations per event.
func TestNothingIsAllocatedForEventsThatNoRuleWants(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	match, err := newCorrelator(nowhere{}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	decoder := auditsink.NewDecoder()
	_, unwanted, err := apart(recording(t), func(text []byte) (bool, error) {
		e, bad := decoder.DecodeEvent(text, auditsink.Delivery{APIServer: apiServer})
		return bad == nil && len(match.Match(e)) > 0, bad
	})
	if err != nil {
		t.Fatal(err)
	}
	read, body := ours(decoder, match), list(unwanted)
	perList := testing.AllocsPerRun(50, func() {
		if err := read(body); err != nil {
			t.Error(err)
		}
	})
	if perEvent := perList / batchSize; perEvent > 0.1 {
		t.Errorf("%.2f allocations per event", perEvent)
	}
}

// TestCandidatesAreThoseOfEachRuleAlone: what rules have in common is worked out once, and is the same.
func TestCandidatesAreThoseOfEachRuleAlone(t *testing.T) {
	type candidate struct {
		rule, key, event string
		stage            int
	}
	schema := field.New()
	set, err := rules(schema)
	if err != nil {
		t.Fatal(err)
	}
	match, err := newCorrelator(nowhere{}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	texts := recording(t)
	events := make([]*event.Event, len(texts))
	record, want, got := schema.NewRecord(), map[candidate]int{}, map[candidate]int{}
	for i, text := range texts {
		e, err := auditsink.NewDecoder().DecodeEvent([]byte(text), auditsink.Delivery{APIServer: apiServer})
		if err != nil {
			t.Fatal(err)
		}
		events[i] = e
		record.Reset(e)
		for _, r := range set.All() {
			for i, stage := range r.Program.Stages() {
				keys, _ := stage.Keys(record, nil)
				if !stage.Match(record) {
					continue
				}
				if !r.Program.IsSequence() {
					keys = []string{e.Request}
				}
				for _, key := range keys {
					want[candidate{r.Name, key, e.ID, i}]++
				}
			}
		}
	}
	for _, c := range match.Match(events...) {
		got[candidate{c.Rule, c.Key, c.Event.ID, c.Stage}]++
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(candidate{})); diff != "" || len(want) < 50 {
		t.Errorf("%d candidates, -alone +together:\n%s", len(want), diff)
	}
}

func TestBrokenPromisesAreErrors(t *testing.T) {
	rows := []row{
		rowAPITypes: {name: "encoding/json", nanoseconds: []float64{100, 110, 120, 130}},
		rowParser:   {name: "fast", nanoseconds: []float64{10, 11, 12, 13}},
		2:           {name: "ours", judged: true, nanoseconds: []float64{14, 14, 14, 14}},
	}
	if err := judge(io.Discard, []table{{judged: true, rows: fill(rows)}}); err != nil {
		t.Error(err)
	}
	rows[2].nanoseconds = []float64{30, 30, 30, 30}
	if err := judge(io.Discard, []table{{rows: fill(rows)}}); err != nil {
		t.Error(err)
	}
	if err := judge(io.Discard, []table{{judged: true, rows: fill(rows)}}); err == nil || strings.Count(err.Error(), "promised") != 2 {
		t.Errorf("got %v", err)
	}
}

func fill(rows []row) []row {
	for i := range rows {
		rows[i].allocations, rows[i].bytes = rows[i].nanoseconds, rows[i].nanoseconds
	}
	return rows
}

// TestServerTakesLists runs the server within the test.
func TestServerTakesLists(t *testing.T) {
	asked, asking := io.Pipe()
	answered, answering := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := server(asked, answering, 10)
		done <- errors.Join(err, answering.Close())
	}()
	answers := json.NewDecoder(answered)
	var hello greeting
	if err := answers.Decode(&hello); err != nil {
		t.Fatal(err, <-done)
	}
	client, err := hello.client()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{url: hello.URL, client: client, batches: newStamped(recording(t))}
	if err := c.send(t.Context(), 2*senders); err != nil {
		t.Error(err)
	}
	client.CloseIdleConnections()
	if _, err := io.WriteString(asking, "used\n"); err != nil {
		t.Fatal(err)
	}
	var u usage
	if err := answers.Decode(&u); err != nil {
		t.Fatal(err)
	}
	if u.Open < 10 || u.Processor == 0 || u.Parts["match and publish"] == 0 {
		t.Errorf("used %+v", u)
	}
	if err := errors.Join(asking.Close(), <-done); err != nil {
		t.Error(err)
	}
}
