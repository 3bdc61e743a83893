package endpoint

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// watch ends connections that hold something up: those whose other side takes no byte, and those of requests that last too long.
//
// net/http can do the same with timers, of which it takes four for each request in HTTP/2. For a request that is answered in the time of
// some system calls they cost a twentieth of everything. Here a request costs two entries in a list, and a glance every now and then finds
// who is overdue.
type watch struct {
	listener *Listener
	// requests is how long a request may last; zero leaves that to net/http.
	requests time.Duration
	// writes is how long the other side may take for what is sent in one piece.
	writes time.Duration
	now    func() time.Time

	mu sync.Mutex
	// under are the requests under way, the oldest first.
	under list.List
}

// underWay is a request under way.
type underWay struct {
	begin time.Time
	conn  net.Conn
}

func (w *watch) begin(conn net.Conn) *list.Element {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.under.PushBack(underWay{begin: now, conn: conn})
}

func (w *watch) end(request *list.Element) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.under.Remove(request)
}

// over watches the requests of a handler.
func (w *watch) over(next http.Handler) http.Handler {
	if w.requests == 0 {
		return next
	}
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 { // The rest of a body, which net/http reads after the handler, is not watched.
			deadline := w.now().Add(w.requests)
			control := http.NewResponseController(out)
			_ = control.SetReadDeadline(deadline) // net/http's own writer has both
			_ = control.SetWriteDeadline(deadline)
		}
		of, _ := r.Context().Value(lifeKey{}).(life)
		request := w.begin(of.conn)
		defer w.end(request)
		next.ServeHTTP(out, r)
	})
}

// run looks every now and then, until ctx ends.
func (w *watch) run(ctx context.Context) {
	every := w.writes
	if w.requests > 0 {
		every = min(every, w.requests)
	}
	ticker := time.NewTicker(max(every/8, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.look()
		}
	}
}

// look closes the connections that are overdue.
func (w *watch) look() {
	now := w.now()
	w.listener.closeStuck(now.Add(-w.writes))
	if w.requests == 0 {
		return
	}
	var overdue []net.Conn
	w.mu.Lock()
	for e := w.under.Front(); e != nil; e = e.Next() {
		request, _ := e.Value.(underWay)
		if now.Sub(request.begin) < w.requests {
			break
		}
		overdue = append(overdue, request.conn)
	}
	w.mu.Unlock()
	for _, c := range overdue {
		_ = c.Close()
	}
}
