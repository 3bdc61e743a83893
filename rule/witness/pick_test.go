package witness

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// random makes patterns and expressions of few letters, so that they get in each
// other's way.
type random struct{ *rand.Rand }

func (r random) pattern() string {
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteByte("ab*?*"[r.IntN(5)])
	}
	return b.String()
}

func (r random) expression(depth int) string {
	if depth == 0 || r.IntN(3) == 0 {
		return []string{"a", "b", ".", "[ab]", "[^a]"}[r.IntN(5)]
	}
	x, y := r.expression(depth-1), r.expression(depth-1)
	return []string{x + y, "(?:" + x + "|" + y + ")", "(?:" + x + ")*", "(?:" + x + ")?", "(?:" + x + "){2}"}[r.IntN(5)]
}

func (r random) test(t *testing.T) (*textTest, string) {
	t.Helper()
	if r.IntN(2) == 0 {
		list := []string{r.pattern(), r.pattern()}[:1+r.IntN(2)]
		fold := r.IntN(2) == 0
		made, err := newLike(list, fold, whole)
		if err != nil {
			t.Fatal(err)
		}
		return made, "like " + strings.Join(list, ", ")
	}
	expr := opening(r.IntN(2) == 0) + r.expression(3) + ending
	made, err := compiledRegex(expr, whole)
	if err != nil {
		t.Fatal(err)
	}
	return made.(*textTest), expr
}

// TestFindTextAgainstTryingAll: what is found fits, and if nothing is found, no
// short text does.
func TestFindTextAgainstTryingAll(t *testing.T) {
	t.Parallel()
	const longest, cases = 4, 600
	texts := []string{""}
	for from, n := 0, 0; n < longest; n++ {
		end := len(texts)
		for _, text := range texts[from:end] {
			texts = append(texts, text+"a", text+"b", text+"B", text+"c")
		}
		from = end
	}
	r := random{rand.New(rand.NewPCG(1, 2))}
	found := 0
	for range cases {
		var must, mustNot []*textTest
		var names []string
		for i := range 1 + r.IntN(4) {
			made, name := r.test(t)
			if i < 2 && r.IntN(4) > 0 {
				must, names = append(must, made), append(names, name)
			} else {
				mustNot, names = append(mustNot, made), append(names, "not "+name)
			}
		}
		fits := func(text string) bool {
			for _, m := range must {
				if !m.matcher.Match(text) {
					return false
				}
			}
			for _, m := range mustNot {
				if m.matcher.Match(text) {
					return false
				}
			}
			return true
		}
		machinesOf := func(list []*textTest) (out []machine) {
			for _, m := range list {
				out = append(out, m.machine)
			}
			return out
		}
		work := maxWork
		got, ok := findText(machinesOf(must), machinesOf(mustNot), &work)
		switch {
		case ok && !fits(got):
			t.Fatalf("%q does not fit %q", got, names)
		case ok:
			found++
		default:
			for _, text := range texts {
				if fits(text) {
					t.Fatalf("nothing found, but %q fits %q", text, names)
				}
			}
		}
	}
	if found < cases/4 || found > cases*19/20 {
		t.Errorf("%d of %d have a text: the cases are too easy or too hard", found, cases)
	}
}

// TestPartsOfPaths: a machine for a part accepts the paths whose part fits.
func TestPartsOfPaths(t *testing.T) {
	t.Parallel()
	re := regexp.MustCompile(regardingCase + `[ab]+\.?b?` + ending)
	paths := []string{""}
	for from, n := 0, 0; n < 6; n++ {
		end := len(paths)
		for _, p := range paths[from:end] {
			paths = append(paths, p+"a", p+"b", p+"/", p+".")
		}
		from = end
	}
	for _, part := range []Part{Directory, Base, Extension} {
		made, err := newRegex(re, part)
		if err != nil {
			t.Fatal(err)
		}
		accepted := 0
		for _, p := range paths {
			state := made.machine.start()
			for _, r := range p {
				state = made.machine.step(state, r)
			}
			text, ok := part.of(p)
			if want := ok && re.MatchString(text); made.machine.accepts(state) != want {
				t.Fatalf("part %d of %q is %q: accepted %v", part, p, text, !want)
			} else if want {
				accepted++
			}
		}
		if accepted == 0 {
			t.Errorf("part %d: no path fits", part)
		}
	}
}
