package parse

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// lexer cuts a text into tokens, one call of next at a time. It reports what
// cannot be a token, and returns it as what was probably meant or as Invalid.
type lexer struct {
	text   string
	at     int
	report func(span token.Span, message, hint string)
	// stop ends parsing: what follows something that was not closed is noise.
	stop func()
	// comment is told of each comment. Nil where nobody wants to know.
	comment func(span token.Span)
}

// next returns the next token; at the end of the text always EOF.
func (l *lexer) next() token.Token {
	l.skipSpace()
	if l.at >= len(l.text) {
		return token.Token{Kind: token.EOF, Span: l.from(l.at)}
	}
	return l.scan()
}

// unclosed reports a comment, string or name whose end is missing.
func (l *lexer) unclosed(start int, what, hint string) {
	l.report(l.from(start), what+" is not closed", hint)
	l.stop()
}

// from returns the span from start to where the lexer is.
func (l *lexer) from(start int) token.Span {
	return token.Span{Start: token.Pos(start), End: token.Pos(l.at)}
}

// peek returns the byte n ahead, 0 behind the end.
func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.text) {
		return l.text[l.at+n]
	}
	return 0
}

func (l *lexer) has(prefix string) bool { return strings.HasPrefix(l.text[l.at:], prefix) }

func (l *lexer) skipSpace() {
	for l.at < len(l.text) {
		start := l.at
		switch {
		case strings.IndexByte(" \t\r\n", l.text[l.at]) >= 0:
			l.at++
			continue
		case l.has("//"):
			l.skipLine()
		case l.has("/*"):
			l.skipComment()
		default:
			return
		}
		if l.comment != nil {
			l.comment(l.from(start))
		}
	}
}

// skipLine skips the rest of the line, but not its end.
func (l *lexer) skipLine() {
	if n := strings.IndexByte(l.text[l.at:], '\n'); n >= 0 {
		l.at += n
	} else {
		l.at = len(l.text)
	}
}

func (l *lexer) skipComment() {
	start := l.at
	if n := strings.Index(l.text[l.at+2:], "*/"); n >= 0 {
		l.at += 2 + n + 2
		return
	}
	l.at += 2
	l.unclosed(start, "comment", "end it with */")
}

// scan reads one token.
func (l *lexer) scan() token.Token {
	start, c := l.at, l.text[l.at]
	switch {
	case isLetter(c):
		return l.word()
	case isDigit(c), c == '.' && isDigit(l.peek(1)):
		return l.number()
	case c == '"':
		return l.str()
	case c == '`':
		return l.quoted()
	}
	if kind, n := operator(l.text[l.at:]); n > 0 {
		l.at += n
		return token.Token{Kind: kind, Span: l.from(start)}
	}
	for _, q := range []struct{ left, right string }{{"'", "'"}, {"“", "”"}, {"‘", "’"}} {
		if l.has(q.left) {
			return l.foreignString(q.left, q.right)
		}
	}
	return l.stranger()
}

func operator(s string) (token.Kind, int) {
	if len(s) >= 2 {
		switch s[:2] {
		case "==":
			return token.Equal, 2
		case "!=":
			return token.NotEqual, 2
		case "<=":
			return token.LessEqual, 2
		case ">=":
			return token.GreaterEqual, 2
		case "![":
			return token.Missing, 2
		case "||":
			return token.EOF, 0
		}
	}
	const signs = ".,()[]|?=<>:+-*/%"
	kinds := [len(signs)]token.Kind{
		token.Dot, token.Comma, token.LeftParen, token.RightParen, token.LeftSquare, token.RightSquare,
		token.Pipe, token.Question, token.Assign, token.Less, token.Greater, token.Colon,
		token.Plus, token.Minus, token.Star, token.Slash, token.Percent,
	}
	if i := strings.IndexByte(signs, s[0]); i >= 0 {
		return kinds[i], 1
	}
	return token.EOF, 0
}

// stranger reports what no token starts with. Signs of other languages whose
// meaning is clear are read as what they mean, so that one error is enough.
func (l *lexer) stranger() token.Token {
	start := l.at
	for _, s := range []struct {
		sign, hint string
		kind       token.Kind
	}{
		{"||", "write or", token.Or}, {"&&", "write and", token.And}, {"&", "write and", token.And},
		{"!", "write not, or ![ without a space for a missing event", token.Not},
		{"~", "~ follows a function's name or in, like, regex without a space", token.Invalid},
	} {
		if l.has(s.sign) {
			l.at += len(s.sign)
			l.report(l.from(start), fmt.Sprintf("unexpected %q", s.sign), s.hint)
			return token.Token{Kind: s.kind, Span: l.from(start)}
		}
	}
	r, n := utf8.DecodeRuneInString(l.text[l.at:])
	l.at += n
	hint := ""
	if unicode.IsLetter(r) {
		hint = "field names with other than ASCII letters need backquotes: `…`"
		rest := strings.IndexFunc(l.text[l.at:], func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if l.at += rest; rest < 0 {
			l.at = len(l.text)
		}
	}
	l.report(l.from(start), fmt.Sprintf("unexpected character %q", r), hint)
	return token.Token{Kind: token.Invalid, Span: l.from(start)}
}

func (l *lexer) word() token.Token {
	start := l.at
	l.at++
	for l.at < len(l.text) && (isLetter(l.text[l.at]) && l.text[l.at] != '@' || isDigit(l.text[l.at])) {
		l.at++
	}
	word := l.text[start:l.at]
	kind, reserved := token.Keyword(word)
	if !reserved {
		kind = token.Ident
	}
	if l.peek(0) == '~' {
		if folded, ok := foldKind(kind); ok {
			l.at++
			kind = folded
		}
	}
	t := token.Token{Kind: kind, Span: l.from(start)}
	if !kind.IsKeyword() {
		t.Text = word
	}
	return t
}

func foldKind(k token.Kind) (token.Kind, bool) {
	switch k {
	case token.Ident:
		return token.Tilde, true
	case token.In:
		return token.InFold, true
	case token.Like:
		return token.LikeFold, true
	case token.Regex:
		return token.RegexFold, true
	default:
		return k, false
	}
}

func (l *lexer) number() token.Token {
	start := l.at
	kind := token.Integer
	l.digits()
	if l.peek(0) == '.' {
		kind = token.Decimal
		l.at++
		l.digits()
	}
	if l.exponent() {
		kind = token.Decimal
	}
	return token.Token{Kind: kind, Span: l.from(start), Text: l.text[start:l.at]}
}

func (l *lexer) digits() {
	for isDigit(l.peek(0)) {
		l.at++
	}
}

// exponent reads e9, e+9 or e-9. An e without digits is left alone.
func (l *lexer) exponent() bool {
	if l.peek(0)|0x20 != 'e' {
		return false
	}
	n := 1
	if c := l.peek(1); c == '+' || c == '-' {
		n = 2
	}
	if !isDigit(l.peek(n)) {
		return false
	}
	l.at += n
	l.digits()
	return true
}

func (l *lexer) quoted() token.Token {
	start := l.at
	var name strings.Builder
	for l.at++; l.at < len(l.text) && l.text[l.at] != '\n'; l.at++ {
		if l.text[l.at] == '`' {
			if l.peek(1) != '`' {
				l.at++
				return token.Token{Kind: token.Quoted, Span: l.from(start), Text: name.String()}
			}
			l.at++
		}
		name.WriteByte(l.text[l.at])
	}
	l.unclosed(start, "field name", "end it with ` in the same line")
	return token.Token{Kind: token.Quoted, Span: l.from(start)}
}

// foreignString reads a string in quotes of another kind, after reporting it.
func (l *lexer) foreignString(left, right string) token.Token {
	start := l.at
	l.at += len(left)
	text := l.text[l.at:]
	if n := strings.IndexByte(text, '\n'); n >= 0 {
		text = text[:n]
	}
	text, _, closed := strings.Cut(text, right)
	l.at += len(text)
	if closed {
		l.at += len(right)
	}
	l.report(l.from(start), fmt.Sprintf("strings in %s…%s are not supported", left, right),
		"enclose it in double quotes: "+strconv.Quote(text))
	return token.Token{Kind: token.String, Span: l.from(start), Text: text}
}

func (l *lexer) str() token.Token {
	if l.has(`"""`) {
		return l.raw()
	}
	start := l.at
	var text strings.Builder
	for l.at++; l.at < len(l.text) && l.text[l.at] != '\n' && l.text[l.at] != '\r'; {
		switch c := l.text[l.at]; c {
		case '"':
			l.at++
			return token.Token{Kind: token.String, Span: l.from(start), Text: text.String()}
		case '\\':
			l.escape(&text)
		default:
			text.WriteByte(c)
			l.at++
		}
	}
	l.unclosed(start, "string", `end it with " in the same line`)
	return token.Token{Kind: token.String, Span: l.from(start)}
}

// raw reads a string in which nothing is an escape. Up to two quotes directly
// before the closing three belong to the text.
func (l *lexer) raw() token.Token {
	start := l.at
	l.at += 3
	line := l.text[l.at:]
	if n := strings.IndexAny(line, "\r\n"); n >= 0 {
		line = line[:n]
	}
	n := strings.Index(line, `"""`)
	if n < 0 {
		l.at += len(line)
		l.unclosed(start, "raw string", `end it with """ in the same line`)
		return token.Token{Kind: token.String, Span: l.from(start)}
	}
	for extra := 0; extra < 2 && strings.HasPrefix(line[n+3:], `"`); extra++ {
		n++
	}
	l.at += n + 3
	return token.Token{Kind: token.String, Span: l.from(start), Text: line[:n]}
}

// escape reads a backslash and what it stands for.
func (l *lexer) escape(out *strings.Builder) {
	start := l.at
	c := l.peek(1)
	if i := strings.IndexByte(`bfnrt"\`, c); i >= 0 && c != 0 {
		l.at += 2
		out.WriteByte("\b\f\n\r\t\"\\"[i])
		return
	}
	if c == 'u' && l.peek(2) == '{' {
		l.unicode(out)
		return
	}
	l.at++
	if l.at < len(l.text) && c != '\n' && c != '\r' {
		_, n := utf8.DecodeRuneInString(l.text[l.at:])
		l.at += n
	}
	l.report(l.from(start), "unknown escape "+l.text[start:l.at],
		`known are \b \f \n \r \t \" \\ and \u{…}; a raw string """…""" needs no escapes`)
}

// unicode reads \u{200f}, two to eight hexadecimal digits.
func (l *lexer) unicode(out *strings.Builder) {
	start := l.at
	l.at += len(`\u{`)
	digits := l.at
	for isHex(l.peek(0)) {
		l.at++
	}
	hex := l.text[digits:l.at]
	closed := l.peek(0) == '}'
	if closed {
		l.at++
	}
	code, err := strconv.ParseUint(hex, 16, 32)
	if !closed || err != nil || len(hex) < 2 || len(hex) > 8 || code > unicode.MaxRune || !utf8.ValidRune(rune(code)) {
		l.report(l.from(start), "not a character: "+l.text[start:l.at],
			`write \u{…} with 2 to 8 hexadecimal digits of a Unicode character`)
		return
	}
	out.WriteRune(rune(code))
}

func isLetter(c byte) bool { return c == '_' || c == '@' || c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
