package correlator

// memory knows the newest detection IDs, as many as it has room for.
type memory struct {
	size int
	ids  map[string]struct{}
	// ring has the IDs in the order of their arrival; once it is full, the
	// oldest is at next.
	ring []string
	next int
}

func newMemory(size int) *memory {
	return &memory{size: size, ids: map[string]struct{}{}}
}

// add remembers an ID and reports whether it is new. The oldest is forgotten
// for it if there is no room.
func (m *memory) add(id string) bool {
	if _, ok := m.ids[id]; ok {
		return false
	}
	m.ids[id] = struct{}{}
	if len(m.ring) < m.size {
		m.ring = append(m.ring, id)
		return true
	}
	delete(m.ids, m.ring[m.next])
	m.ring[m.next] = id
	m.next = (m.next + 1) % m.size
	return true
}
