package field

import (
	"math"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// The sources that fill a field.
const (
	agent = "agent"
	audit = "audit"
	both  = "agent, audit"
)

// definition is a row of the table: what a field is, how a rule reads it, and
// how a document sets it.
type definition struct {
	Info
	// get is nil for what only documents have.
	get getter
	// set is nil for what cannot be set, only found to be as given.
	set setter
	// within is set for what is in a request's object, instead of set.
	within *place
	// place is where the row stands in the table, from 1; 0 for fields of open prefixes.
	place int
	// derived fields follow from others. They are not in documents that are
	// written; in one that is read they fill in what they follow from, where
	// the document does not say that itself.
	derived bool
	// write is what a written document has, nil for nothing. Without it, that is what get reads.
	write func(*event.Event) any
}

// getter reads one field of the record's event.
type getter func(*Record) value.Value

// setter sets one field of an event that is being made.
type setter func(*event.Event, input) error

// part finds the part of an event that a group of fields is about. Where the
// event does not have it, it is made, or nil.
type part[T any] func(e *event.Event, create bool) *T

// Constructors of rows. Each points at the Go field that is both read and set.

func textRow[T any](name, source, doc string, in part[T], at func(*T) *string) definition {
	return definition{
		Info: Info{Name: name, Type: value.Keyword, Doc: doc, Source: source},
		get: func(r *Record) value.Value {
			if p := in(r.event, false); p != nil {
				return textValue(*at(p))
			}
			return value.Missing()
		},
		set: func(e *event.Event, given input) (err error) {
			*at(in(e, true)), err = given.text()
			return err
		},
	}
}

func textsRow[T any](name, source, doc string, in part[T], at func(*T) *[]string) definition {
	return definition{
		Info: Info{Name: name, Type: value.Keyword, Many: true, Doc: doc, Source: source},
		get: func(r *Record) value.Value {
			if p := in(r.event, false); p != nil {
				return value.Strings(*at(p))
			}
			return value.Missing()
		},
		set: func(e *event.Event, given input) (err error) {
			*at(in(e, true)), err = given.texts()
			return err
		},
	}
}

func flagRow[T any](name, source, doc string, in part[T], at func(*T) *bool) definition {
	return definition{
		Info: Info{Name: name, Type: value.Boolean, Doc: doc, Source: source},
		get: func(r *Record) value.Value {
			if p := in(r.event, false); p != nil {
				return value.Bool(*at(p))
			}
			return value.Missing()
		},
		set: func(e *event.Event, given input) (err error) {
			*at(in(e, true)), err = given.boolean()
			return err
		},
	}
}

// numberRow is a number of which 0 means that it is not known.
func numberRow[T any](name, source, doc string, in part[T], at func(*T) *uint32) definition {
	return definition{
		Info: Info{Name: name, Type: value.Number, Doc: doc, Source: source},
		get: func(r *Record) value.Value {
			if p := in(r.event, false); p != nil {
				return numberValue(*at(p))
			}
			return value.Missing()
		},
		set: func(e *event.Event, given input) error {
			n, err := given.whole(0, math.MaxUint32)
			*at(in(e, true)) = uint32(n) //nolint:gosec // whole has checked it
			return err
		},
	}
}

// ifTrue is a flag that documents have where it is true.
func ifTrue(d definition) definition {
	d.write = func(e *event.Event) any {
		r := Record{event: e}
		if !d.get(&r).Bool() {
			return nil
		}
		return true
	}
	return d
}

// derivedRow follows from other fields. fill may be nil.
func derivedRow(name string, t value.Type, source, doc string, get getter, fill setter) definition {
	return definition{Info: Info{Name: name, Type: t, Doc: doc, Source: source}, get: get, set: fill, derived: true}
}

// many makes a row one of several values.
func many(d definition) definition {
	d.Many = true
	return d
}

// copyOf is a row under another name.
func copyOf(d definition, name, doc string) definition {
	d.Name, d.Doc, d.derived = name, doc, true
	return d
}

func textValue(s string) value.Value {
	if s == "" {
		return value.Missing()
	}
	return value.String(s)
}

func numberValue(n uint32) value.Value {
	if n == 0 {
		return value.Missing()
	}
	return value.Int(int64(n))
}

// itself is the part for what stands in the event itself.
func itself(e *event.Event, _ bool) *event.Event { return e }
