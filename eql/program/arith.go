package program

import (
	"math"
	"math/bits"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// calculate applies an operator. Two whole numbers make a whole number, division
// truncating; anything else is a fraction. The result is missing if an operand
// is no number, if whole numbers overflow, and where they are divided by zero.
func calculate(op ast.ArithOp, x, y value.Value) value.Value {
	switch {
	case !isNumber(x) || !isNumber(y):
		return value.Missing()
	case x.Kind() == value.KindInt && y.Kind() == value.KindInt:
		if n, ok := calculateInt(op, x.Int(), y.Int()); ok {
			return value.Int(n)
		}
		return value.Missing()
	default:
		return value.Float(calculateFloat(op, x.Float(), y.Float()))
	}
}

func calculateInt(op ast.ArithOp, x, y int64) (n int64, ok bool) {
	switch op {
	case ast.Add:
		n = x + y
		return n, (n > x) == (y > 0)
	case ast.Subtract:
		n = x - y
		return n, (n < x) == (y > 0)
	case ast.Multiply:
		return multiply(x, y)
	case ast.Divide:
		if y == 0 || x == math.MinInt64 && y == -1 {
			return 0, false
		}
		return x / y, true
	default:
		if y == 0 {
			return 0, false
		}
		return x % y, true
	}
}

func multiply(x, y int64) (int64, bool) {
	high, low := bits.Mul64(magnitude(x), magnitude(y))
	negative := (x < 0) != (y < 0)
	switch {
	case high != 0:
		return 0, false
	case negative && low <= 1<<63:
		return -int64(low), true //nolint:gosec // 1<<63 wraps to the least number and stays it
	case !negative && low <= math.MaxInt64:
		return int64(low), true
	default:
		return 0, false
	}
}

func magnitude(x int64) uint64 {
	if x < 0 {
		return -uint64(x) //nolint:gosec // two's complement: right for the least number too
	}
	return uint64(x)
}

func calculateFloat(op ast.ArithOp, x, y float64) float64 {
	switch op {
	case ast.Add:
		return x + y
	case ast.Subtract:
		return x - y
	case ast.Multiply:
		return x * y
	case ast.Divide:
		return x / y
	default:
		return math.Mod(x, y)
	}
}

func negative(v value.Value) value.Value {
	switch {
	case v.Kind() == value.KindFloat:
		return value.Float(-v.Float())
	case v.Kind() == value.KindInt && v.Int() != math.MinInt64:
		return value.Int(-v.Int())
	default:
		return value.Missing()
	}
}
