package join

import (
	"path"
	"slices"
	"strings"
	"time"
)

// maxInterpreters is how many arguments a chain of interpreters may put before a script's.
const maxInterpreters = 6

// SameCommand reports whether the arguments that the kernel has can be those of a command.
func SameCommand(args []string, truncated bool, command []string) bool {
	if len(command) == 0 || len(args) == 0 {
		return len(command) == 0 && (truncated || len(args) == 0)
	}
	if equalArgs(args, truncated, command) {
		return true
	}
	for extra := 1; extra <= maxInterpreters && extra < len(args); extra++ {
		if path.Base(args[extra]) == path.Base(command[0]) && equalArgs(args[extra+1:], truncated, command[1:]) {
			return true
		}
	}
	return false
}

// equalArgs compares arguments, of which the end may be missing, from within the last.
func equalArgs(args []string, truncated bool, command []string) bool {
	if !truncated {
		return slices.Equal(args, command)
	}
	if len(args) > len(command) {
		return false
	}
	if len(args) == 0 {
		return true
	}
	last := len(args) - 1
	return slices.Equal(args[:last], command[:last]) && strings.HasPrefix(command[last], args[last])
}

// relation is how a request can explain a root.
type relation uint8

const (
	not relation = iota
	// loose: later than usual, while the request was open.
	loose
	// firm: at the time at which the request would start its process.
	firm
)

func (e *Engine) relate(r *root, q *request) relation {
	if q.refused || !samePlace(&r.Place, &q.Place) {
		return not
	}
	if !r.Late && (r.TTY != q.TTY && q.Command != nil || q.Command != nil && !SameCommand(r.Args, r.Truncated, q.Command)) {
		return not
	}
	start, tolerance := r.Start.At, e.either(r.Start, q.Since)
	if start.Before(q.Since.At.Add(-tolerance)) {
		return not
	}
	if q.completed.known && start.After(q.completed.At.Add(e.opts.StartLag+e.either(r.Start, q.completed.Moment))) {
		return not
	}
	if start.After(e.opening(q).Add(e.opts.StartLag + tolerance)) {
		return loose
	}
	return firm
}

// Explaining are the requests that can have asked for a root, as far as is known yet, sorted. They are bounded.
func (e *Engine) Explaining(r Root) []string {
	z := e.zones[zoneKey(&r.Place)]
	if z == nil {
		return nil
	}
	var found []*request
	candidate := root{Root: r, zone: z}
	for _, q := range z.requests {
		if e.relate(&candidate, q) != not {
			found = append(found, q)
		}
	}
	return ids(found)
}

// opening is when a request was let through, as far as that is known.
func (e *Engine) opening(q *request) time.Time {
	if q.opened.known && q.opened.At.After(q.Since.At) {
		return q.opened.At
	}
	return q.Since.At
}

func samePlace(r, q *Place) bool {
	if r.Container != "" && q.Container != "" && r.Container != q.Container {
		return false
	}
	switch {
	case r.UID == "" || q.UID == "" && len(q.UIDs) == 0 || r.UID == q.UID:
		return true
	default:
		return slices.Contains(q.UIDs, r.UID)
	}
}

// proves reports whether a request has certainly started a process, which can be the root.
func (e *Engine) proves(r *root, q *request) bool {
	if !q.opened.known {
		return false
	}
	proof := q.opened.At.Add(e.opts.ProofAfter + e.tolerance(q.opened.Moment))
	if !q.completed.known {
		return e.toldPast(q.zone, proof)
	}
	if !q.completed.At.Before(proof) {
		return true
	}
	return r.ended.known && e.together(r, q) && e.nowPast(q.zone, q.completed.At.Add(e.opts.Settle))
}

// together reports whether both have ended, at the same time.
func (e *Engine) together(r *root, q *request) bool {
	apart := q.completed.At.Sub(r.ended.At).Abs()
	return r.ended.known && q.completed.known && apart <= e.opts.EndLag+e.either(r.ended.Moment, q.completed.Moment)
}

// outlived reports whether the request stayed open although the root had ended, alone.
func (e *Engine) outlived(r *root, q *request) bool {
	if !r.ended.known || !r.alone {
		return false
	}
	until := r.ended.At.Add(e.opts.EndLag)
	if q.completed.known {
		return q.completed.At.After(until.Add(e.either(r.ended.Moment, q.completed.Moment)))
	}
	return e.toldPast(q.zone, until.Add(2*e.tolerance(r.ended.Moment)))
}

// agree reports whether nothing in their ends speaks against the two belonging together.
func (e *Engine) agree(r *root, q *request) bool {
	if r.ended.known != q.completed.known {
		return false
	}
	return !r.ended.known || e.together(r, q)
}
