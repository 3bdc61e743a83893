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
	// found is what is known of the event in its bucket, states in all buckets so far.
	*state
	states []*state
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
	for _, i := range m.candidates {
		m.entered[i] = false
	}
	m.candidates = m.candidates[:0]
	m.gathered = false
	m.state = nil // as long as the bucket is not known
	m.state = m.stateOf(m.set.bucket(m.set.sort(r)))
	clear(m.known)
	clear(m.looked)
	clear(m.scanned)
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
	for i := range m.tables {
		if m.tables[i].enters && !m.looked[i] {
			m.look(int32(i))
		}
	}
	for i := range m.scans {
		if m.scans[i].enters && !m.scanned[i] {
			m.scan(int32(i))
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
			m.look(t.table)
		}
	case t.scan >= 0:
		if !m.scanned[t.scan] {
			m.scan(t.scan)
		}
	case t.cond.eval(m.record):
		m.known[i] = yes
	}
	if m.known[i] == unknown {
		m.known[i] = no
	}
}

// scan finds out which predicates have a pattern that a field's values fit.
func (m *Memo) scan(scan int32) {
	m.scanned[scan] = true
	s, pass := &m.scans[scan], m.passes[scan]
	v := m.record.Field(s.slot)
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

// look finds out which predicates compare a field with a value that it has.
func (m *Memo) look(table int32) {
	m.looked[table] = true
	t := &m.tables[table]
	v := m.record.Field(t.slot)
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
