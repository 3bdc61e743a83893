package quarantine

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// Index is who is denied in this process. Reading it takes no lock and allocates
// nothing, and does not slow down as it grows. Changing it costs more where many pods of one namespace or
// node are in it. The zero Index is empty and ready.
//
// A subject has several entries when people and rules quarantined it under different names.
type Index struct {
	// By the pod's UID, the node's name, …: accounts by the user name of the service account.
	pods, nodes, namespaces, users, groups, accounts, credentials table[string]
	// The pods' entries once more: by name, by namespace, and by the node that they run on, which is
	// empty for those of which nobody knows.
	named          table[podName]
	podsIn, podsOn table[string]

	// write guards byName, and serialises changes.
	write  sync.Mutex
	byName map[string]*Entry // by the object's name
}

type podName struct{ namespace, name string }

// table has entries by a key. Its zero value is empty and ready.
type table[K comparable] struct {
	entries sync.Map // of []*Entry, which are immutable
	// keys is how many there are: an empty table costs its readers nothing.
	keys atomic.Int64
}

// of returns the entries of the key, expired ones included. The caller must not change the slice.
func (t *table[K]) of(key K) []*Entry {
	if t.keys.Load() == 0 {
		return nil
	}
	v, _ := t.entries.Load(key)
	entries, _ := v.([]*Entry)
	return entries
}

// denies returns an entry of the key that stands against the operation.
func (t *table[K]) denies(key K, door string, now time.Time) *Entry {
	for _, e := range t.of(key) {
		if e.Denies(door, now) {
			return e
		}
	}
	return nil
}

func (t *table[K]) isEmpty() bool { return t.keys.Load() == 0 }

// insert and withdraw never change a slice that a reader may hold.
func (t *table[K]) insert(key K, e *Entry) {
	before := t.of(key)
	t.entries.Store(key, append(slices.Clone(before), e))
	if len(before) == 0 {
		t.keys.Add(1)
	}
}

func (t *table[K]) withdraw(key K, e *Entry) {
	before := t.of(key)
	rest := slices.DeleteFunc(slices.Clone(before), func(other *Entry) bool { return other == e })
	switch {
	case len(rest) > 0:
		t.entries.Store(key, rest)
	case len(before) > 0:
		t.keys.Add(-1)
		t.entries.Delete(key)
	}
}

// Get returns the entry of the object of that name, an expired one too.
func (x *Index) Get(name string) (*Entry, bool) {
	x.write.Lock()
	defer x.write.Unlock()
	e, ok := x.byName[name]
	return e, ok
}

// Of returns the entries of the subject, expired ones included. The caller must not change the slice.
func (x *Index) Of(s v1alpha1.Subject) []*Entry {
	t := x.byKind(s.Kind)
	if t == nil {
		return nil
	}
	return t.of(keyOf(s))
}

// Denied reports whether something in the Index stands against the operation of the subject.
func (x *Index) Denied(s v1alpha1.Subject, operation v1alpha1.Operation, now time.Time) bool {
	return slices.ContainsFunc(x.Of(s), func(e *Entry) bool { return e.Denies(string(operation), now) })
}

// Len is how many entries there are, expired ones included.
func (x *Index) Len() int {
	x.write.Lock()
	defer x.write.Unlock()
	return len(x.byName)
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
	if t := x.byKind(e.Subject.Kind); t != nil {
		t.insert(keyOf(e.Subject), e)
	}
	if isPod(e) {
		x.named.insert(podName{e.Subject.Namespace, e.Subject.Name}, e)
		x.podsIn.insert(e.Subject.Namespace, e)
		x.podsOn.insert(e.Node, e)
	}
}

func (x *Index) unlink(e *Entry) {
	if e == nil {
		return
	}
	if t := x.byKind(e.Subject.Kind); t != nil {
		t.withdraw(keyOf(e.Subject), e)
	}
	if isPod(e) {
		x.named.withdraw(podName{e.Subject.Namespace, e.Subject.Name}, e)
		x.podsIn.withdraw(e.Subject.Namespace, e)
		x.podsOn.withdraw(e.Node, e)
	}
}

// byKind is the table of the kind's subjects, nil for a kind that this version does not know.
func (x *Index) byKind(kind v1alpha1.SubjectKind) *table[string] {
	switch kind {
	case v1alpha1.SubjectPod:
		return &x.pods
	case v1alpha1.SubjectUser:
		return &x.users
	case v1alpha1.SubjectGroup:
		return &x.groups
	case v1alpha1.SubjectServiceAccount:
		return &x.accounts
	case v1alpha1.SubjectCredential:
		return &x.credentials
	case v1alpha1.SubjectNode:
		return &x.nodes
	case v1alpha1.SubjectNamespace:
		return &x.namespaces
	default:
		return nil
	}
}

// keyOf is what requests are compared with.
func keyOf(s v1alpha1.Subject) string {
	switch s.Kind {
	case v1alpha1.SubjectPod:
		return s.UID
	case v1alpha1.SubjectServiceAccount:
		return "system:serviceaccount:" + s.Namespace + ":" + s.Name
	default:
		return s.Name
	}
}

func isPod(e *Entry) bool { return e.Subject.Kind == v1alpha1.SubjectPod }
