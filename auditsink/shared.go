package auditsink

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/portcullis-dev/portcullis/event"
)

// What requests have in common is read once, and shared between their events:
// users, who make thousands of requests each, and annotations, which mostly say
// by which of a few roles the request was allowed. It is found again by its text.
//
// Both are bounded: a text has its place by its hash, and whoever comes next
// takes it. Texts are short, so that all of them together never take more than
// some 25 MiB, and a few hundred KiB where nobody tries. A client that never looks the same twice makes its
// own events cost what they would without this, and pushes others out of a place
// now and then.
const (
	sharedUsers       = 2048
	sharedAnnotations = 1024
	// maxShared is how long a text may be that is shared.
	maxShared = 1024
)

// shared are values of one kind, by the text that they were read from.
type shared[V any] struct {
	seed  maphash.Seed
	parse func(*scanner, *V) bool
	// likely has the last value that was found with a hint, exact has each by its text.
	likely, exact []atomic.Pointer[sharedValue[V]]
}

type sharedValue[V any] struct {
	text  string
	value V
}

func newShared[V any](size int, parse func(*scanner, *V) bool) shared[V] {
	return shared[V]{
		seed: maphash.MakeSeed(), parse: parse,
		likely: make([]atomic.Pointer[sharedValue[V]], size),
		exact:  make([]atomic.Pointer[sharedValue[V]], size),
	}
}

// object reads the object that s stands at, or returns nil. Objects that come with the same hint should be
// the same as a rule: then they need not be looked at but for being the same.
// (Objects end where they end: a text that begins with a whole one begins with no other.)
func (t *shared[V]) object(s *scanner, hint uint64) *V {
	guess := &t.likely[hint%uint64(len(t.likely))]
	if v := guess.Load(); v != nil && strings.HasPrefix(s.text[s.at:], v.text) {
		s.at += len(v.text)
		return &v.value
	}
	begin := s.at
	if s.peek() != '{' || !s.value(maxDepth) {
		return nil
	}
	text := s.text[begin:s.at]
	if len(text) > maxShared {
		return t.read(strings.Clone(text))
	}
	exact := &t.exact[t.hash(text)%uint64(len(t.exact))]
	v := exact.Load()
	if v == nil || v.text != text {
		text = strings.Clone(text) // It outlives the delivery, and must not hold on to it.
		value := t.read(text)
		if value == nil {
			return nil
		}
		v = &sharedValue[V]{text: text, value: *value}
		exact.Store(v)
	}
	guess.Store(v)
	return &v.value
}

func (t *shared[V]) read(text string) *V {
	scan, value := newScanner(text), new(V)
	if !t.parse(&scan, value) {
		return nil
	}
	return value
}

func (t *shared[V]) hash(text string) uint64 { return maphash.String(t.seed, text) }

// user is what is read of a user.
type user struct {
	event.AuditUser
	// pod is the pod that the credential is bound to.
	pod event.Pod
}

func (n *names) readUser(s *scanner, u *user) bool {
	ok := s.members(n.user, func(place int) (ok bool) {
		switch place {
		case userUsername:
			return s.str(&u.Username)
		case userUID:
			return s.str(&u.UID)
		case userGroups:
			u.Groups, ok = s.strs()
			return ok
		default:
			u.Extra, ok = s.lists()
			return ok
		}
	})
	u.pod = event.CallerOf(&u.AuditUser)
	return ok && len(u.Extra) <= MaxEntries
}

func readAnnotations(s *scanner, annotations *map[string]string) bool {
	*annotations = make(map[string]string)
	return s.entries(func(key string) bool {
		var text string
		ok := s.str(&text)
		(*annotations)[key] = text
		return ok
	}) && len(*annotations) <= MaxEntries
}

// strs reads an array of strings that is not longer than what is kept.
func (s *scanner) strs() (out []string, ok bool) {
	if !s.literal("[") {
		return nil, false
	}
	if s.literal("]") {
		return []string{}, true
	}
	for len(out) < MaxEntries {
		var text string
		if !s.str(&text) {
			return nil, false
		}
		out = append(out, text)
		switch s.token() {
		case ',':
		case ']':
			return out, true
		default:
			return nil, false
		}
	}
	return nil, false
}

// lists reads an object of arrays of strings.
func (s *scanner) lists() (out map[string][]string, ok bool) {
	out = make(map[string][]string)
	ok = s.entries(func(key string) (ok bool) {
		out[key], ok = s.strs()
		return ok
	})
	return out, ok
}

// entries reads an object of any names, and calls read for each.
func (s *scanner) entries(read func(key string) bool) bool {
	if !s.literal("{") {
		return false
	}
	if s.literal("}") {
		return true
	}
	for {
		var key string
		if !s.str(&key) || s.token() != ':' || !read(key) {
			return false
		}
		switch s.token() {
		case ',':
		case '}':
			return true
		default:
			return false
		}
	}
}
