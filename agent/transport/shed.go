package transport

import telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"

// What has to go when the spool is full is taken from whom most of it is: the oldest events of
// the container that has most, and first those of the one program that most of these are of. A
// container that executes without end so loses its own events, not another's, and not what else it does.

// mattersMost stands for the program of all events that are opens, entry leaders and exceeded budgets: they
// are among themselves.
const mattersMost = "\x00"

func program(e *telemetryv1.Event) string {
	switch e.GetWhat().(type) {
	case *telemetryv1.Event_Open, *telemetryv1.Event_Limit:
		return mattersMost
	}
	if e.GetProcess().GetEntryLeader().GetSameAsProcess() {
		return mattersMost
	}
	return e.GetProcess().GetExecutable()
}

// share is how much of a queue is of one container, or of one program of it if that is named.
type share struct {
	container string
	program   *string
	cost      int
}

func (s share) has(e *telemetryv1.Event) bool {
	return e.GetContainer().GetId() == s.container && (s.program == nil || program(e) == *s.program)
}

// largest finds the container that has most of a queue.
func largest(queue []item) share {
	costs := map[string]int{}
	var most share
	for _, it := range queue {
		id := it.event.GetContainer().GetId()
		costs[id] += it.cost
		if costs[id] > most.cost {
			most = share{container: id, cost: costs[id]}
		}
	}
	return most
}

// largestProgram finds the program that has most of a container's share.
func largestProgram(queue []item, of share) share {
	costs := map[string]int{}
	most := share{container: of.container}
	for _, it := range queue {
		if !of.has(it.event) {
			continue
		}
		name := program(it.event)
		costs[name] += it.cost
		if costs[name] > most.cost {
			most.program, most.cost = &name, costs[name]
		}
	}
	return most
}

// shed drops events of a queue until so much is free, or none are left. It returns what is left, in its order.
func shed(queue []item, wanted int) (left []item, freed, dropped int) {
	for freed < wanted && len(queue) > 0 {
		container := largest(queue)
		// Half of what each has, and the next time it may be another's turn.
		for _, from := range []share{largestProgram(queue, container), container} {
			var f, d int
			queue, f, d = dropOldest(queue, from, min(wanted-freed, from.cost/2))
			freed, dropped = freed+f, dropped+d
			if freed >= wanted {
				break
			}
		}
	}
	return queue, freed, dropped
}

// dropOldest drops at least one event of a share, until so much is free.
func dropOldest(queue []item, from share, wanted int) (left []item, freed, dropped int) {
	left = queue[:0]
	for i, it := range queue {
		if dropped > 0 && freed >= wanted {
			left = append(left, queue[i:]...)
			break
		}
		if !from.has(it.event) {
			left = append(left, it)
			continue
		}
		freed, dropped = freed+it.cost, dropped+1
	}
	clear(queue[len(left):])
	return left, freed, dropped
}

// shedAtOnce is the part of the spool that is made free at once, so that not every event has to look for the largest share.
const shedAtOnce = 16

// makeRoom drops events that no file holds and that have no number, if there are any, until the spool is within its bound. Where
// files are written they are of those that wait for that: a disk that is too slow must not hold Push up.
func (s *Spool) makeRoom() {
	for s.size > s.opts.MaxBytes {
		queue, cost := &s.pending, 0
		if len(s.tail) > 0 {
			queue = &s.tail
		}
		for _, it := range *queue {
			cost += it.cost
		}
		wanted := max(s.size-s.opts.MaxBytes, min(s.opts.MaxBytes/shedAtOnce, cost/shedAtOnce))
		left, freed, dropped := shed(*queue, wanted)
		if dropped == 0 {
			return // all that is left is sent, and not acknowledged
		}
		if queue == &s.tail {
			s.tailSize -= freed
		}
		*queue = left
		s.size -= freed
		s.dropped += uint64(dropped) //nolint:gosec // a count
	}
}
