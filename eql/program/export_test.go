package program

// Scans returns how many fields are scanned for patterns, over all buckets.
func (s *Set) Scans() int {
	n := 0
	for _, b := range s.linked.Load().all() {
		n += len(b.scans)
	}
	return n
}

// Buckets returns how many buckets were linked.
func (s *Set) Buckets() int { return len(s.linked.Load().all()) }

func (b *buckets) all() []*bucket {
	var all []*bucket
	for _, one := range b.bySignature {
		all = append(all, one)
	}
	if b.rest != nil {
		all = append(all, b.rest)
	}
	return all
}
