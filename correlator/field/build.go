package field

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// Bounds of what one document may hold.
const (
	maxNesting = 32
	maxGiven   = 4096
	// maxTold bounds the unknown names of which each is told.
	maxTold = 20
)

// Event makes an event of a document of the Elastic Common Schema: nested
// objects, dotted names, or a mixture of both. It is the inverse of Document.
//
// Every field can be set, and no other: a name that is no field is an error. A
// field that follows from others (process.command_line from process.args) is
// accepted where it is as it follows, and fills in what it follows from where
// the document does not have that. Null, the empty text and the empty list say
// that a field is missing.
//
// What kind of event it is follows from its fields: kubernetes.audit.* make it
// an audit event, file.* one about a file, all others about pods and processes
// one about a process; no event is both of an agent and of an API server. Where
// the document does not say otherwise, event.dataset and event.category are
// those that such events have, a verb is also the event.action, a pod's UID is
// certain, the pods of a request are those that its user and its object name,
// event.request is computed from the request as the audit sink does, and
// event.id is a hash of all the rest.
//
// The error is an errors.Join of everything that is wrong, each with the
// field's name; those about names are an *UnknownFieldError. An event without a
// time is not an error.
func (s *Schema) Event(document map[string]any) (*event.Event, error) {
	b := newBuilder(s)
	b.flatten("", document, 0)
	for i, name := range b.unknown {
		if i == maxTold {
			b.note(fmt.Errorf("and %d more names that are no field", len(b.unknown)-i))
			break
		}
		b.note(&UnknownFieldError{name, diag.Nearest(name, s.allNames())})
	}
	return b.build()
}

// EventOfOthers is Event for documents that others have added to, as log
// shippers do: names that are no field are left out, and returned.
func (s *Schema) EventOfOthers(document map[string]any) (e *event.Event, unknown []string, err error) {
	b := newBuilder(s)
	b.flatten("", document, 0)
	e, err = b.build()
	return e, b.unknown, err
}

func newBuilder(s *Schema) *builder {
	return &builder{schema: s, event: &event.Event{}, record: s.NewRecord(), given: map[string]given{}}
}

// build makes the event of what is given.
func (b *builder) build() (*event.Event, error) {
	b.sorted = inOrder(b.given)
	b.findKind()
	b.setAll()
	b.complete()
	b.compareAll()
	if err := errors.Join(b.problems...); err != nil {
		return nil, err
	}
	if b.event.ID == "" {
		b.event.ID = b.schema.hash(b.event)
	}
	b.event.Request = cmp.Or(b.event.Request, b.event.ID)
	return b.event, nil
}

// UnknownFieldError says that a document has a name that is no field.
type UnknownFieldError struct {
	Name string
	// Meant is the field that was probably meant, empty if there is none like it.
	Meant string
}

// Error implements error.
func (e *UnknownFieldError) Error() string {
	text := fmt.Sprintf("unknown field %q", shorten(e.Name))
	if e.Meant != "" {
		text += ", did you mean " + e.Meant + "?"
	}
	return text
}

// builder makes one event of one document.
type builder struct {
	schema *Schema
	event  *event.Event
	record *Record
	given  map[string]given
	// sorted is given in the order in which it is set.
	sorted []given
	// unknown are the names that are no field.
	unknown  []string
	problems []error
}

// given is one field of the document.
type given struct {
	*definition
	input
}

// problem notes what is wrong with a field.
func (b *builder) problem(name string, err error) {
	if err != nil {
		b.note(fmt.Errorf("%s: %w", displayed(name), err))
	}
}

func (b *builder) note(err error) {
	if err != nil {
		b.problems = append(b.problems, err)
	}
}

// flatten finds the fields of a nested document, by sorted name.
func (b *builder) flatten(prefix string, object map[string]any, depth int) {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		name, content := prefix+key, object[key]
		nested, isObject := content.(map[string]any)
		switch d := b.schema.row(name); {
		case d != nil && (!isObject || d.takesObject()):
			b.give(d, content)
		case isObject && depth == maxNesting:
			b.problem(name, errors.New("is nested too deeply"))
		case isObject && (d == nil || d.place == 0):
			b.flatten(name+".", nested, depth+1)
		case isObject:
			b.problem(name, wrong("a value", content))
		case content == nil && b.isPrefix(name):
		default:
			b.unknown = append(b.unknown, name)
		}
	}
}

// isPrefix reports whether a name is the first part of fields' names, such as process.parent.
func (b *builder) isPrefix(name string) bool {
	return slices.ContainsFunc(b.schema.allNames(), func(n string) bool { return strings.HasPrefix(n, name+".") })
}

func (b *builder) give(d *definition, content any) {
	before, again := b.given[d.Name]
	switch {
	case again && !sameJSON(before.value, content):
		b.problem(d.Name, errors.New("is given twice, with different values"))
	case len(b.given) == maxGiven:
		b.problem(d.Name, fmt.Errorf("is beyond the %d fields that one document may have", maxGiven))
	default:
		b.given[d.Name] = given{d, input{content}}
	}
}

// row finds a field by its name, nil if it is none.
func (s *Schema) row(name string) *definition {
	if d, ok := s.rows[name]; ok {
		return d
	}
	if d, ok := dynamicField(name); ok {
		return &d
	}
	return nil
}

// allNames are those of all fields that have a fixed name.
func (s *Schema) allNames() []string { return slices.Collect(maps.Keys(s.rows)) }

// takesObject reports whether a field's value may be an object.
func (d *definition) takesObject() bool {
	return d.within != nil || d.place > 0 && strings.HasSuffix(d.Name, ".label")
}

// inOrder puts derived fields after the others, and fields of open prefixes
// after those of the table.
func inOrder(all map[string]given) []given {
	last := func(place int) int { return cmp.Or(place, math.MaxInt) }
	return slices.SortedFunc(maps.Values(all), func(x, y given) int {
		switch {
		case x.derived == y.derived:
			return cmp.Or(cmp.Compare(last(x.place), last(y.place)), strings.Compare(x.Name, y.Name))
		case y.derived:
			return -1
		default:
			return 1
		}
	})
}

// setAll sets the fields. A derived field is set where the event does not say it yet.
func (b *builder) setAll() {
	objects := garden{}
	defer func() { b.note(objects.harvest(b.event)) }()
	for _, g := range b.sorted {
		switch {
		case g.isEmpty() && !strings.HasPrefix(g.Name, annotationsPrefix):
		case g.within != nil:
			b.problem(g.Name, objects.plant(g))
		case g.set == nil:
		case g.derived && g.get != nil && !unsaid(b.read(g.definition)):
		default:
			b.problem(g.Name, g.set(b.event, g.input))
		}
	}
}

// unsaid reports whether a derived field has nothing that it follows from. (The
// count of no arguments is 0.)
func unsaid(v value.Value) bool {
	return v.IsMissing() || v.Kind() == value.KindInt && v.Int() == 0
}

// read is what a rule reads of the event as it is now.
func (b *builder) read(d *definition) value.Value {
	b.record.Reset(b.event)
	return d.get(b.record)
}

// hash names an event by its content.
func (s *Schema) hash(e *event.Event) string {
	text, err := json.Marshal(s.Document(e)) // sorted by name
	if err != nil {
		text = nil // cannot be: a document holds what JSON has
	}
	var d event.Digest
	d.Rest(text)
	return d.ID()
}
