package token

// Token is one word of a query.
type Token struct {
	Kind Kind
	Span Span
	// Text is the word's content: a string without its quotes and with its
	// escapes resolved, a name without backquotes or trailing ~, a number as
	// it was written. Empty for operators and keywords.
	Text string
}

// Kind says what a Token is.
type Kind uint8

// The kinds of tokens.
const (
	EOF     Kind = iota
	Invalid      // what no token starts with; it was reported by the lexer
	Ident        // process, @timestamp
	Quoted       // `a name in backquotes`
	Tilde        // startsWith~
	String       // "text", """text"""
	Integer      // 42
	Decimal      // 4.2, 1e9
	Comment      // "// …", "/* … */"; the parser does not see them

	Dot         // .
	Comma       // ,
	LeftParen   // (
	RightParen  // )
	LeftSquare  // [
	RightSquare // ]
	Missing     // ![
	Pipe        // |
	Question    // ?
	Assign      // =

	Equal        // ==
	NotEqual     // !=
	Less         // <
	LessEqual    // <=
	Greater      // >
	GreaterEqual // >=
	Colon        // :
	Plus         // +
	Minus        // -
	Star         // *
	Slash        // /
	Percent      // %

	And
	Any
	By
	False
	In
	InFold
	Join
	Like
	LikeFold
	MaxSpan
	Not
	Null
	Of
	Or
	Regex
	RegexFold
	Sample
	Sequence
	True
	Until
	Where
	With

	kinds // how many there are
)

// String returns the kind as a message names it.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown token"
	}
	return kindNames[k]
}

// IsKeyword reports whether the kind is a reserved word, such as where.
func (k Kind) IsKeyword() bool { return k >= And && k < kinds }

// Keyword returns the kind of a reserved word. Reserved words are lower case;
// any other spelling is an ordinary name.
func Keyword(word string) (Kind, bool) {
	for k := And; k < kinds; k++ {
		if kindNames[k] == word {
			return k, true
		}
	}
	return EOF, false
}

// kindNames is a table, never written to.
var kindNames = [kinds]string{
	EOF: "end of query", Invalid: "invalid character", Ident: "name", Quoted: "name in backquotes", Tilde: "function name with ~",
	String: "string", Integer: "number", Decimal: "number",
	Comment: "comment",

	Dot: ".", Comma: ",", LeftParen: "(", RightParen: ")", LeftSquare: "[", RightSquare: "]",
	Missing: "![", Pipe: "|", Question: "?", Assign: "=",

	Equal: "==", NotEqual: "!=", Less: "<", LessEqual: "<=", Greater: ">", GreaterEqual: ">=",
	Colon: ":", Plus: "+", Minus: "-", Star: "*", Slash: "/", Percent: "%",

	And: "and", Any: "any", By: "by", False: "false", In: "in", InFold: "in~", Join: "join",
	Like: "like", LikeFold: "like~", MaxSpan: "maxspan", Not: "not", Null: "null", Of: "of", Or: "or",
	Regex: "regex", RegexFold: "regex~", Sample: "sample", Sequence: "sequence", True: "true",
	Until: "until", Where: "where", With: "with",
}
