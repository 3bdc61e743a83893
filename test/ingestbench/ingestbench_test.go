package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/auditsink"
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
	for _, row := range []row{{name: "fastjson", prepare: fastestParser}, {name: "encoding/json", prepare: apiTypes}} {
		for text, want := range map[string]bool{string(body): true, string(broken): false} {
			read, err := row.prepare([]byte(text))
			if err == nil {
				err = read()
			}
			if (err == nil) != want {
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
	read, err := ours(decoder, match)(list(unwanted))
	if err != nil {
		t.Fatal(err)
	}
	perList := testing.AllocsPerRun(50, func() {
		if err := read(); err != nil {
			t.Error(err)
		}
	})
	if perEvent := perList / batchSize; perEvent > 0.1 {
		t.Errorf("%.2f allocations per event", perEvent)
	}
}

func TestBrokenPromisesAreErrors(t *testing.T) {
	rows := []row{
		{name: "encoding/json", nanoseconds: []float64{100, 110, 120, 130}},
		{name: "fast", parser: true, nanoseconds: []float64{10, 11, 12, 13}},
		{name: "ours", judged: true, nanoseconds: []float64{14, 14, 14, 14}},
	}
	if err := judge(io.Discard, fill(rows)); err != nil {
		t.Error(err)
	}
	rows[2].nanoseconds = []float64{30, 30, 30, 30}
	if err := judge(io.Discard, fill(rows)); err == nil || strings.Count(err.Error(), "promised") != 2 {
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
