package collector

import (
	"time"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/skew"
)

// pingEvery is how often an agent's clock is asked for. Between two answers the two
// clocks drift apart by less than a few milliseconds.
const pingEvery = 15 * time.Second

// worthTelling is by how much a clock must have moved since people were last told: ours may be
// following the wall clock, and then all others seem to move a little all the time.
const worthTelling = 100 * time.Millisecond

// ping is the question that an agent has not answered yet. The first is the welcome.
type ping struct {
	number uint64
	sent   time.Time
}

// ask sends the next ping.
func (st *stream) askClock() error {
	st.ping = ping{number: st.ping.number + 1, sent: st.opts.Clock()}
	return st.grpc.Send(&telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Ping{
		Ping: &telemetryv1.Ping{Number: st.ping.number},
	}})
}

// answeredClock compares the agent's clock with ours: it showed what the answer says at some
// moment between the question and now. An answer to another question than the last says nothing.
func (st *stream) answeredClock(pong *telemetryv1.Pong) {
	now := st.opts.Clock()
	at := pong.GetAt()
	if pong.GetNumber() != st.ping.number || at.CheckValid() != nil || at.GetSeconds() <= 0 {
		return
	}
	b, ok := skew.Between(st.ping.sent, now, at.AsTime())
	if !ok {
		return
	}
	st.session.mu.Lock()
	defer st.session.mu.Unlock()
	changed := st.session.clock.Add(b, now)
	if offset := st.session.clock.Offset; changed && offset != 0 && (st.session.told == 0 || (offset-st.session.told).Abs() >= worthTelling) {
		st.session.told = offset
		st.opts.Logger.Warn("an agent's clock is not the server's: its events' times are corrected", "node", st.agent.Node,
			"ahead", st.session.clock.Offset, "tolerance", st.session.clock.Tolerance(now))
	}
	st.metrics.clockOffset.WithLabelValues(st.agent.Node).Set(st.session.clock.Offset.Seconds())
	st.metrics.clockTolerance.WithLabelValues(st.agent.Node).Set(st.session.clock.Tolerance(now).Seconds())
}

// clockAt is what is known of an agent's clock.
func clockAt(e skew.Estimate, now time.Time) event.Clock {
	if !e.Known() {
		return event.Clock{}
	}
	return event.Clock{Offset: e.Offset, Tolerance: e.Tolerance(now), Measured: true}
}
