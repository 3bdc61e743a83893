package jetstream

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

func TestSpooledEventsOutliveTheStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settings := BucketOptions{Name: "held", TTL: time.Hour, MaxBytes: 8 << 20}
	waiting := func(id string) *event.Event {
		return &event.Event{
			ID: id, Kind: event.KindProcess, Time: time.Unix(1_800_000_000, 5).UTC(), Pod: event.Pod{UID: "u"},
			Process: &event.Process{PID: 7, Args: []string{"sh", "\xff\xfe"}},
		}
	}
	first := open(t, options(dir))
	spool, err := first.Spool(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"one", "two", "three"} {
		if err = spool.Put(t.Context(), key, []*event.Event{waiting(key + "a"), waiting(key + "b")}); err != nil {
			t.Fatal(err)
		}
	}
	if err = spool.Delete(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	if err = spool.bucket.Put(t.Context(), "broken", []byte{encoding + 1}); err != nil {
		t.Fatal(err)
	}
	if err = first.Close(); err != nil {
		t.Fatal(err)
	}

	second := open(t, options(dir))
	if spool, err = second.Spool(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	want := map[string][]*event.Event{
		"one": {waiting("onea"), waiting("oneb")}, "three": {waiting("threea"), waiting("threeb")},
	}
	for range 2 { // What cannot be decoded is out of the way the second time.
		got := map[string][]*event.Event{}
		if err = spool.Range(t.Context(), func(key string, events []*event.Event) error {
			got[key] = events
			return nil
		}); err != nil {
			t.Errorf("what cannot be decoded stops the others: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		counted(t, "undecodable values", second.metrics.undecodable, 1)
	}
	kept := slices.Collect(maps.Values(all(t, second.setAside)))
	if diff := cmp.Diff([]string{string(rune(encoding + 1))}, kept); diff != "" {
		t.Errorf("what cannot be decoded is not kept: %s", diff)
	}
}
