package lucene

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxLength bounds one expression, in bytes.
	maxLength = 4096
	// maxDepth bounds how deep groups nest.
	maxDepth = 50
	// maxSize bounds how many characters and classes the expressions of one
	// operator have after their repetitions are written out: that is about the
	// size of the automaton that is kept in memory for them.
	maxSize = 5_000
	// maxRepeat is what Go's regexp package allows for {n,m}.
	maxRepeat = 1000
)

// Error says what is wrong with an expression, and where.
type Error struct {
	// Offset is the byte of the expression at which the fault was seen.
	Offset  int
	Message string
}

// Error returns message and offset.
func (e *Error) Error() string { return fmt.Sprintf("%s (at byte %d)", e.Message, e.Offset+1) }

// Size returns about how large the automaton of an expression is, in characters
// and classes after its repetitions are written out. The error is an *Error.
func Size(expr string) (int, error) {
	_, size, err := translate(expr, false)
	return size, err
}

// Compile returns an expression that matches what any of the given ones does,
// with fold ignoring case. The error is an *Error.
func Compile(exprs []string, fold bool) (*regexp.Regexp, error) {
	parts := make([]string, 0, len(exprs))
	total := 0
	for _, e := range exprs {
		t, size, err := translate(e, fold)
		if err != nil {
			return nil, err
		}
		if total += size; total > maxSize {
			return nil, &Error{Message: "expressions are too large together"}
		}
		parts = append(parts, t)
	}
	flags := "(?s)"
	if fold {
		flags = "(?si)"
	}
	re, err := regexp.Compile(flags + `\A(?:` + strings.Join(parts, "|") + `)\z`)
	if err != nil {
		return nil, &Error{Message: refusal(err)}
	}
	return re, nil
}

// refusal says why Go's regexp package refuses what was translated: since that
// is well-formed, it can only be its size.
func refusal(err error) string {
	var refused *syntax.Error
	if errors.As(err, &refused) {
		return fmt.Sprintf("expression is too large: %s", refused.Code)
	}
	return err.Error()
}

// Suspicious returns a sentence about an expression that is valid but hardly
// means what its author thinks, or "".
func Suspicious(expr string) string {
	switch {
	case strings.HasPrefix(expr, "^"):
		return "^ is an ordinary character: an expression always starts at the text's beginning"
	case strings.HasSuffix(expr, "$") && !strings.HasSuffix(expr, `\$`):
		return "$ is an ordinary character: an expression always ends at the text's end"
	default:
		return ""
	}
}

// translate writes one expression in Go's syntax, and returns its size.
func translate(expr string, fold bool) (text string, size int, err error) {
	if len(expr) > maxLength {
		return "", 0, &Error{Message: fmt.Sprintf("regular expression is longer than %d bytes", maxLength)}
	}
	if !utf8.ValidString(expr) {
		return "", 0, &Error{Message: "regular expression is not valid UTF-8"}
	}
	t := &translator{text: expr, fold: fold}
	t.union()
	if t.err == nil && t.at < len(t.text) {
		t.fail("unexpected )")
	}
	if t.err != nil {
		return "", 0, t.err
	}
	return t.out.String(), t.size, nil
}

type translator struct {
	text  string
	fold  bool
	at    int
	depth int
	size  int // see maxSize
	out   strings.Builder
	err   *Error
}

// fail keeps the first fault and ends the translation.
func (t *translator) fail(format string, args ...any) {
	if t.err == nil {
		t.err = &Error{Offset: t.at, Message: fmt.Sprintf(format, args...)}
	}
	t.at = len(t.text)
}

func (t *translator) more() bool { return t.at < len(t.text) }

// peek reports whether the next character is one of set.
func (t *translator) peek(set string) bool {
	return t.more() && strings.IndexByte(set, t.text[t.at]) >= 0
}

func (t *translator) accept(c byte) bool {
	if !t.more() || t.text[t.at] != c {
		return false
	}
	t.at++
	return true
}

func (t *translator) rune() rune {
	r, n := utf8.DecodeRuneInString(t.text[t.at:])
	t.at += n
	return r
}

// union = concatenation { "|" concatenation } .
func (t *translator) union() {
	t.concatenation()
	for t.accept('|') {
		t.out.WriteByte('|')
		t.concatenation()
	}
}

// concatenation = repeat { repeat } .
func (t *translator) concatenation() {
	if !t.more() || t.peek("|)") {
		if t.at == 0 && len(t.text) == 0 {
			return // the empty expression fits the empty text
		}
		if !t.more() && t.depth > 0 {
			t.fail("group ( is not closed")
		}
		t.fail("empty alternative; write () for an empty text")
		return
	}
	for t.more() && !t.peek("|)") {
		t.repeat()
	}
}

// repeat = atom { "?" | "*" | "+" | "{" number [ "," [ number ] ] "}" } .
func (t *translator) repeat() {
	before, sizeBefore := t.out.String(), t.size
	t.out.Reset()
	t.size++
	t.atom()
	for t.peek("?*+{") {
		operand := t.out.String()
		t.out.Reset()
		quantifier, times := t.quantifier()
		t.out.WriteString("(?:" + operand + ")" + quantifier)
		if t.size = sizeBefore + (t.size-sizeBefore)*times; t.size > maxSize {
			t.fail("expression is too large")
		}
	}
	after := t.out.String()
	t.out.Reset()
	t.out.WriteString(before + after)
}

// quantifier reads a repetition and returns it with how often its operand is
// written out for it.
func (t *translator) quantifier() (text string, times int) {
	c := t.text[t.at]
	t.at++
	if c != '{' {
		return string(c), 1
	}
	least, ok := t.count()
	if !ok {
		t.fail(`a number must follow {; write \{ for the sign itself`)
		return "", 1
	}
	most := least
	if t.accept(',') {
		most = -1
		if !t.peek("}") {
			if most, ok = t.count(); !ok {
				t.fail("a number or } must follow the comma in {…}")
				return "", 1
			}
		}
	}
	switch {
	case !t.accept('}'):
		t.fail("repetition {…} is not closed")
	case least > maxRepeat || most > maxRepeat:
		t.fail("more than %d repetitions", maxRepeat)
	case most >= 0 && most < least:
		t.fail("repetition {%d,%d} is out of order", least, most)
	case most < 0:
		return fmt.Sprintf("{%d,}", least), least + 1
	}
	return fmt.Sprintf("{%d,%d}", least, max(least, most)), max(1, most)
}

func (t *translator) count() (int, bool) {
	start := t.at
	for t.peek("0123456789") {
		t.at++
	}
	n, err := strconv.Atoi(t.text[start:t.at])
	if start < t.at && err != nil {
		return maxRepeat + 1, true
	}
	return n, err == nil
}

// atom = "[" class "]" | "(" [ union ] ")" | '"' text '"' | "." | "@" | "#" | escape | character .
func (t *translator) atom() {
	switch c := t.text[t.at]; c {
	case '[':
		t.class()
	case '(':
		t.group()
	case '"':
		t.literalText()
	case '.', '@', '#':
		t.at++
		t.out.WriteString(map[byte]string{'.': ".", '@': "(?:.*)", '#': `[^\x00-\x{10FFFF}]`}[c])
	case '\\':
		t.escape(false)
	case '?', '*', '+', '{':
		t.fail(`nothing to repeat before %c; write \%c for the sign itself`, c, c)
	case '~':
		t.fail(`complement (~) is not supported; write \~ for the sign itself, or use not`)
	case '&':
		t.fail(`intersection (&) is not supported; write \& for the sign itself, or use and`)
	case '<':
		t.fail(`numeric ranges (<…>) are not supported; write \< for the sign itself`)
	default:
		t.out.WriteString(regexp.QuoteMeta(string(t.rune())))
	}
}

func (t *translator) group() {
	t.at++
	if t.peek("?") {
		t.fail(`(?…) is not supported: there is no look-around and there are no flags; write \? for the sign itself`)
		return
	}
	if t.accept(')') {
		t.out.WriteString("(?:)")
		return
	}
	t.depth++
	if t.depth > maxDepth {
		t.fail("groups are nested too deep")
		return
	}
	t.out.WriteString("(?:")
	inner := translator{text: t.text, fold: t.fold, at: t.at, depth: t.depth, size: t.size}
	inner.union()
	t.depth--
	t.out.WriteString(inner.out.String() + ")")
	t.at, t.size = inner.at, inner.size
	if inner.err != nil {
		t.err = inner.err
		return
	}
	if !t.accept(')') {
		t.fail("group ( is not closed")
	}
}

func (t *translator) literalText() {
	t.at++
	end := strings.IndexByte(t.text[t.at:], '"')
	if end < 0 {
		t.fail(`literal text is not closed; write \" for the sign itself`)
		return
	}
	t.out.WriteString("(?:" + regexp.QuoteMeta(t.text[t.at:t.at+end]) + ")")
	t.size += end
	t.at += end + 1
}

// escape writes what follows a backslash.
func (t *translator) escape(inClass bool) {
	t.at++
	if !t.more() {
		t.fail(`nothing follows the last \`)
		return
	}
	r := t.rune()
	if class, ok := predefined(r, inClass, t.fold); ok {
		t.out.WriteString(class)
		return
	}
	switch {
	case r >= '0' && r <= '9':
		t.fail(`\%c: there are no back-references`, r)
	case r|0x20 >= 'a' && r|0x20 <= 'z':
		t.fail(`unknown class \%c; known are \d \D \s \S \w \W`, r)
	default:
		t.out.WriteString(classChar(r))
	}
}

// predefined returns a class of characters as it is written in and out of brackets.
func predefined(r rune, inClass, fold bool) (string, bool) {
	sets := map[rune]string{'d': `0-9`, 's': ` \t\n\r`, 'w': `0-9A-Za-z_`}
	lower := r | 0x20
	set, ok := sets[lower]
	switch {
	case !ok:
		return "", false
	case r == lower && inClass:
		return set, true
	case r == lower:
		return "[" + set + "]", true
	case inClass:
		return negated(lower, fold), true
	default:
		return "[^" + set + "]", true
	}
}

// negated writes a negated class by its ranges, since brackets do not nest. Where
// case is ignored, the long s and the Kelvin sign are s and k, and so no strangers
// to words.
func negated(lower rune, fold bool) string {
	switch {
	case lower == 'd':
		return `\x00-/:-\x{10FFFF}`
	case lower == 's':
		return `\x00-\x08\x0B\x0C\x0E-\x1F!-\x{10FFFF}`
	case fold:
		return `\x00-/:-@\[-\^` + "`" + `{-\x{17E}\x{180}-\x{2129}\x{212B}-\x{10FFFF}`
	default:
		return `\x00-/:-@\[-\^` + "`" + `{-\x{10FFFF}`
	}
}

// class = "[" [ "^" ] item { item } "]" with item = character [ "-" character ] .
func (t *translator) class() {
	t.at++
	t.out.WriteByte('[')
	if t.accept('^') {
		t.out.WriteByte('^')
	}
	if t.peek("]") {
		t.fail(`class [] is empty; write \] for the sign itself`)
		return
	}
	for t.more() && !t.peek("]") {
		t.classItem()
	}
	if !t.accept(']') {
		t.fail("class [ is not closed")
		return
	}
	t.out.WriteByte(']')
}

func (t *translator) classItem() {
	if t.peek(`\`) && t.at+1 < len(t.text) && strings.IndexByte("dDsSwW", t.text[t.at+1]) >= 0 {
		t.escape(true)
		return
	}
	low, ok := t.classRune()
	if !ok {
		return
	}
	t.out.WriteString(classChar(low))
	if !t.peek("-") || strings.HasPrefix(t.text[t.at:], "-]") {
		return
	}
	t.at++
	high, ok := t.classRune()
	if !ok {
		return
	}
	if high < low {
		t.fail("range %c-%c is out of order", low, high)
		return
	}
	t.out.WriteString("-" + classChar(high))
}

// classRune reads one character of a class, escaped or not.
func (t *translator) classRune() (rune, bool) {
	if t.accept('\\') {
		switch {
		case !t.more():
			t.fail(`nothing follows the last \`)
			return 0, false
		case t.text[t.at]|0x20 >= 'a' && t.text[t.at]|0x20 <= 'z':
			t.fail(`unknown class \%c; known are \d \D \s \S \w \W`, t.text[t.at])
			return 0, false
		}
	}
	if !t.more() {
		t.fail("class [ is not closed")
		return 0, false
	}
	return t.rune(), true
}

// classChar writes a character so that it is ordinary in and out of brackets.
func classChar(r rune) string {
	if r < utf8.RuneSelf && (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') {
		return fmt.Sprintf(`\x%02X`, r)
	}
	return string(r)
}
