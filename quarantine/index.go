package quarantine

import (
	"slices"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// Index is who is denied in this process. Reading it takes no lock and allocates
// nothing, and neither reading nor changing it slows down as it grows. The zero
// Index is empty and ready.
type Index struct {
	// pods and users have the entries by UID and by user name, named has the pods'
	// by podName. A subject has several entries when people and rules quarantined
	// it under different names. The values, of type []*Entry, are immutable.
	pods, users, named sync.Map

	// write guards byName, and serialises changes.
	write  sync.Mutex
	byName map[string]*Entry // by the object's name
}

type podName struct{ namespace, name string }

// Lookup returns an entry in force for the pod's UID or for the user. Either may be empty.
func (x *Index) Lookup(pod event.Pod, user string, now time.Time) (*Entry, bool) {
	if pod.UID != "" {
		if e := active(load(&x.pods, pod.UID), now); e != nil {
			return e, true
		}
	}
	if user == "" {
		return nil, false
	}
	e := active(load(&x.users, user), now)
	return e, e != nil
}

// Named returns the entries of pods of that name, whatever their UID, expired ones
// included. The caller must not change the slice.
func (x *Index) Named(namespace, name string) []*Entry {
	return load(&x.named, podName{namespace, name})
}

// of returns the entries of the subject, expired ones included.
func (x *Index) of(s v1alpha1.Subject) []*Entry {
	if s.Kind == v1alpha1.SubjectPod {
		return load(&x.pods, s.UID)
	}
	return load(&x.users, s.Name)
}

// Len is how many entries there are, expired ones included.
func (x *Index) Len() int {
	x.write.Lock()
	defer x.write.Unlock()
	return len(x.byName)
}

func active(entries []*Entry, now time.Time) *Entry {
	for _, e := range entries {
		if e.Active(now) {
			return e
		}
	}
	return nil
}

// put adds the entry, in place of the one of the same name.
func (x *Index) put(e *Entry) {
	x.write.Lock()
	defer x.write.Unlock()
	if x.byName == nil {
		x.byName = map[string]*Entry{}
	}
	before := x.byName[e.Name]
	x.byName[e.Name] = e
	// The new one comes first: at no moment may a subject have neither.
	x.link(e)
	x.unlink(before)
}

// remove takes out the entry of that name.
func (x *Index) remove(name string) {
	x.write.Lock()
	defer x.write.Unlock()
	x.unlink(x.byName[name])
	delete(x.byName, name)
}

func (x *Index) link(e *Entry) {
	if isPod(e) {
		insert(&x.pods, e.Subject.UID, e)
		insert(&x.named, podName{e.Subject.Namespace, e.Subject.Name}, e)
		return
	}
	insert(&x.users, e.Subject.Name, e)
}

func (x *Index) unlink(e *Entry) {
	switch {
	case e == nil:
	case isPod(e):
		withdraw(&x.pods, e.Subject.UID, e)
		withdraw(&x.named, podName{e.Subject.Namespace, e.Subject.Name}, e)
	default:
		withdraw(&x.users, e.Subject.Name, e)
	}
}

func isPod(e *Entry) bool { return e.Subject.Kind == v1alpha1.SubjectPod }

func load[K comparable](m *sync.Map, key K) []*Entry {
	v, _ := m.Load(key)
	entries, _ := v.([]*Entry)
	return entries
}

// insert and withdraw never change a slice that a reader may hold.
func insert[K comparable](m *sync.Map, key K, e *Entry) {
	m.Store(key, append(slices.Clone(load(m, key)), e))
}

func withdraw[K comparable](m *sync.Map, key K, e *Entry) {
	rest := slices.DeleteFunc(slices.Clone(load(m, key)), func(other *Entry) bool { return other == e })
	if len(rest) == 0 {
		m.Delete(key)
		return
	}
	m.Store(key, rest)
}
