package quarantine

import (
	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// An object's name is made from its subject, but whoever may create Quarantines can
// give that name to another subject (of users always; of pods the CRD keeps them
// from it). Such an object denies whom it says, and must not stand for the
// subject of its name: that one gets an object with a spare name.

// nameFor is the name under which a detection puts the subject into quarantine: the
// one that it is in quarantine under already, else the first that is free.
func (s *state) nameFor(subject v1alpha1.Subject) string {
	for _, e := range s.index.Of(subject) {
		if _, ours := ordinal(e.Name, subject); ours && sameSubject(e.Subject, subject) {
			return e.Name
		}
	}
	return s.freeName(subject, 0)
}

// freeName is the subject's first name, from the n-th on, under which nothing is known.
func (s *state) freeName(subject v1alpha1.Subject, n int) string {
	for ; ; n++ {
		name := objectName(subject, n)
		if _, taken := s.tracked[name]; !taken {
			return name
		}
	}
}

// knows reports whether a detection of the subject adds nothing to what is tracked.
func (s *state) knows(subject v1alpha1.Subject) bool {
	_, known := s.tracked[s.nameFor(subject)]
	return known
}

// displaced takes over that the name of a quarantine belongs to an object of another
// subject: it is written under another name. Nothing changes for its subject.
func (s *state) displaced(t *tracked, fx *effects) {
	old := t.entry
	if s.tracked[old.Name] != t {
		return // it has ended, or moved already
	}
	n, _ := ordinal(old.Name, old.Subject)
	moved := *old
	moved.Name = s.freeName(old.Subject, n+1)
	delete(s.tracked, old.Name)
	s.tracked[moved.Name] = t
	t.entry, t.uid, t.version, t.ending = &moved, "", 0, ""
	s.setDirty(t, true)
	// In this order: at no moment may the subject have neither.
	s.index.put(&moved)
	s.index.remove(old.Name)
	fx.write = append(fx.write, moved.Name)
}
