package app

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/event"
)

const (
	// attributionEvery is how often it is looked whether the user of a session is certain by now.
	attributionEvery = 100 * time.Millisecond
	// attributionPatience is how long a detection waits for that. An API server may hold an audit event for half a minute, and
	// of two equal sessions it may only be known which is whose when one of them ends.
	attributionPatience = time.Hour
	// maxUnattributed bounds how many wait. Beyond, the oldest are given up.
	maxUnattributed = 1024
)

// unattributed are the detections whose rules ask for the quarantine of whoever asked for an exec session, while that is not certain.
type unattributed struct {
	// session is what is known of a session now.
	session func(id string) *event.Session
	// decided is told of each once: who it was, or why that is never to be known.
	decided func(ctx context.Context, d *event.Detection, user, why string)
	now     func() time.Time
	givenUp prometheus.Counter

	mutex   sync.Mutex
	waiting []*event.Detection
}

func newUnattributed(session func(string) *event.Session, now func() time.Time, reg prometheus.Registerer) (*unattributed, error) {
	u := &unattributed{session: session, now: now, givenUp: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "portcullis_responses_unattributed_total",
		Help: "Detections whose rule asks for the quarantine of whoever asked for an exec session, and of which that was never certain.",
	})}
	return u, reg.Register(u.givenUp)
}

// add has a detection wait. One that waits already is replaced: other events may make it up by now.
func (u *unattributed) add(d *event.Detection) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if i := slices.IndexFunc(u.waiting, func(other *event.Detection) bool { return other.ID == d.ID }); i >= 0 {
		u.waiting[i] = d
		return
	}
	u.waiting = append(u.waiting, d)
}

// run decides what can be decided, until ctx ends.
func (u *unattributed) run(ctx context.Context) error {
	ticker := time.NewTicker(attributionEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			u.look(ctx)
		}
	}
}

func (u *unattributed) look(ctx context.Context) {
	u.mutex.Lock()
	all := slices.Clone(u.waiting)
	u.mutex.Unlock()
	for i, d := range all {
		user, why, open := correlator.Person(d, u.session)
		switch {
		case why == "":
		case open && len(all)-i <= maxUnattributed && u.now().Sub(d.At) < attributionPatience:
			continue
		default:
			user = ""
			u.givenUp.Inc()
		}
		u.drop(d.ID)
		u.decided(ctx, u.asKnown(d), user, why)
	}
}

func (u *unattributed) drop(id string) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.waiting = slices.DeleteFunc(u.waiting, func(d *event.Detection) bool { return d.ID == id })
}

// asKnown is the detection with what is known of its sessions now.
func (u *unattributed) asKnown(d *event.Detection) *event.Detection {
	known := func(of *event.Session) *event.Session {
		if of == nil {
			return nil
		}
		return cmp.Or(u.session(of.ID), of)
	}
	own := *d
	own.Events, own.Sessions = slices.Clone(d.Events), slices.Clone(d.Sessions)
	for i, e := range own.Events {
		now := *e
		now.Session = known(e.Session)
		own.Events[i] = &now
	}
	for i, s := range own.Sessions {
		own.Sessions[i] = known(s)
	}
	return &own
}
