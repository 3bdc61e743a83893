package join

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSameCommand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args, command string
		truncated     bool
		want          bool
	}{
		{"sh", "sh", false, true},
		{"sh -c ls", "sh -c ls", false, true},
		{"sh -c ls", "sh -c id", false, false},
		{"sh", "sh -c ls", false, false},
		{"sh -c ls", "sh", false, false},
		{"bash", "sh", false, false},
		// A script: the kernel puts its interpreter first, and the path as it was found.
		{"/bin/sh /job x", "/job x", false, true},
		{"/bin/sh -e /usr/bin/job x", "job x", false, true},
		{"/usr/bin/env python3 /opt/job.py", "/opt/job.py", false, true},
		{"/bin/sh /job x", "/job y", false, false},
		{"/bin/sh /other x", "/job x", false, false},
		// Cut by the agent, within an argument or after one.
		{"cat long-na", "cat long-name", true, true},
		{"cat", "cat long-name", true, true},
		{"cat long-na", "cat long-name", false, false},
		{"cat other", "cat long-name", true, false},
		{"", "sh", false, false},
	} {
		if got := SameCommand(strings.Fields(tt.args), tt.truncated, strings.Fields(tt.command)); got != tt.want {
			t.Errorf("%q as %q, truncated %v: %v", tt.args, tt.command, tt.truncated, got)
		}
	}
}

// everyMatching calls visit for each way to give each row a column of its own.
func everyMatching(g *graph, row int, taken []bool, columnOf []int, visit func([]int)) {
	if row == g.rows {
		visit(columnOf)
		return
	}
	for _, column := range g.edges[row] {
		if !taken[column] {
			taken[column] = true
			everyMatching(g, row+1, taken, append(columnOf, column), visit)
			taken[column] = false
		}
	}
}

// TestPossibleIsWhatSomeMatchingHas compares with all matchings, one by one.
func TestPossibleIsWhatSomeMatchingHas(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	matched := 0
	for range 20_000 {
		g := anyGraph(r)
		want := make([][]int, g.rows)
		found := false
		everyMatching(g, 0, make([]bool, g.columns), nil, func(columnOf []int) {
			found = true
			for row, column := range columnOf {
				if !slices.Contains(want[row], column) {
					want[row] = append(want[row], column)
				}
			}
		})
		columnOf, all := g.matching()
		if all != found {
			t.Fatalf("%v: all are matched %v, want %v", g.edges, all, found)
		}
		if !all {
			continue
		}
		matched++
		for row := range want {
			slices.Sort(want[row])
		}
		if diff := cmp.Diff(want, g.possible(columnOf)); diff != "" {
			t.Fatalf("%v (-want +got):\n%s", g.edges, diff)
		}
	}
	if matched < 1000 {
		t.Errorf("only %d were matched", matched)
	}
}

func anyGraph(r *rand.Rand) *graph {
	g := &graph{rows: 1 + r.IntN(5), columns: 1 + r.IntN(6)}
	for range g.rows {
		var edges []int
		for column := range g.columns {
			if r.IntN(3) == 0 {
				edges = append(edges, column)
			}
		}
		g.edges = append(g.edges, edges)
	}
	return g
}

// TestSpareIsWhatALargestMatchingCanDoWithout takes each column away in turn.
func TestSpareIsWhatALargestMatchingCanDoWithout(t *testing.T) {
	t.Parallel()
	size := func(g *graph) int {
		n := 0
		columnOf, _ := g.matching()
		for _, column := range columnOf {
			if column >= 0 {
				n++
			}
		}
		return n
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		g := anyGraph(r)
		columnOf, _ := g.matching()
		spare := g.spare(columnOf)
		for column := range g.columns {
			less := &graph{rows: g.rows, columns: g.columns}
			for _, edges := range g.edges {
				less.edges = append(less.edges, slices.DeleteFunc(slices.Clone(edges), func(c int) bool { return c == column }))
			}
			if want := size(less) == size(g); spare.has(column) != want {
				t.Fatalf("%v: column %d is spare: %v, want %v", g.edges, column, spare.has(column), want)
			}
		}
	}
}
