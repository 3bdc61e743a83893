package program

import (
	"github.com/portcullis-dev/portcullis/eql/pattern"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Memo evaluates the stages of a Set for one event at a time and remembers what
// it found out about it. It is for one goroutine, and is used for event after
// event so that it allocates nothing.
type Memo struct {
	set    *Set
	record value.Record
	// reader is the record, if it can read several fields at once.
	reader value.Reader
	// values are what was read so.
	values []value.Value
	// found is what is known of the event in its bucket, states in all buckets so far.
	*state
	states []*state
	// sorted are the states of events that were sorted, by which facts hold.
	sorted []sorted
	// fits is what a scan found.
	fits []int32
	// entered marks the stages among the candidates.
	entered    []bool
	candidates []int32
	// gathered says that candidates are complete.
	gathered bool
}

// state is what was found out within a bucket.
type state struct {
	*bucket
	// known is what is known of each predicate.
	known []answer
	// looked and scanned say which tables and scans were used.
	looked, scanned []bool
	passes          []*pattern.Pass
}

type sorted struct {
	signature
	*state
}

type answer uint8

const (
	unknown answer = iota
	no
	yes
)

// NewMemo returns a Memo without an event.
func (s *Set) NewMemo() *Memo { return &Memo{set: s, entered: make([]bool, len(s.stages))} }

// Reset makes the memo evaluate another event.
func (m *Memo) Reset(r value.Record) {
	m.record = r
	m.reader, _ = r.(value.Reader)
	for _, i := range m.candidates {
		m.entered[i] = false
	}
	m.candidates = m.candidates[:0]
	m.gathered = false
	m.state = nil // as long as the bucket is not known
	m.state = m.sort()
	clear(m.known)
	clear(m.looked)
	clear(m.scanned)
}

// sort finds the state of the bucket that the event falls into.
func (m *Memo) sort() *state {
	sig := m.set.sort(m.read(m.set.slots))
	for i := range m.sorted {
		if m.sorted[i].signature == sig {
			return m.sorted[i].state
		}
	}
	b := m.set.bucket(sig)
	s := m.stateOf(b)
	if b.number < maxBuckets {
		m.sorted = append(m.sorted, sorted{sig, s})
	}
	return s
}

// read reads fields. The values are valid until the next read.
func (m *Memo) read(slots []int) []value.Value {
	for len(m.values) < len(slots) {
		m.values = append(m.values, value.Value{})
	}
	values := m.values[:len(slots)]
	if m.reader != nil {
		m.reader.Fields(slots, values)
		return values
	}
	for i, slot := range slots {
		values[i] = m.record.Field(slot)
	}
	return values
}

func (m *Memo) stateOf(b *bucket) *state {
	for b.number >= len(m.states) {
		m.states = append(m.states, nil)
	}
	if m.states[b.number] == nil {
		s := &state{bucket: b, known: make([]answer, len(b.tests)), looked: make([]bool, len(b.tables)), scanned: make([]bool, len(b.scans))}
		for i := range b.scans {
			s.passes = append(s.passes, b.scans[i].scanner.NewPass())
		}
		m.states[b.number] = s
	}
	return m.states[b.number]
}

// Candidates returns the indices of the stages that the event may match: no
// other does. They are in no order, each once, and valid until Reset.
func (m *Memo) Candidates() []int32 {
	if m.gathered {
		return m.candidates
	}
	m.gathered = true
	m.enter(m.always)
	values := m.read(m.entering)
	for i := range m.tables {
		if m.tables[i].enters {
			m.lookFor(int32(i), &values[0])
			values = values[1:]
		}
	}
	for i := range m.scans {
		if m.scans[i].enters {
			m.scanIn(int32(i), &values[0])
			values = values[1:]
		}
	}
	for _, i := range m.asked {
		if m.test(i) {
			m.enter(m.tests[i].stages)
		}
	}
	return m.candidates
}

func (m *Memo) enter(stages []int32) {
	for _, i := range stages {
		if !m.entered[i] {
			m.entered[i] = true
			m.candidates = append(m.candidates, i)
		}
	}
}

// Match reports whether the event is a hit of a stage: it matches, as the
// stage's Match says, and has the fields that the stage joins by.
func (m *Memo) Match(stage int) bool {
	at := m.entries[stage]
	for at >= 0 {
		b := &m.code[at]
		if m.test(b.test) {
			at = b.yes
		} else {
			at = b.no
		}
	}
	return at == isTrue
}

func (m *Memo) test(i int32) bool {
	if m.known[i] == unknown {
		m.find(i)
	}
	return m.known[i] == yes
}

// find finds out what a predicate is for this event.
func (m *Memo) find(i int32) {
	t := &m.tests[i]
	switch {
	case t.table >= 0:
		if !m.looked[t.table] {
			v := m.record.Field(m.tables[t.table].slot)
			m.lookFor(t.table, &v)
		}
	case t.scan >= 0:
		if !m.scanned[t.scan] {
			v := m.record.Field(m.scans[t.scan].slot)
			m.scanIn(t.scan, &v)
		}
	case t.cond.eval(m.record):
		m.known[i] = yes
	}
	if m.known[i] == unknown {
		m.known[i] = no
	}
}

// scanIn finds out which predicates have a pattern that a field's values fit.
func (m *Memo) scanIn(scan int32, v *value.Value) {
	if m.scanned[scan] {
		return
	}
	m.scanned[scan] = true
	s, pass := &m.scans[scan], m.passes[scan]
	switch v.Kind() {
	case value.KindString:
		m.fits = pass.Scan(v.Text(), m.fits[:0])
	case value.KindStrings:
		m.fits = m.fits[:0]
		for _, text := range v.Texts() {
			m.fits = pass.Scan(text, m.fits)
		}
	default:
		return
	}
	for _, list := range m.fits {
		m.found(s.tests[list])
	}
}

// lookFor finds out which predicates compare a field with a value that it has.
func (m *Memo) lookFor(table int32, v *value.Value) {
	if m.looked[table] {
		return
	}
	m.looked[table] = true
	t := &m.tables[table]
	switch v.Kind() {
	case value.KindString:
		for _, i := range t.of(v.Text()) {
			m.found(i)
		}
	case value.KindStrings:
		for _, text := range v.Texts() {
			for _, i := range t.of(text) {
				m.found(i)
			}
		}
	default:
	}
}

// found notes that a predicate is true.
func (m *Memo) found(i int32) {
	if m.known[i] != yes {
		m.known[i] = yes
		m.enter(m.tests[i].stages)
	}
}
