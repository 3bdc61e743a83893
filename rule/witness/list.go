package witness

import (
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// A list such as process.args has to answer for itself, for the text that its
// values make together (process.command_line), and for their number.

// maxPadding is how many values are added to a list to make it long enough.
const maxPadding = 32

// derivedCell returns what is asked of a field that follows from a list.
func (s *solver) derivedCell(st *state, name string) *cell {
	c := *s.cell(st, name)
	c.derived, c.values = true, nil
	return &c
}

// list finds values for a list of which more is asked now. It returns nil if it
// finds none.
func (s *solver) list(st *state, name string) *state {
	joinedName, countedName := s.shape.derived(name)
	l := listCells{list: s.cell(st, name), joined: st.cells[joinedName], counted: st.cells[countedName]}
	if !l.list.answers() {
		if l.list = l.list.answered(); l.list == nil {
			return nil
		}
	}
	needed := l.needed()
	if c := l.firstFitting(l.list.values, needed); c != nil {
		return st.set(c)
	}
	if l.joined != nil && len(l.joined.must) > 0 {
		if c := l.firstFitting(l.rejoined(needed)...); c != nil {
			return st.set(c)
		}
	}
	return nil
}

// listCells are a list and what follows from it; those are nil where nothing is asked of them.
type listCells struct{ list, joined, counted *cell }

// fits reports whether values answer for all three.
func (l listCells) fits(values []value.Value) bool {
	text, count := *l.list, value.Int(int64(len(values)))
	text.values = values
	if !text.answers() {
		return false
	}
	if l.joined != nil {
		joined := *l.joined
		joined.values = nil
		if t := strings.Join(textsOf(values), " "); t != "" {
			joined.values = []value.Value{value.String(t)}
		}
		if !joined.answers() {
			return false
		}
	}
	if l.counted == nil {
		return true
	}
	counted := *l.counted
	counted.values = []value.Value{count}
	return counted.answers()
}

func (l listCells) firstFitting(variants ...[]value.Value) *cell {
	for _, values := range variants {
		if c := l.fitting(values); c != nil {
			return c
		}
	}
	return nil
}

// fitting returns the list with the values, and as many more as are needed for
// their number to be right.
func (l listCells) fitting(values []value.Value) *cell {
	filler := *l.list
	filler.must = nil
	more, ok := filler.pick([]test{anything{}})
	for range maxPadding {
		if l.fits(values) {
			c := *l.list
			c.values = values
			return &c
		}
		if l.counted == nil || !ok {
			return nil
		}
		values = append(slices.Clone(values), more)
	}
	return nil
}

// rejoined are lists that make a text which answers, with every value that is
// needed as a word in it.
func (l listCells) rejoined(needed []value.Value) [][]value.Value {
	pick := *l.joined
	must := slices.Clone(pick.must)
	for _, v := range needed {
		word, err := compiledRegex(regardingCase+"(?:.* )?"+quote(v.Text())+"(?: .*)?"+ending, whole)
		if err != nil {
			return nil
		}
		must = append(must, word)
	}
	v, ok := pick.pick(must)
	if !ok {
		return nil
	}
	return [][]value.Value{cut(v.Text(), textsOf(needed)), words(v.Text())}
}

// needed are the values without which the list itself would not answer.
func (l listCells) needed() []value.Value {
	c := *l.list
	c.values = slices.Clone(c.values)
	for i := len(c.values) - 1; i >= 0; i-- {
		fewer := c
		fewer.values = slices.Delete(slices.Clone(c.values), i, i+1)
		if fewer.answers() {
			c = fewer
		}
	}
	return c.values
}

func words(text string) []value.Value { return stringValues(strings.Split(text, " ")) }

// cut cuts a text at the words that are values of their own; what is between
// two of them is one value.
func cut(text string, whole []string) []value.Value {
	var out []string
	rest := ""
	flush := func() {
		if rest != "" {
			out = append(out, strings.TrimSuffix(rest, " "))
		}
		rest = ""
	}
	for text != "" {
		word := leading(text, whole)
		if word == "" || rest != "" && !strings.HasSuffix(rest, " ") {
			rest, text = rest+text[:1], text[1:]
			continue
		}
		flush()
		out = append(out, word)
		text = strings.TrimPrefix(text[len(word):], " ")
	}
	flush()
	return stringValues(out)
}

// leading returns the longest word that a text begins with, as a word.
func leading(text string, words []string) string {
	longest := ""
	for _, w := range words {
		if len(w) > len(longest) && (text == w || strings.HasPrefix(text, w+" ")) {
			longest = w
		}
	}
	return longest
}

func stringValues(texts []string) []value.Value {
	out := make([]value.Value, 0, len(texts))
	for _, t := range texts {
		out = append(out, value.String(t))
	}
	return out
}
