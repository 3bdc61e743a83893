package field

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// maxDynamic bounds the fields made on demand: names come from rule files, and
// real rule sets use some dozens.
const maxDynamic = 4096

// maxName bounds a dynamic field's name.
const maxName = 512

// Info describes a field for people.
type Info struct {
	Name string
	Type value.Type
	// Many says that it can have several values.
	Many bool
	// Doc is one sentence; Source names the sources that fill it: "agent", "audit" or both.
	Doc    string
	Source string
}

// getter reads one field of the record's event.
type getter func(*Record) value.Value

// definition is a row of the table.
type definition struct {
	Info
	get getter
}

// Schema is the table of fields. It implements value.Schema and may be used
// concurrently, also by records while a rule is compiled.
type Schema struct {
	fixed []definition
	// index finds fixed and dynamic fields; guarded by mutex.
	mutex sync.Mutex
	index map[string]value.Field
	// getters by slot, replaced as a whole when a field is made, so that
	// records read it without a lock.
	getters atomic.Pointer[[]getter]
}

// New returns a Schema of all fields.
func New() *Schema {
	s := &Schema{index: map[string]value.Field{}}
	for _, group := range [][]definition{
		eventFields(), hostFields(), orchestratorFields(), containerFields(), processFields(),
		parentFields(), entryLeaderFields(), fileFields(), userFields(), auditFields(), auditUserFields(),
	} {
		s.fixed = append(s.fixed, group...)
	}
	getters := make([]getter, 0, len(s.fixed))
	for slot, d := range s.fixed {
		s.index[d.Name] = value.Field{Name: d.Name, Slot: slot, Type: d.Type, Many: d.Many}
		getters = append(getters, d.get)
	}
	s.getters.Store(&getters)
	return s
}

// Fields returns all fields that have a fixed name, in the order of the documentation.
func (s *Schema) Fields() []Info {
	infos := make([]Info, len(s.fixed))
	for i, d := range s.fixed {
		infos[i] = d.Info
	}
	return infos
}

// Names implements value.Schema: the fields that have a fixed name, sorted.
func (s *Schema) Names() []string {
	names := make([]string, len(s.fixed))
	for i, d := range s.fixed {
		names[i] = d.Name
	}
	slices.Sort(names)
	return names
}

// Lookup implements value.Schema. It makes a field for a name below one of the
// open prefixes.
func (s *Schema) Lookup(name string) (value.Field, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if f, ok := s.index[name]; ok {
		return f, true
	}
	d, ok := dynamicField(name)
	if !ok || len(name) > maxName || len(s.index)-len(s.fixed) >= maxDynamic {
		return value.Field{}, false
	}
	old := *s.getters.Load()
	f := value.Field{Name: name, Slot: len(old), Type: d.Type, Many: d.Many}
	getters := slices.Concat(old, []getter{d.get}) // A copy: records read the old slice.
	s.getters.Store(&getters)
	s.index[name] = f
	return f, true
}

// Record is one event as rules read it: it implements value.Record. It keeps
// what was computed for one event, and is for one goroutine.
type Record struct {
	schema *Schema
	event  *event.Event
	// getters are the schema's as of Reset.
	getters []getter
	// instead, if not empty, replaces the identity of the event's pod reference.
	instead string

	commandLine       cachedText
	parentCommandLine cachedText
	request, response document
	labels            []string
	labelsKnown       bool
}

// NewRecord returns a Record without an event.
func (s *Schema) NewRecord() *Record { return &Record{schema: s} }

// Reset makes the record read another event. It knows the fields that exist by
// now: rules compiled later see them missing until the next Reset.
func (r *Record) Reset(e *event.Event) {
	clear(r.labels)
	*r = Record{schema: r.schema, event: e, getters: *r.schema.getters.Load(), labels: r.labels[:0]}
}

// Unread is how many of the event's objects a rule asked for in vain because
// they are larger than what is read.
func (r *Record) Unread() int {
	unread := 0
	for _, d := range []*document{&r.request, &r.response} {
		if d.unread {
			unread++
		}
	}
	return unread
}

// Event returns the event that the record reads.
func (r *Record) Event() *event.Event { return r.event }

// WithPodUID makes the event's pod references join by another UID, until
// Reset: an ambiguous pod joins once as each of its candidates.
func (r *Record) WithPodUID(uid string) { r.instead = event.Pod{UID: uid}.Key() }

// Field implements value.Record.
func (r *Record) Field(slot int) value.Value {
	if slot < 0 || slot >= len(r.getters) || r.event == nil {
		return value.Missing()
	}
	return r.getters[slot](r)
}

// podRef is a reference to a pod.
func (r *Record) podRef(p event.Pod) value.Value {
	if r.instead != "" && !p.IsZero() {
		return value.Ref(p.Name, r.instead)
	}
	return value.Ref(p.Name, p.Key())
}
