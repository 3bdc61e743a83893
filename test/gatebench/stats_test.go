package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	values := []time.Duration{5, 1, 4, 2, 3}
	for q, want := range map[int]time.Duration{0: 1, 50: 3, 90: 5, 100: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("%d of 100: %d, want %d", q, got, want)
		}
	}
}

func TestHistogram(t *testing.T) {
	got := histogram([]time.Duration{1, time.Millisecond, time.Millisecond + 1, time.Hour}, time.Millisecond, time.Second)
	if want := "  to 1ms      2 ##\n  to 1s       1 #\n  more        1 #\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestPromise: three quarters of the rounds above it break it, half of them do not.
func TestPromise(t *testing.T) {
	rounds := func(all ...time.Duration) []time.Duration { return all }
	theirs := &side{p50: rounds(10, 10, 10, 10), p99: rounds(10, 10, 10, 10)}
	for name, c := range map[string]struct {
		p99  []time.Duration
		want string
	}{
		"kept":   {rounds(9, 8, 30, 30), ""},
		"broken": {rounds(9, 11, 12, 13), "p99 of a verdict: 1.10 times"},
	} {
		err := compare(&bytes.Buffer{}, &side{p50: rounds(9, 9, 9, 9), p99: c.p99}, theirs, options{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
