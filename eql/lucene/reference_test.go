package lucene_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/portcullis-dev/portcullis/eql/lucene"
)

// This file is a slow and obvious implementation of Lucene's expressions, for what
// package lucene accepts: a matcher takes the places in a text that have been
// reached, and returns the places that it reaches from there.

// places says of each place in a text, and of its end, whether it is reached.
type places []bool

type matcher func(text []rune, from places) places

// obvious reports whether an expression fits a text.
func obvious(expr, text string, fold bool) bool {
	runes := []rune(text)
	start := make(places, len(runes)+1)
	start[0] = true
	p := &reader{rest: []rune(expr), fold: fold}
	return p.union()(runes, start)[len(runes)]
}

// reader reads expressions that are known to be right.
type reader struct {
	rest []rune
	fold bool
}

func (p *reader) is(c rune) bool { return len(p.rest) > 0 && p.rest[0] == c }

func (p *reader) next() rune {
	c := p.rest[0]
	p.rest = p.rest[1:]
	return c
}

func (p *reader) union() matcher {
	x := p.concatenation()
	for p.is('|') {
		p.next()
		a, b := x, p.concatenation()
		x = func(text []rune, from places) places { return either(a(text, from), b(text, from)) }
	}
	return x
}

func either(a, b places) places {
	out := slices.Clone(a)
	for i, reached := range b {
		out[i] = out[i] || reached
	}
	return out
}

func nothing(_ []rune, from places) places { return from }

func (p *reader) concatenation() matcher {
	x := matcher(nothing)
	for len(p.rest) > 0 && !p.is('|') && !p.is(')') {
		a, b := x, p.repeat()
		x = func(text []rune, from places) places { return b(text, a(text, from)) }
	}
	return x
}

func (p *reader) repeat() matcher {
	x := p.atom()
	for len(p.rest) > 0 && strings.ContainsRune("?*+{", p.rest[0]) {
		least, most := 0, -1
		switch p.next() {
		case '?':
			most = 1
		case '+':
			least = 1
		case '{':
			least, most = p.bounds()
		}
		x = repeated(x, least, most)
	}
	return x
}

func (p *reader) bounds() (least, most int) {
	end := slices.Index(p.rest, '}')
	text := string(p.rest[:end])
	p.rest = p.rest[end+1:]
	low, high, two := strings.Cut(text, ",")
	least, _ = strconv.Atoi(low)
	switch {
	case !two:
		return least, least
	case high == "":
		return least, -1
	}
	most, _ = strconv.Atoi(high)
	return least, most
}

func repeated(x matcher, least, most int) matcher {
	return func(text []rune, from places) places {
		for range least {
			from = x(text, from)
		}
		all := from
		for range most - least {
			from = x(text, from)
			all = either(all, from)
		}
		for most < 0 {
			more := either(all, x(text, all))
			if slices.Equal(more, all) {
				break
			}
			all = more
		}
		return all
	}
}

func one(ok func(rune) bool) matcher {
	return func(text []rune, from places) places {
		out := make(places, len(from))
		for i, c := range text {
			out[i+1] = from[i] && ok(c)
		}
		return out
	}
}

func (p *reader) atom() matcher {
	switch c := p.next(); c {
	case '(':
		x := p.union()
		p.next()
		return x
	case '.':
		return one(func(rune) bool { return true })
	case '@':
		return repeated(one(func(rune) bool { return true }), 0, -1)
	case '#':
		return one(func(rune) bool { return false })
	case '"':
		x := matcher(nothing)
		for !p.is('"') {
			a, b := x, one(p.same(p.next()))
			x = func(text []rune, from places) places { return b(text, a(text, from)) }
		}
		p.next()
		return x
	case '[':
		return one(p.class())
	case '\\':
		return one(p.escaped())
	default:
		return one(p.same(c))
	}
}

// same returns what a character equals, but for case if that is ignored.
func (p *reader) same(c rune) func(rune) bool { return p.folded(func(x rune) bool { return x == c }) }

// folded makes a positive test ignore case, if that is ignored.
func (p *reader) folded(test func(rune) bool) func(rune) bool {
	if !p.fold {
		return test
	}
	return func(c rune) bool {
		for x := unicode.SimpleFold(c); ; x = unicode.SimpleFold(x) {
			if test(x) {
				return true
			}
			if x == c {
				return false
			}
		}
	}
}

func not(test func(rune) bool) func(rune) bool { return func(c rune) bool { return !test(c) } }

// escaped reads what follows a backslash.
func (p *reader) escaped() func(rune) bool {
	digit := func(c rune) bool { return c >= '0' && c <= '9' }
	space := func(c rune) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
	word := func(c rune) bool { return digit(c) || c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
	switch c := p.next(); c {
	case 'd':
		return digit
	case 'D':
		return not(digit)
	case 's':
		return space
	case 'S':
		return not(space)
	case 'w':
		return p.folded(word)
	case 'W':
		return not(p.folded(word))
	default:
		return p.same(c)
	}
}

func (p *reader) class() func(rune) bool {
	negated := p.is('^')
	if negated {
		p.next()
	}
	var items []func(rune) bool
	for !p.is(']') {
		items = append(items, p.item())
	}
	p.next()
	return func(c rune) bool {
		return slices.ContainsFunc(items, func(item func(rune) bool) bool { return item(c) }) != negated
	}
}

func (p *reader) item() func(rune) bool {
	if p.is('\\') && strings.ContainsRune("dDsSwW", p.rest[1]) {
		p.next()
		return p.escaped()
	}
	low := p.char()
	if !p.is('-') || p.rest[1] == ']' {
		return p.same(low)
	}
	p.next()
	high := p.char()
	return p.folded(func(c rune) bool { return c >= low && c <= high })
}

func (p *reader) char() rune {
	if p.is('\\') {
		p.next()
	}
	return p.next()
}

// compare compares the two implementations.
func compare(t testing.TB, expr, text string) (matched, compared bool) {
	t.Helper()
	for _, fold := range []bool{false, true} {
		re, err := lucene.Compile([]string{expr}, fold)
		if err != nil {
			return false, false
		}
		want := obvious(expr, text, fold)
		if got := re.MatchString(text); got != want {
			t.Fatalf("%q, fold %v, of %q: %v, want %v (translated to %s)", expr, fold, text, got, want, re)
		}
		matched = matched || want
	}
	return matched, true
}

// TestAgainstObvious compares random expressions with the obvious implementation.
func TestAgainstObvious(t *testing.T) {
	matched, compared := 0, 0
	for seed := range uint64(2_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		m, ok := compare(t, randomExpr(r, 3), randomText(r))
		if m {
			matched++
		}
		if ok {
			compared++
		}
	}
	if matched < 200 || compared < 1_500 {
		t.Errorf("only %d comparisons and %d matches", compared, matched)
	}
}

func pick(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteString(pick(r, "a", "b", "A", "k", "\u212a", "s", "\u017f", "ä", "Ä", "1", " ", "\n", "_", "-", "]", "\xff", "☃"))
	}
	return b.String()
}

func randomExpr(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(4) == 0 {
		return pick(r, "a", "b", "A", "K", "s", "ä", ".", "1", "_", `\d`, `\D`, `\s`, `\S`, `\w`, `\W`, `\.`, `\\`, `"a.b"`, `""`, "@", "#", "()",
			"[a-c]", "[^a-c]", `[\d_]`, `[^\w]`, `[\W]`, `[\Sa]`, `[\D]`, "[-a]", "[a-]", `[\]]`, "[ä-ü]", "[^ä]", "[A-Z]", "[k]", "^", "$", "-")
	}
	x, y := randomExpr(r, depth-1), randomExpr(r, depth-1)
	switch r.IntN(5) {
	case 0:
		return x + "|" + y
	case 1:
		return "(" + x + ")" + pick(r, "", "?", "*", "+", "{2}", "{1,2}", "{0,1}", "{1,}", "+?", "{2}?")
	case 2:
		return x + pick(r, "?", "*", "+")
	default:
		return x + y
	}
}

// FuzzMatch compares with the obvious implementation.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"a|b", "a"}, {"(a+b)?[^x-z]{2,3}", "aab12"}, {`\d"x"@#?`, "1x"}, {`[\W\d]+`, "_1 "}, {"k*ſ", "KS"}, {`/bin/(ba)?sh`, "/bin/sh"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		if len(expr) > 60 || len(text) > 40 {
			return // the obvious implementation is slow
		}
		digits, repetitions := 0, 0
		for _, c := range expr {
			if digits++; c < '0' || c > '9' {
				digits = 0
			}
			if strings.ContainsRune("?*+{@", c) {
				repetitions++
			}
			if digits > 1 || repetitions > 6 {
				return // it takes time exponential in them
			}
		}
		compare(t, expr, text)
	})
}
