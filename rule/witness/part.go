package witness

import "strings"

// Part is a part of a path.
type Part uint8

// The parts of a path.
const (
	whole Part = iota
	// Directory is a path without its last element: /etc of /etc/passwd.
	Directory
	// Base is the last element: passwd.
	Base
	// Extension is what follows the last dot of the last element, unless that dot begins it.
	Extension
)

// of returns a part of a path, false if the path has none.
func (p Part) of(path string) (string, bool) {
	slash := strings.LastIndexByte(path, '/')
	base := path[slash+1:]
	switch p {
	case Directory:
		if slash == 0 {
			return "/", true
		}
		return path[:max(slash, 0)], slash > 0
	case Base:
		return base, base != ""
	default:
		dot := strings.LastIndexByte(base, '.')
		return base[dot+1:], dot > 0 && dot+1 < len(base)
	}
}

// partMachine is a machine for a part of a path as a machine for the path.
type partMachine struct {
	part  Part
	inner machine
	known map[partState]int32
	all   []partState
}

// partState is where a reader of a path stands.
type partState struct {
	// inner is the state of the machine that reads the part.
	inner int32
	// begun: the part, or for an extension the last element, has a character.
	begun bool
	// dotted: the last element has a dot behind its first character.
	dotted bool
	// fits: what stood before the last slash fits.
	fits bool
}

// onPath returns the machine for the paths whose part fits.
func (p Part) onPath(m machine) machine {
	if p == whole {
		return m
	}
	return &partMachine{part: p, inner: m, known: map[partState]int32{}}
}

func (m *partMachine) state(s partState) int32 {
	n, ok := m.known[s]
	if !ok {
		n = int32(len(m.all)) //nolint:gosec // a few for each state of the inner machine
		m.known[s] = n
		m.all = append(m.all, s)
	}
	return n
}

func (m *partMachine) start() int32 { return m.state(partState{inner: m.inner.start()}) }

func (m *partMachine) step(state int32, r rune) int32 {
	s := m.all[state]
	switch m.part {
	case Directory:
		if r == '/' && s.begun {
			s.fits = m.inner.accepts(s.inner)
		}
		s.inner = m.inner.step(s.inner, r)
		if r == '/' && !s.begun {
			s.fits = m.inner.accepts(s.inner)
		}
		s.begun = true
	case Base:
		if r == '/' {
			return m.start()
		}
		s.inner, s.begun = m.inner.step(s.inner, r), true
	default:
		s = m.extension(s, r)
	}
	return m.state(s)
}

func (m *partMachine) extension(s partState, r rune) partState {
	switch {
	case r == '/':
		return partState{inner: m.inner.start()}
	case r == '.' && s.begun:
		return partState{inner: m.inner.start(), begun: true, dotted: true}
	case s.dotted:
		// fits says here that the extension has a character.
		return partState{inner: m.inner.step(s.inner, r), begun: true, dotted: true, fits: true}
	default:
		s.begun = true
		return s
	}
}

func (m *partMachine) accepts(state int32) bool {
	s := m.all[state]
	switch m.part {
	case Directory:
		return s.fits
	case Base:
		return s.begun && m.inner.accepts(s.inner)
	default:
		return s.dotted && s.fits && m.inner.accepts(s.inner)
	}
}

func (m *partMachine) distance(state int32) int {
	s := m.all[state]
	switch {
	case m.accepts(state):
		return 0
	case m.part == Directory:
		return min(never, m.inner.distance(s.inner)+1)
	case m.inner.distance(s.inner) == never:
		return min(never-1, m.inner.distance(m.inner.start())+2) // after another slash
	default:
		return m.inner.distance(s.inner) + 1
	}
}

func (m *partMachine) ranges(add func(low, high rune)) {
	add('/', '/')
	add('.', '.')
	m.inner.ranges(add)
}
