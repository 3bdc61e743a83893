package endpoint

import "sync"

// room bounds the requests under way, in all and from one address.
type room struct {
	limit int

	mu    sync.Mutex
	total int
	from  map[string]int
}

func newRoom(limit int) *room { return &room{limit: limit, from: make(map[string]int)} }

// take reports whether there was room for one more of that address: nobody gets more than half of it.
func (r *room) take(from string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.total >= r.limit || r.from[from] >= (r.limit+1)/2 {
		return false
	}
	r.total++
	r.from[from]++
	return true
}

func (r *room) give(from string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total--
	if r.from[from]--; r.from[from] == 0 {
		delete(r.from, from)
	}
}

func (r *room) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}
