package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// all returns a bucket's records.
func all(tb testing.TB, b *Bucket) map[string]string {
	tb.Helper()
	got := map[string]string{}
	err := b.Range(tb.Context(), func(key string, value []byte, at time.Time) error {
		if ago := time.Since(at); ago < 0 || ago > time.Hour {
			tb.Errorf("%q was written at %s", key, at)
		}
		got[key] = string(value)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

func put(tb testing.TB, b *Bucket, key, value string) {
	tb.Helper()
	if err := b.Put(tb.Context(), key, []byte(value)); err != nil {
		tb.Fatal(err)
	}
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, options(dir))
	b := openBucket(t, s)
	if got := all(t, b); len(got) != 0 {
		t.Errorf("a new bucket has %v", got)
	}
	for _, key := range []string{"plain", "a.b", "*", ">", " ", "ns/name", "\x00\xff", strings.Repeat("k", maxKey)} {
		put(t, b, key, "old")
		put(t, b, key, "value of "+key)
	}
	put(t, b, "empty", "")
	put(t, b, "deleted", "x")
	for range 2 { // The second time there is none.
		if err := b.Delete(t.Context(), "deleted"); err != nil {
			t.Fatal(err)
		}
	}
	want := all(t, b)
	if len(want) != 9 || want["\x00\xff"] != "value of \x00\xff" {
		t.Errorf("records are %q", want)
	}
	shut(t, s)

	b = openBucket(t, open(t, options(dir)))
	if diff := cmp.Diff(want, all(t, b)); diff != "" {
		t.Error(diff)
	}
	if value, err := b.Get(t.Context(), "ns/name"); err != nil || string(value) != "value of ns/name" {
		t.Errorf("got %q, %v", value, err)
	}
	for _, key := range []string{"deleted", "never"} {
		if value, err := b.Get(t.Context(), key); !errors.Is(err, ErrNotFound) || value != nil {
			t.Errorf("%s: got %q, %v", key, value, err)
		}
	}
}

func TestRecordsOfUnusualSizeAreErrors(t *testing.T) {
	t.Parallel()
	b := openBucket(t, open(t, options(t.TempDir())))
	for name, err := range map[string]error{
		"no key":     b.Put(t.Context(), "", nil),
		"long key":   b.Put(t.Context(), strings.Repeat("k", maxKey+1), nil),
		"long value": b.Put(t.Context(), "k", make([]byte, maxValue+1)),
	} {
		if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFull) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if err := b.Put(t.Context(), "k", make([]byte, maxValue)); err != nil {
		t.Error(err)
	}
	if got := all(t, b); len(got["k"]) != maxValue {
		t.Errorf("the largest value has %d bytes", len(got["k"]))
	}
}

// TestDeletedRecordsLeaveNothing deletes among others, and looks at what a kill would leave.
func TestDeletedRecordsLeaveNothing(t *testing.T) {
	t.Parallel()
	dir, killed := t.TempDir(), t.TempDir()
	s := open(t, options(dir))
	b := openBucket(t, s)
	want := map[string]string{}
	for i := range 500 {
		key := fmt.Sprint(i)
		put(t, b, key, "value")
		if i%100 == 0 {
			want[key] = "value"
			continue
		}
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	e, err := s.current()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := e.js.Stream(t.Context(), b.stream())
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 5 {
		t.Errorf("%d messages are left of 5 records", n)
	}
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, all(t, openBucket(t, open(t, options(killed))))); diff != "" {
		t.Errorf("after a kill:\n%s", diff)
	}
	shut(t, s)
	if diff := cmp.Diff(want, all(t, openBucket(t, open(t, options(dir))))); diff != "" {
		t.Errorf("after a stop:\n%s", diff)
	}
}

func TestFullBucketRefusesAndKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b, err := s.Bucket(t.Context(), BucketOptions{Name: "small", TTL: time.Hour, MaxBytes: maxValue})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	value := strings.Repeat("v", 1<<20)
	for i := 0; ; i++ {
		key := fmt.Sprint(i)
		if err = b.Put(t.Context(), key, []byte(value)); err != nil {
			break
		}
		want[key] = value
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("error is %v", err)
	}
	if diff := cmp.Diff(want, all(t, b)); diff != "" {
		t.Error(diff)
	}
	put(t, b, "0", value[1:]) // There is room for what replaces something larger.
	if err = b.Delete(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	put(t, b, "new", value[:len(value)/2])
}

func TestRecordsGoWhenTheyAreOld(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b := openBucket(t, s)
	s.stop() // Its time is the test's from here on.
	s.housekeeping.Wait()
	now := time.Now()
	put(t, b, "old", "1")
	put(t, b, "touched", "1")
	heldAtOf(t, s, b.stream(), now)
	put(t, b, "touched", "2")
	put(t, b, "new", "1")
	for _, minutes := range []int{30, 59} {
		if n := heldAtOf(t, s, b.stream(), now.Add(time.Duration(minutes)*time.Minute)); n != 3 {
			t.Errorf("%d records are left after %d minutes, want 3", n, minutes)
		}
	}
	heldAtOf(t, s, b.stream(), now.Add(61*time.Minute))
	if diff := cmp.Diff(map[string]string{"touched": "2", "new": "1"}, all(t, b)); diff != "" {
		t.Error(diff)
	}
}

// TestRecordsOutliveTheCandidatesThatTheyAreAbout starts a store after more time than anything is kept for.
func TestRecordsOutliveTheCandidatesThatTheyAreAbout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, options(dir))
	publish(t, openBus(t, s), candidate("k", 0))
	put(t, openBucket(t, s), "k/0", "released")
	shut(t, s)

	o := options(dir)
	o.Clock = func() time.Time { return time.Now().Add(48 * time.Hour) }
	s = open(t, o)
	s.stop() // Its time is the test's from here on.
	s.housekeeping.Wait()
	records := openBucket(t, s)
	if n := heldAtOf(t, s, records.stream(), time.Now()); n != 1 {
		t.Errorf("%d records are left before the bus is open, want 1", n)
	}
	b := openBus(t, s)
	if n := heldAtOf(t, s, records.stream(), time.Now()); n != 1 {
		t.Errorf("%d records are left before the replay, want 1", n)
	}
	consume(t, b, 1)
	if n := heldAt(t, s, time.Now()) + heldAtOf(t, s, records.stream(), time.Now()); n != 0 {
		t.Errorf("%d candidates and records are left after that", n)
	}
}

func TestRangeEndsWithTheFunctionsError(t *testing.T) {
	t.Parallel()
	b := openBucket(t, open(t, options(t.TempDir())))
	put(t, b, "a", "1")
	put(t, b, "b", "1")
	enough := errors.New("enough")
	n := 0
	err := b.Range(t.Context(), func(string, []byte, time.Time) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("after %d records, error is %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = b.Range(ctx, func(string, []byte, time.Time) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestRangeOverMoreThanFitsInMemoryBuffers(t *testing.T) {
	t.Parallel()
	b := openBucket(t, open(t, options(t.TempDir())))
	const records, size = 10, 5 << 20 // more than a window of the server's flow control
	for i := range records {
		put(t, b, fmt.Sprint(i), strings.Repeat("v", size))
	}
	n := 0
	err := b.Range(t.Context(), func(key string, value []byte, _ time.Time) error {
		n++
		put(t, b, "touched", key) // It may be used meanwhile.
		if len(value) != size {
			t.Errorf("%s has %d bytes", key, len(value))
		}
		return nil
	})
	if err != nil || n != records {
		t.Errorf("%d records, error is %v", n, err)
	}
}

func TestBucketIsOpenOnce(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	openBucket(t, s)
	_, err := s.Bucket(t.Context(), BucketOptions{Name: "records", TTL: time.Hour, MaxBytes: maxValue})
	if err == nil || !strings.Contains(err.Error(), "open already") {
		t.Errorf("error is %v", err)
	}
}

func TestBucketOutlivesAFailureOfTheServerInside(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b := openBucket(t, s)
	put(t, b, "k", "1")
	s.fail(errors.New("input/output error"))
	if err := b.Put(t.Context(), "k", nil); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("error is %v", err)
	}
	if _, err := s.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, b, "l", "2")
	if diff := cmp.Diff(map[string]string{"k": "1", "l": "2"}, all(t, b)); diff != "" {
		t.Error(diff)
	}
}
