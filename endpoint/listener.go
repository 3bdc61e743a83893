package endpoint

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Listen bounds the connections that a listener has open at once. One beyond the limit takes
// the place of another: of the address that has most of them, of those that are silent if there are any, the oldest.
func Listen(l net.Listener, connections int) *Listener {
	return limit(l, connections, func(float64) {}, func() {})
}

// Listener is a listener with a bound. See Listen.
type Listener struct {
	net.Listener
	limit int
	// opened is told how many are open, displaced that one lost its place.
	opened    func(float64)
	displaced func()

	mu   sync.Mutex
	open map[*conn]struct{}
	from map[string]int
	next uint64
}

func limit(l net.Listener, limit int, opened func(float64), displaced func()) *Listener {
	return &Listener{
		Listener: l, limit: limit, opened: opened, displaced: displaced,
		open: make(map[*conn]struct{}), from: make(map[string]int),
	}
}

// conn is a connection that knows its place.
type conn struct {
	net.Conn
	listener *Listener
	from     string
	// number counts the listener's connections.
	number uint64
	// standing says what the connection has done.
	standing atomic.Int32
	// sending is since when it sends something, in Unix nanoseconds; 0 while it does not.
	sending atomic.Int64
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	c.sending.Store(time.Now().UnixNano())
	defer c.sending.Store(0)
	return c.Conn.Write(b)
}

// What a connection has done, least first: that is who goes first.
const (
	silent int32 = iota // nothing: its handshake or first request is not there yet
	idle                // it has no request under way
	active
)

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, listener: l, from: host(accepted.RemoteAddr())}
	if displaced := l.add(c); displaced != nil {
		l.displaced()
		_ = displaced.Close()
	}
	return c, nil
}

// add notes a connection, and returns the one that has to go for it.
func (l *Listener) add(c *conn) (displaced *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	c.number = l.next
	l.open[c] = struct{}{}
	l.from[c.from]++
	defer func() { l.opened(float64(len(l.open))) }()
	if len(l.open) <= l.limit {
		return nil
	}
	for other := range l.open {
		if displaced == nil || l.goesBefore(other, displaced) {
			displaced = other
		}
	}
	return displaced
}

func (l *Listener) goesBefore(a, b *conn) bool {
	if l.from[a.from] != l.from[b.from] {
		return l.from[a.from] > l.from[b.from]
	}
	if sa, sb := a.standing.Load(), b.standing.Load(); sa != sb {
		return sa < sb
	}
	return a.number < b.number
}

func (l *Listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.from[c.from]--; l.from[c.from] == 0 {
		delete(l.from, c.from)
	}
	l.opened(float64(len(l.open)))
}

// Spoke notes that a connection of a Listener is no longer silent: its other side has finished a
// handshake, say. It is for servers that have no http.Server.ConnState.
func Spoke(c net.Conn) {
	if ours, ok := c.(*conn); ok {
		ours.standing.CompareAndSwap(silent, idle)
	}
}

// CloseSilent closes the connections that are silent. Servers wait for them when they stop, in vain.
func (l *Listener) CloseSilent() {
	l.closeAll(func(c *conn) bool { return c.standing.Load() == silent })
}

// closeStuck closes the connections that have been sending the same since then.
func (l *Listener) closeStuck(since time.Time) {
	before := since.UnixNano()
	l.closeAll(func(c *conn) bool {
		at := c.sending.Load()
		return at != 0 && at < before
	})
}

func (l *Listener) closeAll(which func(*conn) bool) {
	l.mu.Lock()
	var gone []*conn
	for c := range l.open {
		if which(c) {
			gone = append(gone, c)
		}
	}
	l.mu.Unlock()
	for _, c := range gone {
		_ = c.Close()
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.remove(c)
	return c.Conn.Close()
}

// inner is the connection that TLS goes over, if it does.
func inner(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}

// noteState is for http.Server.ConnState.
func noteState(c net.Conn, state http.ConnState) {
	ours, ok := inner(c).(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		ours.standing.Store(active)
	case http.StateIdle:
		ours.standing.Store(idle)
	default: // it begins silent, and its end is its own
	}
}

// host is an address without its port.
func host(a net.Addr) string {
	name, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return name
}
