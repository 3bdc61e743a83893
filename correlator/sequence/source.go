package sequence

// sources gives the sources of kept hits small numbers. There are as many as there
// are nodes and API servers, and over time they change.
type sources struct {
	numbers map[string]uint32
	names   []string
	hits    []int
	free    []uint32
}

// The source without a name has number 0.
func newSources() sources {
	return sources{numbers: map[string]uint32{}, names: []string{""}, hits: []int{0}}
}

// keep returns the number of a source, for one more hit.
func (s *sources) keep(name string) uint32 {
	if name == "" {
		return 0
	}
	number, known := s.numbers[name]
	if !known {
		number = s.next()
		s.numbers[name], s.names[number] = number, name
	}
	s.hits[number]++
	return number
}

func (s *sources) next() uint32 {
	if last := len(s.free) - 1; last >= 0 {
		number := s.free[last]
		s.free = s.free[:last]
		return number
	}
	s.names, s.hits = append(s.names, ""), append(s.hits, 0)
	return uint32(len(s.names) - 1) //nolint:gosec // no more than there are hits
}

// release gives up the number for one hit.
func (s *sources) release(number uint32) {
	if number == 0 {
		return
	}
	if s.hits[number]--; s.hits[number] == 0 {
		delete(s.numbers, s.names[number])
		s.names[number] = ""
		s.free = append(s.free, number)
	}
}
