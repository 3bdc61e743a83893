package program

import "github.com/portcullis-dev/portcullis/eql/value"

// Memo evaluates the stages of a Set for one event at a time and remembers what
// it found out about it. It is for one goroutine, and is used for event after
// event so that it allocates nothing.
type Memo struct {
	set    *Set
	record value.Record
	// known is what is known of each predicate.
	known []answer
	// looked and scanned say which tables and scans were used.
	looked, scanned []bool
	// fits is what a scan found.
	fits []int32
	// entered marks the stages among the candidates.
	entered    []bool
	candidates []int32
	// gathered says that candidates are complete.
	gathered bool
}

type answer uint8

const (
	unknown answer = iota
	no
	yes
)

// NewMemo returns a Memo without an event.
func (s *Set) NewMemo() *Memo {
	return &Memo{
		set: s, known: make([]answer, len(s.tests)), looked: make([]bool, len(s.tables)),
		scanned: make([]bool, len(s.scans)), entered: make([]bool, len(s.stages)),
	}
}

// Reset makes the memo evaluate another event.
func (m *Memo) Reset(r value.Record) {
	m.record = r
	clear(m.known)
	clear(m.looked)
	clear(m.scanned)
	for _, i := range m.candidates {
		m.entered[i] = false
	}
	m.candidates = m.candidates[:0]
	m.gathered = false
}

// Candidates returns the indices of the stages that the event may match: no
// other does. They are in no order, each once, and valid until Reset.
func (m *Memo) Candidates() []int32 {
	if m.gathered {
		return m.candidates
	}
	m.gathered = true
	m.enter(m.set.always)
	for i := range m.set.tables {
		if m.set.tables[i].enters && !m.looked[i] {
			m.look(int32(i))
		}
	}
	for i := range m.set.scans {
		if m.set.scans[i].enters && !m.scanned[i] {
			m.scan(int32(i))
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

// Match reports whether the event matches a stage, as its Match does.
func (m *Memo) Match(stage int) bool {
	at := m.set.entries[stage]
	for at >= 0 {
		b := &m.set.code[at]
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
	t := &m.set.tests[i]
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
	s := &m.set.scans[scan]
	v := m.record.Field(s.slot)
	switch v.Kind() {
	case value.KindString:
		m.fits = s.scanner.Scan(v.Text(), m.fits[:0])
	case value.KindStrings:
		m.fits = m.fits[:0]
		for _, text := range v.Texts() {
			m.fits = s.scanner.Scan(text, m.fits)
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
	t := &m.set.tables[table]
	v := m.record.Field(t.slot)
	switch v.Kind() {
	case value.KindString:
		for _, i := range t.rows[v.Text()] {
			m.found(i)
		}
	case value.KindStrings:
		for _, text := range v.Texts() {
			for _, i := range t.rows[text] {
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
		m.enter(m.set.tests[i].stages)
	}
}
