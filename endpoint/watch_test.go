package endpoint

import (
	"net"
	"slices"
	"testing"
	"time"
)

// closing is a connection of which only the end matters.
type closing struct {
	net.Conn
	name   string
	closed *[]string
}

func (c closing) Close() error {
	*c.closed = append(*c.closed, c.name)
	return nil
}

// TestOnlyWhoIsOverdueIsClosed: whoever answers in time is left alone, however long his connection lives.
func TestOnlyWhoIsOverdueIsClosed(t *testing.T) {
	now := time.Unix(0, 0)
	var closed []string
	w := &watch{listener: Listen(nil, 1), requests: 10 * time.Second, writes: 10 * time.Second, now: func() time.Time { return now }}
	slow := w.begin(closing{name: "slow", closed: &closed})
	busy := closing{name: "busy", closed: &closed}
	for range 9 {
		request := w.begin(busy)
		now = now.Add(time.Second)
		w.look()
		w.end(request)
	}
	if len(closed) > 0 {
		t.Fatalf("closed %v, of whom nobody was overdue", closed)
	}
	last := w.begin(busy)
	now = now.Add(time.Second)
	w.look()
	if !slices.Equal(closed, []string{"slow"}) {
		t.Errorf("closed %v, want the slow one", closed)
	}
	w.end(slow)
	w.end(last)
	now = now.Add(time.Hour)
	w.look()
	if len(closed) != 1 {
		t.Errorf("closed %v after all had ended", closed)
	}
}
