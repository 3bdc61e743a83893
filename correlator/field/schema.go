package field

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/portcullis-dev/portcullis/eql/value"
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
	// Group is what the field is about, as a heading.
	Group string
	// Doc is one sentence; Source names the sources that fill it: "agent", "audit" or both.
	Doc    string
	Source string
}

// Schema is the table of fields. It implements value.Schema and may be used
// concurrently, also by records while a rule is compiled.
type Schema struct {
	// fixed are the fields that rules read, by slot; further those of documents alone.
	fixed, further []definition
	// rows finds both by name; it never changes.
	rows map[string]*definition
	// often has, by slot, the place of fixed fields that are read often, and -1 for others.
	often []int
	// index finds fixed and dynamic fields; guarded by mutex.
	mutex sync.Mutex
	index map[string]value.Field
	// getters by slot, replaced as a whole when a field is made, so that
	// records read it without a lock.
	getters atomic.Pointer[[]getter]
}

// New returns a Schema of all fields.
func New() *Schema {
	s := &Schema{index: map[string]value.Field{}, rows: map[string]*definition{}}
	for _, g := range []struct {
		title string
		rows  []definition
	}{
		{"Event", eventFields()},
		{"Node", hostFields()},
		{"Pod", podFields()},
		{"Container", containerFields()},
		{"Process", processFields()},
		{"Process: its parent", parentFields()},
		{"Process: the first of its session", entryLeaderFields()},
		{"File", fileFields()},
		{"User", userFields()},
		{"Session: who ran it", sessionFields()},
		{"What is not reported", limitFields()},
		{"Request", auditFields()},
		{"Request: who made it", auditUserFields()},
		{"Request: the same under other names", auditCopies()},
	} {
		for _, d := range g.rows {
			d.Group = g.title
			s.fixed = append(s.fixed, d)
		}
	}
	s.further = slices.Concat(timeFields(), clockFields(), bookkeepingFields(), identityFields(), wholeObjects())
	getters := make([]getter, len(s.fixed))
	for slot, d := range s.fixed {
		s.index[d.Name] = value.Field{Name: d.Name, Slot: slot, Type: d.Type, Many: d.Many}
		getters[slot] = d.get
		s.rows[d.Name] = &s.fixed[slot]
	}
	for i, d := range s.further {
		s.rows[d.Name] = &s.further[i]
	}
	s.number()
	s.often = make([]int, len(s.fixed))
	for slot, d := range s.fixed {
		s.often[slot] = slices.Index(oftenRead(), d.Name)
	}
	s.getters.Store(&getters)
	return s
}

// number numbers the rows in the order in which they are set: objects as a
// whole before paths into them.
func (s *Schema) number() {
	for i := range s.further {
		s.further[i].place = 1 + i
	}
	for i := range s.fixed {
		s.fixed[i].place = 1 + len(s.further) + i
	}
}

// Fields returns all fields that rules can read and that have a fixed name, in
// the order of the documentation.
func (s *Schema) Fields() []Info { return infos(s.fixed) }

// DocumentFields returns the fields that documents have beyond those that rules
// can read; see Event.
func (s *Schema) DocumentFields() []Info { return infos(s.further) }

func infos(definitions []definition) []Info {
	infos := make([]Info, len(definitions))
	for i, d := range definitions {
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
	if !ok || len(s.index)-len(s.fixed) >= maxDynamic {
		return value.Field{}, false
	}
	old := *s.getters.Load()
	f := value.Field{Name: name, Slot: len(old), Type: d.Type, Many: d.Many}
	getters := slices.Concat(old, []getter{d.get}) // A copy: records read the old slice.
	s.getters.Store(&getters)
	s.index[name] = f
	return f, true
}
