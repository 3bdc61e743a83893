package jetstream

import (
	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// The weights of a candidate and of its event, besides their texts: about what they take.
const (
	weightOfCandidate = 128
	weightOfEvent     = 1024
)

// weigh tells how much of a message each of its candidates is. The first one of an event has the event's weight.
func weigh(candidates []bus.Candidate) []int {
	weights := make([]int, len(candidates))
	var last *event.Event
	for i, c := range candidates {
		weights[i] = weightOfCandidate + len(c.Key)
		if c.Event != last {
			last = c.Event
			weights[i] += weightOfEvent + weighEvent(last)
		}
	}
	return weights
}

// weighEvent looks at what can be large.
func weighEvent(e *event.Event) int {
	weight := 0
	if p := e.Process; p != nil {
		weight += sizeOf(p.Args...) + sizeOf(p.WorkingDirectory, p.Executable)
		if p.Parent != nil {
			weight += sizeOf(p.Parent.Args...)
		}
	}
	if a := e.Audit; a != nil {
		weight += len(a.RequestObject) + len(a.ResponseObject) + sizeOf(a.RequestURI, a.UserAgent, a.Reason, a.Message, a.ObjectRef.Name)
		weight += sizeOf(a.SourceIPs...) + sizeOf(a.User.Groups...) + sizeOfMap(a.User.Extra, sizeOfList) + sizeOfMap(a.Annotations, sizeOfText)
	}
	return weight
}
