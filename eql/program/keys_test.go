package program_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

func keysOf(t testing.TB, by string, values map[string]value.Value) ([]string, int) {
	t.Helper()
	p := mustCompile(t, "sequence"+by+" with maxspan=1m [any where true] [any where true]")
	return p.Stages()[0].Keys(schema().Event(values), nil)
}

func TestKeyCount(t *testing.T) {
	two := value.Strings([]string{"a", "b"})
	for _, tc := range []struct {
		by     string
		values map[string]value.Value
		want   int
	}{
		{"", nil, 1},
		{" by name", map[string]value.Value{"name": value.String("a")}, 1},
		{" by name", map[string]value.Value{"name": value.String("")}, 1},
		{" by name", nil, 0},
		{" by ?name", nil, 1},
		{" by name, pid", map[string]value.Value{"name": value.String("a")}, 0},
		{" by name, ?pid", map[string]value.Value{"name": value.String("a")}, 1},
		{" by ?name, ?pid", nil, 1},
		{" by args", map[string]value.Value{"args": two}, 2},
		{" by args, groups", map[string]value.Value{"args": two, "groups": two}, 4},
		{" by args, groups", map[string]value.Value{"args": two}, 0},
		{" by args, ?groups", map[string]value.Value{"args": two}, 2},
		{" by args", map[string]value.Value{"args": value.Strings([]string{"a", "b", "a", "a"})}, 2},
		{" by ?nobody", nil, 1},
		{" by nobody", nil, 0},
		{" by pod", map[string]value.Value{"pod": value.Ref("web", "uid:1")}, 1},
		{" by pod", map[string]value.Value{"pod": value.Ref("", "uid:1")}, 1},
		{" by pod", map[string]value.Value{"pod": value.Ref("web", "")}, 0},
		{" by ?pod", map[string]value.Value{"pod": value.Ref("web", "")}, 0},
		{" by ?pod", nil, 1},
	} {
		keys, dropped := keysOf(t, tc.by, tc.values)
		if len(keys) != tc.want || dropped != 0 {
			t.Errorf("sequence%s of %v: %d keys, %d dropped; want %d", tc.by, tc.values, len(keys), dropped, tc.want)
		}
	}
}

func TestKeysAreAppended(t *testing.T) {
	s := mustCompile(t, "sequence by name with maxspan=1m [any where true] [any where true]").Stages()[0]
	keys, _ := s.Keys(schema().Event(map[string]value.Value{"name": value.String("a")}), []string{"before"})
	if len(keys) != 2 || keys[0] != "before" {
		t.Errorf("keys are %q", keys)
	}
}

// TestJoining: which values are the same key, and which are not.
func TestJoining(t *testing.T) {
	for _, tc := range []struct {
		a, b value.Value
		want bool
	}{
		{value.String("a"), value.String("a"), true},
		{value.String("a"), value.String("A"), false},
		{value.String("a"), value.Strings([]string{"x", "a"}), true},
		{value.String(""), value.Missing(), false},
		{value.Missing(), value.Missing(), true}, // of ?name
		{value.Int(5), value.Int(5), true},
		{value.Int(5), value.Float(5), true},
		{value.Int(0), value.Float(math.Copysign(0, -1)), true},
		{value.Int(5), value.Float(5.5), false},
		{value.Int(5), value.String("5"), false},
		{value.Bool(true), value.Bool(true), true},
		{value.Bool(true), value.Bool(false), false},
		{value.Bool(true), value.String("true"), false},
		{value.Ref("web", "uid:1"), value.Ref("other", "uid:1"), true},
		{value.Ref("web", "uid:1"), value.Ref("web", "uid:2"), false},
		{value.Ref("web", "uid:1"), value.String("uid:1"), false},
		{value.Ref("web", "uid:1"), value.String("web"), false},
		{value.Ref("web", ""), value.Ref("web", ""), false},
	} {
		a, _ := keysOf(t, " by ?name", map[string]value.Value{"name": tc.a})
		b, _ := keysOf(t, " by ?name", map[string]value.Value{"name": tc.b})
		got := slices.ContainsFunc(a, func(k string) bool { return slices.Contains(b, k) })
		if got != tc.want {
			t.Errorf("%s and %s join: %v, want %v", tc.a, tc.b, got, tc.want)
		}
	}
}

// TestKeysAreUnambiguous: no two different lists of values share a key.
func TestKeysAreUnambiguous(t *testing.T) {
	seen := map[string]string{}
	texts := []string{"", "a", "aa", "s", "\x01", "\x01a", "s\x01a", "n", "aas\x01a"}
	for _, x := range texts {
		for _, y := range texts {
			for _, pod := range []value.Value{value.Missing(), value.Ref("", "a"), value.Ref("", "s\x01a")} {
				keys, _ := keysOf(t, " by name, groups, ?pod", map[string]value.Value{
					"name": value.String(x), "groups": value.String(y), "pod": pod,
				})
				what := fmt.Sprintf("%q %q %s", x, y, pod)
				if before, again := seen[keys[0]]; again {
					t.Errorf("%s and %s share a key", before, what)
				}
				seen[keys[0]] = what
			}
		}
	}
}

// TestKeysAreBounded: what is left out is counted.
func TestKeysAreBounded(t *testing.T) {
	list := make([]string, 1000)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	for by, total := range map[string]int{" by args": 1000, " by args, groups": 1000 * 1000, " by args, groups, args, groups": math.MaxInt32} {
		keys, dropped := keysOf(t, by, map[string]value.Value{"args": value.Strings(list), "groups": value.Strings(list)})
		if len(keys) != program.MaxKeys || len(keys)+dropped != total {
			t.Errorf("sequence%s: %d keys and %d dropped, want %d together", by, len(keys), dropped, total)
		}
		slices.Sort(keys)
		if n := len(slices.Compact(keys)); n != program.MaxKeys {
			t.Errorf("sequence%s: only %d of the keys differ", by, n)
		}
	}
}
