package quarantine

import (
	"slices"
	"time"
)

const (
	// releaseKept is how long it is waited for the other half of a release: that the object is gone
	// comes with the watch, who deleted it with the audit stream.
	releaseKept = 5 * time.Minute
	// maxReleases bounds either half. What is beyond it ends without a name.
	maxReleases = 4096
)

// releases joins that quarantines are over with who ended them.
type releases struct {
	departed []departure // oldest first
	claims   []claim     // oldest first
}

// departure is the end of a quarantine. It is claimed once it is known by whom.
type departure struct {
	entry      *Entry
	why        string
	detections []string
	at         time.Time
	claimed    bool
}

// claim says who has deleted an object that still seems to be there.
type claim struct {
	name, by string
	at       time.Time
	heard    time.Time
}

// released is a release of which all is known.
type released struct {
	entry *Entry
	by    string
	at    time.Time
}

// release takes over who deleted the object of that name, and when.
func (s *state) release(name, by string, at, now time.Time, fx *effects) {
	s.releases.expire(now)
	departed := false
	for i := range s.releases.departed {
		d := &s.releases.departed[i]
		if d.entry.Name != name {
			continue
		}
		departed = true
		if !d.claimed {
			s.claim(d, by, at, fx)
		}
	}
	if departed {
		return
	}
	s.releases.claims = append(s.releases.claims, claim{name: name, by: by, at: at, heard: now})
}

// departed takes over the end of a quarantine.
func (s *state) departed(d departure, fx *effects) {
	s.releases.expire(d.at)
	i := slices.IndexFunc(s.releases.claims, func(c claim) bool { return c.name == d.entry.Name })
	if i >= 0 {
		c := s.releases.claims[i]
		s.claim(&d, c.by, c.at, fx)
	}
	if _, there := s.tracked[d.entry.Name]; i >= 0 && !there {
		s.releases.claims = slices.Delete(s.releases.claims, i, i+1)
	}
	s.releases.departed = append(s.releases.departed, d)
}

// claim joins an end with who ended it. What has expired was ended by us, whoever deleted the object at last.
func (s *state) claim(d *departure, by string, at time.Time, fx *effects) {
	d.claimed = true
	if d.why != endReleased {
		return
	}
	if own(d.entry) || d.entry.Subject.Kind == "" { // the latter was found missing at the start
		s.record.EndedBy(objectOf(d.entry), by, at, d.detections...)
	}
	if !slices.ContainsFunc(fx.released, func(r released) bool { return r.entry.Name == d.entry.Name }) {
		fx.released = append(fx.released, released{entry: d.entry, by: by, at: at})
	}
}

// objectOf is the name by which the record knows the quarantine.
func objectOf(e *Entry) string {
	if e.Subject.Kind == "" {
		return e.Name
	}
	return ObjectName(e.Subject)
}

// expire forgets halves whose other half does not come.
func (r *releases) expire(now time.Time) {
	old := func(t time.Time) bool { return now.Sub(t) > releaseKept }
	for len(r.departed) > 0 && (old(r.departed[0].at) || len(r.departed) >= maxReleases) {
		r.departed = r.departed[1:]
	}
	for len(r.claims) > 0 && (old(r.claims[0].heard) || len(r.claims) >= maxReleases) {
		r.claims = r.claims[1:]
	}
}
