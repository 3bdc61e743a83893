package pattern

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// obvious is a second implementation of wildcards, slow and plain: characters
// as strings, and every way to spend a star tried out.
func obvious(pattern, text []string, fold bool) bool {
	if len(pattern) == 0 {
		return len(text) == 0
	}
	if pattern[0] == "*" {
		for i := 0; i <= len(text); i++ {
			if obvious(pattern[1:], text[i:], fold) {
				return true
			}
		}
		return false
	}
	if len(text) == 0 || pattern[0] != "?" && !obviousSame(pattern[0], text[0], fold) {
		return false
	}
	return obvious(pattern[1:], text[1:], fold)
}

// obviousSame goes through all characters that fold to a.
func obviousSame(a, b string, fold bool) bool {
	r, n := utf8.DecodeRuneInString(a)
	if a == b || !fold || r == utf8.RuneError && n == 1 {
		return a == b
	}
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if string(f) == b {
			return true
		}
	}
	return false
}

func split(s string) []string {
	var out []string
	for s != "" {
		_, n := utf8.DecodeRuneInString(s)
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

// alphabet is small, so that random texts and patterns meet, and has the
// characters that go wrong: of several lengths, folding to other lengths, and
// bytes that are no characters.
func alphabet() []string {
	return []string{"a", "b", "A", "B", "k", "K", "\u212A", "s", "ſ", "ä", "Ä", "Ⱥ", "ⱥ", "ß", "語", "\xff", "\xe2", "\x84"}
}

func random(r *rand.Rand, most int, letters []string) string {
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteString(letters[r.IntN(len(letters))])
	}
	return b.String()
}

// TestLikeAgainstObvious compares 40,000 random matches, most with a text that
// was made to fit or nearly so.
func TestLikeAgainstObvious(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	letters := alphabet()
	wild := append([]string{"*", "*", "*", "?", "?"}, letters[:12]...)
	matched := 0
	for range 40_000 {
		pattern := random(r, 7, wild)
		text := random(r, 8, letters[:len(letters)-r.IntN(10)])
		if r.IntN(2) == 0 {
			text = fitting(r, pattern, letters)
		}
		fold := r.IntN(2) == 0
		want := obvious(split(pattern), split(text), fold)
		if got := Like([]string{pattern}, fold).Match(text); got != want {
			t.Fatalf("Like(%q, fold %v) of %q is %v, want %v", pattern, fold, text, got, want)
		}
		if want {
			matched++
		}
	}
	if matched < 4_000 {
		t.Errorf("only %d of the cases match: they test little", matched)
	}
}

// fitting replaces the wildcards of a pattern.
func fitting(r *rand.Rand, pattern string, letters []string) string {
	var b strings.Builder
	for _, c := range split(pattern) {
		switch c {
		case "*":
			b.WriteString(random(r, 3, letters))
		case "?":
			b.WriteString(letters[r.IntN(len(letters))])
		default:
			b.WriteString(c)
		}
	}
	return b.String()
}

// TestLists: a list matches what one of its patterns does.
func TestLists(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	letters := alphabet()
	wild := append([]string{"*", "?"}, letters...)
	for range 10_000 {
		fold := r.IntN(2) == 0
		patterns, texts := make([]string, 1+r.IntN(8)), make([]string, 1+r.IntN(8))
		for i := range patterns {
			patterns[i] = random(r, 4, wild)
		}
		for i := range texts {
			texts[i] = random(r, 2, letters)
		}
		candidate := random(r, 4, letters)
		like, set := false, false
		for _, p := range patterns {
			like = like || Like([]string{p}, fold).Match(candidate)
		}
		for _, x := range texts {
			set = set || Equal(candidate, x, fold)
		}
		if got := Like(patterns, fold).Match(candidate); got != like {
			t.Fatalf("Like(%q, fold %v) of %q is %v, want %v", patterns, fold, candidate, got, like)
		}
		if got := Set(texts, fold).Match(candidate); got != set {
			t.Fatalf("Set(%q, fold %v) of %q is %v, want %v", texts, fold, candidate, got, set)
		}
	}
}

// TestSearchAgainstObvious compares the searches with trying every place.
func TestSearchAgainstObvious(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	letters := alphabet()[:15] // bytes that are no characters have no places of their own
	for range 10_000 {
		text, part, fold := random(r, 8, letters), random(r, 3, letters), r.IntN(2) == 0
		chars, want := split(text), split(part)
		first, last, at := -1, -1, 0
		for i := 0; i <= len(chars); i++ {
			if i+len(want) <= len(chars) && obvious(want, chars[i:i+len(want)], fold) {
				if last = at; first < 0 {
					first = at
				}
			}
			if i < len(chars) {
				at += len(chars[i])
			}
		}
		start, end := Index(text, part, fold)
		if start != first || LastIndex(text, part, fold) != last {
			t.Fatalf("Index(%q, %q, %v) is %d, want %d; LastIndex is %d, want %d",
				text, part, fold, start, first, LastIndex(text, part, fold), last)
		}
		if start >= 0 && !Equal(text[start:end], part, fold) {
			t.Fatalf("Index(%q, %q, %v) ends at %d", text, part, fold, end)
		}
		if got := HasPrefix(text, part, fold); got != (first == 0) {
			t.Fatalf("HasPrefix(%q, %q, %v) is %v", text, part, fold, got)
		}
		if got, want := HasSuffix(text, part, fold), obvious(append([]string{"*"}, want...), chars, fold); got != want {
			t.Fatalf("HasSuffix(%q, %q, %v) is %v", text, part, fold, got)
		}
	}
}

// TestParts compares the automaton with looking for one part after the other.
func TestParts(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	letters := []string{"a", "b", "c", "ä", "\xff"}
	for range 10_000 {
		parts := make([]string, automatonFrom+r.IntN(10))
		for i := range parts {
			parts[i] = letters[r.IntN(len(letters))] + letters[r.IntN(len(letters))] + random(r, 4, letters)
		}
		made := newParts(parts)
		if len(made) != 1 {
			t.Fatalf("no automaton of %q", parts)
		}
		a := made[0]
		text, want := random(r, 12, letters), false
		for _, p := range parts {
			want = want || strings.Contains(text, p)
		}
		if got := a.Match(text); got != want {
			t.Fatalf("automaton of %q for %q: %v, want %v", parts, text, got, want)
		}
	}
}

// TestTooManyParts: lists too large for a table still match.
func TestTooManyParts(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	parts := make([]string, 2000)
	for i := range parts {
		parts[i] = "*" + random(r, 30, alphabet()) + "needle" + random(r, 30, []string{"x", "y", "z", "0", "1"}) + "*"
	}
	if m := Like(parts, false); !m.Match("__"+strings.Trim(parts[777], "*")+"__") || m.Match("needl") {
		t.Error("a long list does not match what it should")
	}
}

// TestScanner compares one pass for many lists with each list alone.
func TestScanner(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	letters := alphabet()
	wild := append([]string{"*", "*", "?"}, letters[:15]...)
	found := 0
	for range 4_000 {
		lists := make([]List, 1+r.IntN(6))
		for i := range lists {
			lists[i].Fold = r.IntN(2) == 0
			for range 1 + r.IntN(4) {
				lists[i].Patterns = append(lists[i].Patterns, random(r, 12, wild))
			}
		}
		pass := NewScanner(lists).NewPass()
		for range 5 {
			text := random(r, 15, letters)
			if r.IntN(3) > 0 {
				list := lists[r.IntN(len(lists))]
				text = fitting(r, list.Patterns[r.IntN(len(list.Patterns))], letters)
			}
			got := pass.Scan(text, nil)
			for i, list := range lists {
				want := Like(list.Patterns, list.Fold).Match(text)
				if slices.Contains(got, int32(i)) != want {
					t.Fatalf("%q, fold %v, of %q: %v, want %v", list.Patterns, list.Fold, text, !want, want)
				}
				if want {
					found++
				}
			}
		}
	}
	if found < 8_000 {
		t.Errorf("only %d matches: the test tests little", found)
	}
}

// TestScannerOfManyPatterns has beginnings and parts of all lengths.
func TestScannerOfManyPatterns(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	letters := strings.Split("abcdefghijklmnopqrstuvwxyz0123456789-/", "")
	patterns := make([]string, 10_000)
	for i := range patterns {
		text := random(r, 40, letters) + letters[r.IntN(len(letters))]
		patterns[i] = []string{text, text + "*", "*" + text + "*", "*" + text, text + "*" + random(r, 10, letters)}[r.IntN(5)]
	}
	lists := make([]List, len(patterns))
	for i := range lists {
		lists[i] = List{patterns[i : i+1], i%3 == 0}
	}
	pass := NewScanner(lists).NewPass()
	for i := range patterns {
		text := fitting(r, patterns[i], letters)
		if lists[i].Fold {
			text = strings.ToUpper(text)
		}
		if !slices.Contains(pass.Scan(text, nil), int32(i)) {
			t.Fatalf("%q is not found to fit %q", text, patterns[i])
		}
	}
}

// TestPassRepeatsNothing: what one text has must not show up in the next.
func TestPassRepeatsNothing(t *testing.T) {
	pass := NewScanner([]List{{Patterns: []string{"*needle*"}}, {Patterns: []string{"*"}}}).NewPass()
	for range 3 {
		if got := pass.Scan("a needle, a needle", nil); !slices.Contains(got, 0) || len(got) != 2 {
			t.Errorf("found %v", got)
		}
		if got := pass.Scan("nothing", nil); slices.Contains(got, 0) || len(got) != 1 {
			t.Errorf("found %v", got)
		}
	}
}

// TestFoldedSetOfLongTexts: a length alone can decide, but not too early.
func TestFoldedSetOfLongTexts(t *testing.T) {
	long := strings.Repeat("Ab", 200)
	s := Set([]string{long, "x"}, true)
	for text, want := range map[string]bool{
		strings.ToLower(long): true, long: true, "X": true, long + "a": false, long[1:]: false,
		strings.Repeat("x", 5000): false,
	} {
		if got := s.Match(text); got != want {
			t.Errorf("%.20s… of %d bytes: %v, want %v", text, len(text), got, want)
		}
	}
}

// TestShapes: each shape of pattern gets its own matcher.
func TestShapes(t *testing.T) {
	for p, want := range map[string]Matcher{
		"abc": exact("abc"), "*": anything{}, "**": anything{}, "abc*": prefix("abc"), "abc**": prefix("abc"),
		"*abc": suffix("abc"), "*abc*": contains("abc"), "": exact(""),
	} {
		if got := Like([]string{p}, false); got != want {
			t.Errorf("%q gets %#v, want %#v", p, got, want)
		}
	}
	for _, p := range []string{"a*b", "a?b", "?", "?*", "*a*b*", "a*?"} {
		if _, ok := Like([]string{p}, false).(glob); !ok {
			t.Errorf("%q gets no glob", p)
		}
	}
	if got := Like([]string{"x", "*", "y"}, true); got != (anything{}) {
		t.Errorf("a list with * gets %#v", got)
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets at random")
	}
	text := "/USR/local/bin/ünïcode-ſomething"
	for name, m := range map[string]Matcher{
		"set":        Set([]string{"a", "b", "c", "d", "e", "f"}, false),
		"folded set": Set([]string{"a", "/usr/local/bin/ünïcode-somethinG", "c"}, true),
		"like":       Like([]string{"a", "*x", "b*", "*zz*", "*a?c*d"}, false),
		"like~":      Like([]string{"a", "*x", "b*", "*zz*", "*a?c*d"}, true),
	} {
		if n := testing.AllocsPerRun(100, func() { m.Match(text) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzScan compares a pass with each list alone.
func FuzzScan(f *testing.F) {
	for _, seed := range [][3]string{{"*curl*", "-o*", "xcurl -O"}, {"/usr/bin/*", "*kkkk*", "/USR/bin/\u212Akkk"}, {"*abcd?*", "?bcd*", "abcde\xff"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, first, second, text string) {
		if !utf8.ValidString(first) || !utf8.ValidString(second) {
			return // the parser lets no such pattern through
		}
		lists := []List{{Patterns: []string{first, second}}, {Patterns: []string{second}, Fold: true}, {Patterns: []string{first}, Fold: true}}
		got := NewScanner(lists).NewPass().Scan(text, nil)
		for i, list := range lists {
			if want := Like(list.Patterns, list.Fold).Match(text); slices.Contains(got, int32(i)) != want {
				t.Errorf("%q, fold %v, of %q: %v, want %v", list.Patterns, list.Fold, text, !want, want)
			}
		}
	})
}

// FuzzLike compares with the obvious implementation.
func FuzzLike(f *testing.F) {
	for _, seed := range [][2]string{{"a*b", "aab"}, {"?*", "ä"}, {"*k*s*", "\u212Aſ"}, {"**??", "\xffx"}, {"*ab*ab", "abab"}} {
		f.Add(seed[0], seed[1], true)
	}
	f.Fuzz(func(t *testing.T, pattern, text string, fold bool) {
		if strings.Count(pattern, "*") > 4 || len(pattern) > 20 || len(text) > 40 {
			return // the obvious implementation takes exponential time
		}
		if !utf8.ValidString(pattern) {
			return // the parser lets no such pattern through
		}
		want := obvious(split(pattern), split(text), fold)
		if got := Like([]string{pattern}, fold).Match(text); got != want {
			t.Errorf("Like(%q, fold %v) of %q is %v, want %v", pattern, fold, text, got, want)
		}
	})
}

// BenchmarkScan looks through a long text for none of many patterns.
func BenchmarkScan(b *testing.B) {
	r := rand.New(rand.NewPCG(15, 16))
	letters := strings.Split("abcdefghijklmnopqrstuvwxyz", "")
	text := "java -XX:+UseG1GC -XX:MaxRAMPercentage=75.0 -Dfile.encoding=UTF-8 -javaagent:/otel/agent.jar -jar /app/service.jar"
	for _, n := range []int{10, 400, 6000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			lists := make([]List, n)
			for i := range lists {
				lists[i] = List{Patterns: []string{"*" + random(r, 4, letters) + random(r, 4, letters) + "-x" + random(r, 4, letters) + "yz*"}, Fold: i%2 == 0}
			}
			pass := NewScanner(lists).NewPass()
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var found []int32
			for b.Loop() {
				found = pass.Scan(text, found[:0])
			}
		})
	}
}

func BenchmarkLike(b *testing.B) {
	text := "/usr/local/lib/python3.12/site-packages/requests/__init__.py"
	for name, patterns := range map[string][]string{
		"exact":    {"/usr/bin/python3"},
		"prefix":   {"/usr/local/*"},
		"contains": {"*site-packages*"},
		"glob":     {"/usr/*/site-packages/*/__init__.??"},
		"list":     {"*curl*", "*wget*", "/tmp/*", "*.sh", "*nc -e*", "*base64*", "/dev/shm/*", "*/etc/shadow*"},
	} {
		for _, fold := range []bool{false, true} {
			b.Run(name+map[bool]string{true: "~"}[fold], func(b *testing.B) {
				m := Like(patterns, fold)
				b.ReportAllocs()
				for b.Loop() {
					m.Match(text)
				}
			})
		}
	}
}
