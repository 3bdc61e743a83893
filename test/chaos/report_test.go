package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProblems(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*report)
		want   []string
	}{
		"all is well": {func(*report) {}, nil},
		"too few kills": {
			func(r *report) { r.suite.server.life = 3 },
			[]string{"the server was killed 2 times, which proves too little: it must be 4"},
		},
		"nothing happened": {
			func(r *report) { r.verdict.expected = 0 },
			[]string{"nothing has happened that is to be detected"},
		},
		"lost, and not counted": {
			func(r *report) { r.verdict.damaged = 2 },
			[]string{"2 detections or releases were lost to damage, and the server has counted none of it"},
		},
		"lost and counted": {func(r *report) { r.verdict.damaged, r.suite.damages.bytes = 2, 1 }, nil},
		"away, and nothing too late": {
			func(r *report) { r.suite.injected = map[fault]int{longAway: 1} },
			[]string{"the server was away for long, and has counted nothing as too late"},
		},
		"too late and counted": {func(r *report) { r.suite.injected, r.suite.refused = map[fault]int{longAway: 1}, 1 }, nil},
		"a point that was never reached": {
			func(r *report) { r.suite.misses[points()[0].when] = pointTries },
			[]string{"the server never got to be killed where: " + points()[0].when + "; it no longer enters " + points()[0].function},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &report{
				verdict: &verdict{expected: 1, made: 1},
				suite: &suite{
					opts: options{leastKills: 4}, server: &server{life: 5, graceful: map[int]bool{5: true}},
					hits: map[string]int{}, misses: map[string]int{},
				},
			}
			test.change(r)
			if diff := cmp.Diff(test.want, slices.Clip(r.problems())); diff != "" {
				t.Error(diff)
			}
		})
	}
}
