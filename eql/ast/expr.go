package ast

// Expr is an expression: *Literal, *Field, *Unary, *Logical, *Compare, *Arith,
// *In, *Match, *Call or *Lineage.
type Expr interface {
	Node
	expr()
}

// LiteralKind says what a Literal is.
type LiteralKind uint8

// The kinds of literals.
const (
	Null LiteralKind = iota
	Bool
	Int
	Float
	Text
)

// Literal is a value that stands in the query.
type Literal struct {
	Place
	Kind  LiteralKind
	Bool  bool
	Int   int64
	Float float64
	Text  string
}

// Field is a field of the event, or of an event's key.
type Field struct {
	Place
	// Name is the whole dotted name, without backquotes.
	Name string
	// Optional says that it was written ?name: no error if no such field is known.
	Optional bool
}

// UnaryOp is an operator with one operand.
type UnaryOp uint8

// The operators with one operand.
const (
	Not UnaryOp = iota
	Negative
	Positive
)

// Unary is not X, -X or +X.
type Unary struct {
	Place
	Op UnaryOp
	X  Expr
}

// LogicalOp is and or or.
type LogicalOp uint8

// The operators that join conditions.
const (
	And LogicalOp = iota
	Or
)

// Logical is two or more conditions joined by one operator.
type Logical struct {
	Place
	Op LogicalOp
	X  []Expr
}

// CompareOp is an operator that compares.
type CompareOp uint8

// The operators that compare.
const (
	Equal CompareOp = iota
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
)

// Compare is X == Y and the like.
type Compare struct {
	Place
	Op   CompareOp
	X, Y Expr
}

// ArithOp is an operator that computes.
type ArithOp uint8

// The operators that compute.
const (
	Add ArithOp = iota
	Subtract
	Multiply
	Divide
	Modulo
)

// Arith is X + Y and the like.
type Arith struct {
	Place
	Op   ArithOp
	X, Y Expr
}

// In is X in (…), in~ with Fold, not in with Not.
type In struct {
	Place
	X    Expr
	Not  bool
	Fold bool
	List []Expr
}

// MatchOp is an operator that matches patterns.
type MatchOp uint8

// The operators that match patterns.
const (
	// Like is like, and like~ with Fold.
	Like MatchOp = iota
	// Regex is regex, and regex~ with Fold.
	Regex
	// Colon is the operator : and means like~.
	Colon
)

// Match is X like "…", X like ("…", "…") and the like.
type Match struct {
	Place
	X        Expr
	Op       MatchOp
	Fold     bool
	Patterns []*Literal
}

// Call is a function of values: startsWith(process.name, "ba"), with Fold where
// the name is followed by ~.
type Call struct {
	Place
	Name string
	Fold bool
	Args []Expr
}

// Lineage is child of [ … ] and the like.
type Lineage struct {
	Place
	Relation string
	Filter   *Filter
}

func (*Literal) expr() {}
func (*Field) expr()   {}
func (*Unary) expr()   {}
func (*Logical) expr() {}
func (*Compare) expr() {}
func (*Arith) expr()   {}
func (*In) expr()      {}
func (*Match) expr()   {}
func (*Call) expr()    {}
func (*Lineage) expr() {}

// String returns the operator as it is written.
func (op UnaryOp) String() string { return [...]string{"not", "-", "+"}[op] }

// String returns the operator as it is written.
func (op LogicalOp) String() string { return [...]string{"and", "or"}[op] }

// String returns the operator as it is written.
func (op CompareOp) String() string { return [...]string{"==", "!=", "<", "<=", ">", ">="}[op] }

// String returns the operator as it is written.
func (op ArithOp) String() string { return [...]string{"+", "-", "*", "/", "%"}[op] }

// String returns the operator as it is written, without the ~ of Fold.
func (op MatchOp) String() string { return [...]string{"like", "regex", ":"}[op] }

// Flip returns the operator with its sides exchanged: 1 < x is x > 1.
func (op CompareOp) Flip() CompareOp {
	return [...]CompareOp{Equal, NotEqual, Greater, GreaterEqual, Less, LessEqual}[op]
}
