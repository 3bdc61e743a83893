package canary

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// State is whether an API server's audit events are seen.
type State string

// The states of an API server.
const (
	// Starting: no canary has returned yet, and it is too early to say why.
	Starting State = "starting"
	// Live: canaries return in time.
	Live State = "live"
	// Late: canaries return, but later than their events could be joined.
	Late State = "late"
	// Silent: the API server answers canaries, and no audit event of it arrives at all.
	Silent State = "silent"
	// Filtered: audit events arrive, those of canaries are not among them.
	Filtered State = "filtered"
	// Unreachable: the API server does not answer canaries, so nothing is known of its audit events.
	Unreachable State = "unreachable"
)

// Seen reports whether the API server's audit events come through, be it late.
func (s State) Seen() bool { return s == Live || s == Late }

// advice is what people can do about a state that is not as it should be.
func (s State) advice() string {
	switch s {
	case Late:
		return "its audit events arrive too late to be joined: check its --audit-webhook-batch-max-wait and the network to the sink"
	case Silent:
		return "check its --audit-webhook-config-file and --audit-policy-file, and that it reaches the sink"
	case Filtered:
		return "its audit policy leaves out what Portcullis needs: compare it with the one that portcullisctl audit config writes"
	case Unreachable:
		return "check that the server's pod may connect to it, and that its certificate is valid for kubernetes.default.svc"
	default:
		return ""
	}
}

// Status is what is known of one API server.
type Status struct {
	// Address is host:port behind the Service "kubernetes".
	Address string
	// Source is what events of it name as theirs; empty until a canary has returned.
	Source string
	State  State
	// Since is when it entered the state.
	Since time.Time
	// Returned is when the latest canary came back, and Lag how long that took.
	Returned time.Time
	Lag      time.Duration
	// Clock is what is known of its clock.
	Clock event.Clock
}

// Gap is a time during which an API server's audit events are not known to have come through: a
// canary that flew in it did not return.
type Gap struct {
	Address, Source string
	From, To        time.Time
}

// maxFlights bounds the flights that are remembered of one API server: of the last three quarters
// of an hour at the default period.
const maxFlights = 256

// server is one API server.
type server struct {
	address string
	// source is where its latest canary returned from.
	source string
	state  State
	since  time.Time
	// added is when the first canary was about to fly, seen when the Service had it last, listed whether it has it now.
	added, seen time.Time
	listed      bool
	// flights are the latest ones, oldest first.
	flights []*flight
}

// flight is one canary.
type flight struct {
	agent  string
	server *server
	sent   time.Time
	// trip is zero until the request is answered.
	trip Trip
	// What follows is known once the event is back: its request, its source, when we had it, and when
	// the API server's clock says that the request came.
	request, source string
	received, stamp time.Time
}

func (f *flight) lag() time.Duration { return max(0, f.received.Sub(f.sent)) }

// add notes a flight, and returns the one that had to go for it.
func (s *server) add(f *flight) (dropped *flight) {
	if len(s.flights) >= maxFlights {
		dropped = s.flights[0]
		s.flights = s.flights[1:]
	}
	s.flights = append(s.flights, f)
	return dropped
}

// latest is the canary that returned last, nil if none has.
func (s *server) latest() *flight {
	var latest *flight
	for _, f := range s.flights {
		if !f.received.IsZero() && (latest == nil || !f.received.Before(latest.received)) {
			latest = f
		}
	}
	return latest
}

// limits are after which time without a return an API server is not seen, and with which lag it is late.
type limits struct{ blind, late time.Duration }

// judge says in what state the server is. It cannot tell Filtered from Silent.
func (s *server) judge(now time.Time, limit limits) State {
	latest := s.latest()
	switch {
	case latest != nil && now.Sub(latest.received) < limit.blind:
		if latest.lag() > limit.late {
			return Late
		}
		return Live
	case now.Sub(s.added) < limit.blind:
		return Starting
	case !s.answers(latest):
		return Unreachable
	default:
		return Silent
	}
}

// answers reports whether a request was answered since that flight.
func (s *server) answers(since *flight) bool {
	for _, f := range s.flights {
		if !f.trip.Answered.IsZero() && (since == nil || f.sent.After(since.sent)) {
			return true
		}
	}
	return false
}

// gaps are the times around canaries that were lost: from the one that returned before it until
// the one that returned after it.
func (s *server) gaps(now time.Time, limit limits) []Gap {
	var out []Gap
	seen, open := s.added, false
	for _, f := range s.flights {
		switch {
		case !f.received.IsZero():
			if open {
				out = append(out, Gap{Address: s.address, Source: s.source, From: seen, To: f.sent})
			}
			seen, open = f.sent, false
		case now.Sub(f.sent) >= limit.blind:
			open = true
		}
	}
	if open {
		out = append(out, Gap{Address: s.address, Source: s.source, From: seen, To: now})
	}
	return out
}
