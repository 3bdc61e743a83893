package sequence

import (
	"errors"
	"fmt"
	"time"
)

// Until is the Stage of hits of the sequence's `until` term.
const Until = -1

// Bounds of a Spec. The first is what `with runs` can expand to, generously.
const (
	maxStages = 1000
	maxSpan   = 366 * 24 * time.Hour
)

// Spec is the shape of one sequence.
type Spec struct {
	// Stages are the terms in order, `with runs` already expanded.
	Stages []Stage
	// Until says that the sequence has an `until` term, whose hits have Stage Until.
	Until bool
	// MaxSpan is the most time between the first and the last hit, inclusive.
	// It is required: the caller decides the cap for sequences without one.
	MaxSpan time.Duration
}

// Stage is one term of a sequence.
type Stage struct {
	// Negated is a missing-event term, `![ … ]`.
	Negated bool
}

// Limits bound an Engine's memory. A zero field has the documented default.
type Limits struct {
	// HitsPerKey is the most hits kept of one key, default 1024. Beyond, the owner
	// who has most of them loses its oldest.
	HitsPerKey int
	// Hits is the most hits kept of all keys, default 1<<20, and Bytes the most
	// bytes (as Hit.Size tells), default 1<<30. Beyond, the owner who keeps most
	// loses its oldest.
	Hits  int
	Bytes int64
	// Lateness is how long behind the watermark a hit is still taken, default 0.
	// Hits older than watermark - MaxSpan - Lateness are forgotten (some later
	// where clocks are in doubt).
	Lateness time.Duration
	// Tolerance is the most that Hit.Tolerance is believed, default a minute and at
	// most an hour. Hits are kept longer, by eight times the most that any hit's has
	// been so far.
	Tolerance time.Duration
	// Forgotten, if not nil, is called once for the payload of every hit that
	// Step was given, when it is not kept any longer, or not at all. A match that
	// was told may still have the hit.
	Forgotten func(payload any)
	// Dropped, if not nil, is called for hits that were not taken, or forgotten
	// before their time, as Stats counts them: whose they were, and why.
	Dropped func(owner, cause string, n int)
}

// The causes that Limits.Dropped is called with.
const (
	CauseExpired   = "expired"
	CauseInvalid   = "invalid"
	CauseOverKey   = "over-key-limit"
	CauseOverTotal = "over-total-limit"
)

// maxTolerance bounds Limits.Tolerance.
const maxTolerance = time.Hour

func (l Limits) withDefaults() Limits {
	if l.Forgotten == nil {
		l.Forgotten = func(any) {}
	}
	if l.Tolerance == 0 {
		l.Tolerance = time.Minute
	}
	if l.Dropped == nil {
		l.Dropped = func(string, string, int) {}
	}
	if l.HitsPerKey == 0 {
		l.HitsPerKey = 1024
	}
	if l.Hits == 0 {
		l.Hits = 1 << 20
	}
	if l.Bytes == 0 {
		l.Bytes = 1 << 30
	}
	return l
}

func (l Limits) validate() error {
	switch {
	case l.HitsPerKey < 2:
		return fmt.Errorf("limit HitsPerKey is %d, must be at least 2", l.HitsPerKey)
	case l.Hits < 2:
		return fmt.Errorf("limit Hits is %d, must be at least 2", l.Hits)
	case l.Bytes < 1:
		return fmt.Errorf("limit Bytes is %d, must be positive", l.Bytes)
	case l.Lateness < 0 || l.Lateness > maxSpan:
		return fmt.Errorf("limit Lateness is %s, must be between 0 and %s", l.Lateness, maxSpan)
	case l.Tolerance < 0 || l.Tolerance > maxTolerance:
		return fmt.Errorf("limit Tolerance is %s, must be between 0 and %s", l.Tolerance, maxTolerance)
	}
	return nil
}

// positives maps each stage to its position among the positive ones, -1 for
// the negated, and counts the positive ones.
func (s Spec) positives() (position []int, count int) {
	position = make([]int, len(s.Stages))
	for i, stage := range s.Stages {
		position[i] = -1
		if !stage.Negated {
			position[i] = count
			count++
		}
	}
	return position, count
}

func (s Spec) validate() error {
	_, positive := s.positives()
	switch {
	case len(s.Stages) < 2:
		return errors.New("fewer than two Stages")
	case len(s.Stages) > maxStages:
		return fmt.Errorf("%d Stages, at most %d are possible", len(s.Stages), maxStages)
	case positive == 0:
		return errors.New("no one of Stages is positive")
	case s.MaxSpan <= 0 || s.MaxSpan > maxSpan:
		return fmt.Errorf("field MaxSpan is %s, must be above 0 and at most %s", s.MaxSpan, maxSpan)
	}
	return nil
}

// Hit is an event that satisfied one stage under one key.
type Hit struct {
	// Stage is an index into Spec.Stages, or Until.
	Stage int
	// Key is the encoded join key. An event with several keys makes several hits.
	Key string
	// Time is when the event happened.
	Time time.Time
	// ID identifies the event. It is required, and what Request is if that is
	// empty; apart from that it is not kept, and Match.Hits are without it, as they
	// are without Source.
	ID string
	// Request identifies the request that the event is a stage of: hits of one
	// Request, Time, Stage and Key are one hit, whichever arrived first. It
	// is also the tiebreaker of equal times. Empty means ID.
	Request string
	// Source is whose clock Time was read from; empty is a clock like any other.
	// Hits of one Source are in the order of their times.
	Source string
	// Tolerance is how far that clock may be off, either way. It matters between
	// hits of different Sources only. A hit that is delivered again must have the
	// Source and Tolerance of the first time.
	Tolerance time.Duration
	// Owner is whose the hit is: who keeps too much loses its own. Empty is one
	// owner. The engine keeps the text, so it should be shared by an owner's hits.
	Owner string
	// Payload is the caller's, returned in Match.Hits untouched.
	Payload any
	// Size is the payload's memory in bytes, for Limits.Bytes.
	Size int
}

// Identity is what makes a match that match, whatever the order of arrival:
// its key and its completing hit.
type Identity struct {
	Key     string
	Time    time.Time
	Request string
}

// Change is what happened to a match.
type Change uint8

// The changes. Found comes once per Identity and before any other.
const (
	// Found: the match exists.
	Found Change = iota + 1
	// Revised: the match still exists, made of other hits.
	Revised
	// Superseded: the match does not exist any more, a late hit changed the pairing.
	Superseded
	// Reinstated: a match that had been superseded exists again.
	Reinstated
	// Final: nothing can change the match any more, and no other change of it
	// follows. It comes once for each match that is not superseded by then.
	Final
)

// String returns the change's name as metrics and logs show it.
func (c Change) String() string {
	switch c {
	case Found:
		return "found"
	case Revised:
		return "revised"
	case Superseded:
		return "superseded"
	case Reinstated:
		return "reinstated"
	case Final:
		return "final"
	default:
		return "unknown"
	}
}

// Match is news about a match.
type Match struct {
	Identity
	Change Change
	// Hits are those of the positive stages, in order. For a Superseded match
	// they are what it was made of. Those of a Final one may have been Forgotten.
	Hits []Hit
	// By is, for a Superseded match, the match that took its hits; nil where
	// they only ended.
	By *Identity
}
