package auditsink

import (
	"sync"

	"github.com/portcullis-dev/portcullis/event"
)

// delivered is an event with what every audit event has, in one piece.
type delivered struct {
	event   event.Event
	audit   event.Audit
	action  [1]string
	address [1]string
}

// room holds some events. Rooms are used again for the next delivery: events that
// no rule wants would otherwise be most of what the garbage collector has to do.
type room [32]delivered

// rooms are those of one delivery.
type rooms struct {
	pool *sync.Pool // of *room
	all  []*room
	// taken is how many events they hold.
	taken int
}

// next is where the next event goes, empty. It is not taken yet.
func (r *rooms) next() *delivered {
	at := r.taken / len(room{})
	if at == len(r.all) {
		r.all = append(r.all, r.pool.Get().(*room)) // the pool has nothing else
	}
	return &r.all[at][r.taken%len(room{})]
}

// release gives the rooms back, empty.
func (r *rooms) release() {
	for i, one := range r.all {
		clear(one[:min(len(one), r.taken-i*len(one))])
		r.pool.Put(one)
	}
	r.all, r.taken = nil, 0
}
