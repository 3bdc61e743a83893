package app

import (
	"cmp"
	"hash/fnv"
	"io"
	"strconv"
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/record"
)

// change is a state of a detection, with a fingerprint of what there is to tell in it.
type change struct {
	state event.State
	by    string
	print uint64
}

func changeOf(d *event.Detection) change {
	return change{cmp.Or(d.State, event.Provisional), d.SupersededBy, fingerprint(d)}
}

// apply has the record say it.
func (c change) apply(rec *record.Record) { rec.State, rec.SupersededBy = c.state, c.by }

// isNews reports whether people have to be told, who know what the record says.
func (c change) isNews(known *record.Record) bool {
	switch {
	case known.Told == 0:
		return true
	case known.State == c.state && known.SupersededBy == c.by:
		// Other events may make it up by now. Other states are told once.
		return c.state == event.Provisional && known.Told != c.print
	case known.State == event.Provisional && c.state == event.Final:
		return known.Told != c.print
	default:
		return true
	}
}

// fingerprint is a hash, never 0, of what a later state of a detection can change: whom
// it is about, its events, and what was not seen.
func fingerprint(d *event.Detection) uint64 {
	h := fnv.New64a()
	add := func(texts ...string) {
		for _, s := range texts {
			_, _ = io.WriteString(h, strconv.Itoa(len(s))+" "+s)
		}
	}
	add(d.Pod.UID, d.Pod.String(), d.Pod.Confidence.String(), d.User, strconv.Itoa(len(d.Pod.Candidates)))
	add(d.Pod.Candidates...)
	add(strconv.Itoa(len(d.Events)))
	for _, e := range d.Events {
		add(e.ID)
	}
	add(strconv.FormatBool(d.Coverage.Known))
	for _, hole := range d.Coverage.Holes {
		add(hole.Source, hole.Cause, strconv.FormatUint(hole.Lost, 10),
			hole.From.UTC().Format(time.RFC3339Nano), hole.To.UTC().Format(time.RFC3339Nano))
	}
	return max(h.Sum64(), 1)
}
