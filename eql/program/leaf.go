package program

import (
	"sync"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/check"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// MaxChoices bounds how many choices of values one condition tries for one
// event, where it uses several fields that have many values each. What lies
// beyond is not looked at.
const MaxChoices = 1 << 16

// leaf is a condition that calculates: everything that is more than one field
// and a constant. It is true if it is for any choice of one value from each of
// its fields.
type leaf struct {
	slots []int
	x     *expr
	// present asks instead whether the expression has a value for any choice.
	present bool
	// scratch has buffers for texts that are put together; nil where none is.
	scratch *sync.Pool
}

// frame is what one evaluation of a leaf works with.
type frame struct {
	record  value.Record
	fields  [check.MaxFields]value.Value
	chosen  [check.MaxFields]int
	scratch *scratch
}

// scratch holds texts that were put together during one evaluation. Texts point
// into it, so within one evaluation it is only appended to.
type scratch struct{ buf []byte }

const (
	// maxText is the longest text that an expression can put together.
	maxText = 1 << 20
	// keepText is the largest buffer that is kept for the next evaluation.
	keepText = 64 << 10
)

func (c compiler) leaf(e ast.Expr) cond { return c.newLeaf(e).fold() }

func (c compiler) newLeaf(e ast.Expr) *leaf {
	l := &leaf{}
	l.x = c.test(e, l)
	if l.x.builds {
		l.scratch = &sync.Pool{New: func() any { return new(scratch) }}
	}
	return l
}

// fold returns the leaf, or its result where it does not depend on the event.
func (l *leaf) fold() cond {
	if l.x.constant {
		return constant(l.eval(nil))
	}
	return l
}

// field returns the number under which the leaf holds a slot's value.
func (l *leaf) field(slot int) int {
	for i, s := range l.slots {
		if s == slot {
			return i
		}
	}
	l.slots = append(l.slots, slot)
	return len(l.slots) - 1
}

func (l *leaf) eval(r value.Record) bool {
	f := frame{record: r}
	for i, slot := range l.slots {
		f.fields[i] = r.Field(slot)
	}
	if l.scratch == nil {
		return l.choose(&f)
	}
	s := l.scratch.Get().(*scratch)
	f.scratch = s
	result := l.choose(&f)
	if cap(s.buf) <= keepText {
		s.buf = s.buf[:0]
		l.scratch.Put(s)
	}
	return result
}

// choose tries one choice of values after the other.
func (l *leaf) choose(f *frame) bool {
	for range MaxChoices {
		if f.scratch != nil {
			f.scratch.buf = f.scratch.buf[:0]
		}
		v := l.x.eval(f)
		if v.Bool() || l.present && !v.IsMissing() {
			return true
		}
		if !l.next(f) {
			break
		}
	}
	return false
}

// next goes on to the next choice, false if there is none.
func (l *leaf) next(f *frame) bool {
	for i := range l.slots {
		if f.chosen[i]++; f.chosen[i] < f.fields[i].Len() {
			return true
		}
		f.chosen[i] = 0
	}
	return false
}

// value returns the chosen value of a field.
func (f *frame) value(i int) value.Value {
	v := f.fields[i]
	if v.Kind() == value.KindStrings {
		return v.At(f.chosen[i])
	}
	return v
}
