package check

import (
	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/function"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// kind is the type of an expression.
type kind uint8

const (
	unknown kind = iota // after an error, or of a field that no event has
	null
	text
	number
	boolean
)

func (k kind) String() string {
	return [...]string{"unknown", "null", "text", "a number", "true or false"}[k]
}

// fits reports whether both can be the same type.
func (k kind) fits(other kind) bool {
	return k == other || k == unknown || other == unknown || k == null || other == null
}

func typeOfField(f value.Field) kind {
	switch f.Type {
	case value.Number:
		return number
	case value.Boolean:
		return boolean
	default:
		return text
	}
}

func typeOfFunction(t function.Type) kind {
	switch t {
	case function.Text:
		return text
	case function.Numeric:
		return number
	case function.Boolean:
		return boolean
	default:
		return unknown
	}
}

func typeOfLiteral(l *ast.Literal) kind {
	switch l.Kind {
	case ast.Text:
		return text
	case ast.Int, ast.Float:
		return number
	case ast.Bool:
		return boolean
	default:
		return null
	}
}

// usesField reports whether an expression depends on the event.
func usesField(e ast.Expr) bool {
	found := false
	ast.Walk(e, func(n ast.Node) bool {
		if _, ok := n.(*ast.Field); ok {
			found = true
		}
		return !found
	})
	return found
}

// isNull reports whether an expression is the word null.
func isNull(e ast.Expr) bool {
	l, ok := e.(*ast.Literal)
	return ok && l.Kind == ast.Null
}
