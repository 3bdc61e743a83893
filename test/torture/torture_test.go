package main

import (
	"testing"
	"time"
)

// TestSameNames is the short run of what `make torture` does at length.
func TestSameNames(t *testing.T) {
	out := torture(t, options{
		seed: 1, size: size{namespaces: 20, names: 10, length: 9 * time.Second, churn: 0.5, pause: 1500 * time.Millisecond, lasts: 20 * time.Second, outlast: 14 * time.Second},
		nodes: 5, late: late{usual: time.Second, worst: 3 * time.Second, again: 0.2},
		lateness: 9 * time.Second, span: 5 * time.Second, watchLag: 200 * time.Millisecond,
		restarts: 2, cut: true, skew: true, drift: true, progress: func(time.Duration) {},
	})
	if err := out.print(t.Output()); err != nil {
		t.Fatal(err)
	}
	if err := out.err(); err != nil {
		t.Error(err)
	}
	if out.byName.perfect() {
		t.Error("a join by name made no mistake: this is no torture")
	}
}
