package main

import (
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/standalone"
)

// TestShort is the suite in small: every way of killing the server, without a disk of its own.
func TestShort(t *testing.T) {
	r, err := run(t, short(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.print(t.Output()); err != nil {
		t.Fatal(err)
	}
	if len(r.problems()) > 0 {
		t.Error(errBroken)
	}
}

func short(t standalone.TB, seed uint64) options {
	return options{
		seed: seed, long: 5 * time.Minute, once: true, late: 3 * time.Second,
		casts: map[plot]int{tokenUsed: 40, clientRun: 15, session: 3, shell: 3, harmless: 12},
		rates: map[plot]float64{tokenUsed: 1.2, clientRun: 3, session: 2, shell: 2, harmless: 0.5},
		deck: map[fault]int{
			killAtRandom: 1, killAtStart: 1, killAtDelivery: 1, killAtPoint: len(points()), killAtRelease: 1, releasedDown: 1,
			stopped: 1, killAtStop: 1, longAway: 1, streamDamaged: 1, recordsDamaged: 1, historyDamaged: 1,
		},
		leastKills: len(points()) + 8,
		out:        t.Logf,
	}
}
