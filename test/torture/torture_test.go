package main

import (
	"testing"
	"time"
)

// TestSameNames is the short run of what `make torture` does at length.
func TestSameNames(t *testing.T) {
	out := torture(t, options{
		seed: 1, size: size{namespaces: 20, names: 10, length: 11 * time.Second, churn: 0.5, pause: 1500 * time.Millisecond, lasts: 26 * time.Second, outlast: 18 * time.Second},
		nodes: 5, late: late{usual: time.Second, worst: 4 * time.Second, again: 0.2},
		lateness: 12 * time.Second, span: 6 * time.Second,
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
