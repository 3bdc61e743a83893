package notify

import (
	"container/list"
	"sync"
)

// lane is one sink with the letters that wait for it, oldest first.
type lane struct {
	name string
	sink Sink
	// wake tells the lane's goroutine that there is something to send.
	wake chan struct{}

	mu      sync.Mutex
	waiting *list.List // of *letter
	size    int
	// restored are the changes that an earlier process has left here, until they are told again.
	restored map[change]bool
}

// change is a detection and a state of it.
type change struct{ id, what string }

func newLane(name string, sink Sink) *lane {
	return &lane{name: name, sink: sink, wake: make(chan struct{}, 1), waiting: list.New(), restored: map[change]bool{}}
}

// left reports, once, whether an earlier process has left the letter here. The detection was
// found again since, and the one that is on its way says the same.
func (l *lane) left(m *letter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := change{m.id, m.change}
	defer delete(l.restored, c)
	return l.restored[c]
}

// restore takes over a letter of an earlier process.
func (l *lane) restore(m *letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restored[change{m.id, m.change}] = true
	l.push(m)
}

// add takes a letter.
func (l *lane) add(m *letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.push(m)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) push(m *letter) {
	l.waiting.PushBack(m)
	l.size += len(m.packed)
}

// overflow takes out the oldest letters beyond a number and a size. One that is being sent
// may be among them.
func (l *lane) overflow(letters, size int) (out []*letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.waiting.Len() > letters || l.size > size && l.waiting.Len() > 1 {
		m := l.take(l.waiting.Front())
		delete(l.restored, change{m.id, m.change})
		out = append(out, m)
	}
	return out
}

// first is the letter to be sent next, nil if there is none. It goes on waiting.
func (l *lane) first() *letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.waiting.Front(); at != nil {
		return letterAt(at)
	}
	return nil
}

// done takes out a letter, and reports whether it was still there.
func (l *lane) done(m *letter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := l.waiting.Front(); at != nil; at = at.Next() { // Mostly the first.
		if letterAt(at) == m {
			l.take(at)
			return true
		}
	}
	return false
}

// postpone puts the first letter behind the others, if it is that one.
func (l *lane) postpone(m *letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.waiting.Front(); at != nil && letterAt(at) == m {
		l.waiting.MoveToBack(at)
	}
}

func (l *lane) take(at *list.Element) *letter {
	m := letterAt(at)
	l.waiting.Remove(at)
	l.size -= len(m.packed)
	return m
}

func letterAt(at *list.Element) *letter { return at.Value.(*letter) } // nothing else waits

func (l *lane) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.Len()
}
