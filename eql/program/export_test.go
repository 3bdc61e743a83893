package program

// Scans returns how many fields are scanned for patterns.
func (s *Set) Scans() int { return len(s.scans) }
