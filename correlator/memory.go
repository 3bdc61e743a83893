package correlator

import "github.com/portcullis-dev/portcullis/event"

// memory knows the newest detections by ID, as many as it has room for, and what
// was told of them last.
type memory struct {
	size int
	told map[string]event.State
	// ring has the IDs in the order of their arrival; once it is full, the
	// oldest is at next.
	ring []string
	next int
}

func newMemory(size int) *memory {
	return &memory{size: size, told: map[string]event.State{}}
}

// of returns what was told of a detection last, and whether it is known.
func (m *memory) of(id string) (event.State, bool) {
	state, known := m.told[id]
	return state, known
}

// set notes what was told. The oldest ID is forgotten for a new one if there is no room.
func (m *memory) set(id string, state event.State) {
	_, known := m.told[id]
	m.told[id] = state
	switch {
	case known:
	case len(m.ring) < m.size:
		m.ring = append(m.ring, id)
	default:
		delete(m.told, m.ring[m.next])
		m.ring[m.next] = id
		m.next = (m.next + 1) % m.size
	}
}
