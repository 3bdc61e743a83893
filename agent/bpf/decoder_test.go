package bpf

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestWhatADecoderRemembers: it reads the same as one that remembers nothing, and keeps no more than it may.
func TestWhatADecoderRemembers(t *testing.T) {
	d := newDecoder()
	for i := range 3 * maxTexts {
		names := fmt.Appendf(nil, "name-%d\x00usr\x00", i/2) // each twice
		if got, want := d.path(names), path(names); got != want {
			t.Fatalf("%q is the path %q, want %q", names, got, want)
		}
		if got, want := d.text(names), text(names); got != want {
			t.Fatalf("%q is the text %q, want %q", names, got, want)
		}
	}
	before := len(d.texts)
	if long := strings.Repeat("x", maxText+1); d.text([]byte(long)) != long {
		t.Error("a long text is read wrongly")
	}
	if len(d.paths) > maxTexts || len(d.texts) > maxTexts || len(d.texts) != before || before == 0 {
		t.Errorf("%d paths and %d texts are remembered, before a long one %d", len(d.paths), len(d.texts), before)
	}
}

func TestRest(t *testing.T) {
	for _, c := range []struct {
		found, empty int
		want         time.Duration
	}{
		{many, 0, busyRest},
		{many - 1, 0, shortRest},
		{0, 1, shortRest},
		{0, patient, idleRest},
	} {
		if got := rest(c.found, c.empty); got != c.want {
			t.Errorf("after %d records, and %d turns without any, it rests %v, want %v", c.found, c.empty, got, c.want)
		}
	}
	if wakeupInterval <= busyRest || wakeupInterval >= idleRest {
		t.Errorf("a record wakes the reader if it would wait for %v: that must be between %v and %v", wakeupInterval, busyRest, idleRest)
	}
}
