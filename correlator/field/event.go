package field

import (
	"math"
	"time"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// decision is the annotation in which the API server says whether it allowed a request.
const decision = "authorization.k8s.io/decision"

func eventFields() []definition {
	id := textRow("event.id", both, "A hash of the event.", itself, func(e *event.Event) *string { return &e.ID })
	id.get = func(r *Record) value.Value {
		r.event.Identify()
		return textValue(r.event.ID)
	}
	dataset := textRow("event.dataset", both, "kubernetes.audit_logs for audit events, portcullis.process and portcullis.file for telemetry.",
		itself, func(e *event.Event) *string { return &e.Dataset })
	return []definition{
		textsRow("event.category", both, "ECS category; audit events have none, `any where` still matches them.",
			itself, func(e *event.Event) *[]string { return &e.Category }),
		textsRow("event.type", both, "ECS type, such as start or change.", itself, func(e *event.Event) *[]string { return &e.Type }),
		textsRow("event.action", both, "What happened, such as exec or open; the verb of an audit event.",
			itself, func(e *event.Event) *[]string { return &e.Action }),
		dataset,
		copyOf(dataset, "data_stream.dataset", "Equals event.dataset."),
		id,
		derivedRow("event.kind", value.Keyword, both, "Always event.",
			func(r *Record) value.Value {
				if r.event.Kind == event.KindUnknown {
					return value.Missing()
				}
				return value.String("event")
			}, nil),
		derivedRow("event.outcome", value.Keyword, audit, "success where the API server allowed the request, failure where it forbade it.",
			outcome, setOutcome),
	}
}

func outcome(r *Record) value.Value {
	if r.event.Audit == nil {
		return value.Missing()
	}
	switch r.event.Audit.Annotations[decision] {
	case "allow":
		return value.String("success")
	case "forbid":
		return value.String("failure")
	default:
		return value.Missing()
	}
}

func setOutcome(e *event.Event, given input) error {
	text, err := given.text()
	if err != nil || auditOf(e, true).Annotations[decision] != "" {
		return err
	}
	switch text {
	case "success":
		setAnnotation(e.Audit, decision, "allow")
	case "failure":
		setAnnotation(e.Audit, decision, "forbid")
	}
	return nil
}

// timeRow is a moment. Rules do not read moments: they have sequences.
func timeRow[T any](name, source, doc string, in part[T], at func(*T) *time.Time) definition {
	return definition{
		Info: Info{Name: name, Type: value.Keyword, Doc: doc, Source: source},
		set: func(e *event.Event, given input) (err error) {
			*at(in(e, true)), err = given.time()
			return err
		},
		write: func(e *event.Event) any {
			if p := in(e, false); p != nil && !at(p).IsZero() {
				return at(p).UTC().Format(time.RFC3339Nano)
			}
			return nil
		},
	}
}

func timeFields() []definition {
	eventTime := func(e *event.Event) *time.Time { return &e.Time }
	received := timeRow("kubernetes.audit.requestReceivedTimestamp", audit, "When the API server got the request; wins over @timestamp.", itself, eventTime)
	received.derived = true
	stage := timeRow("kubernetes.audit.stageTimestamp", audit, "When this stage of the request was reached.",
		itself, func(e *event.Event) *time.Time { return &e.StageTime })
	written := stage.write
	stage.write = func(e *event.Event) any {
		if e.Audit == nil || e.StageTime.Equal(e.Time) {
			return nil
		}
		return written(e)
	}
	return []definition{
		timeRow("@timestamp", both, "When it happened, in RFC 3339.", itself, eventTime),
		received, stage,
		timeRow("event.ingested", both, "When Portcullis had it.", itself, func(e *event.Event) *time.Time { return &e.Received }),
		timeRow("process.start", agent, "When the process started.", processOf, func(p *event.Process) *time.Time { return &p.Start }),
		timeRow("process.entry_leader.start", agent, "When the first process of the session or container started.",
			leaderOf, func(l *event.EntryLeader) *time.Time { return &l.Start }),
	}
}

// clockFields say of which clock an event's times are.
func clockFields() []definition {
	nanoseconds := func(name, doc string, at func(*event.Clock) *time.Duration) definition {
		return definition{
			Info: Info{Name: name, Type: value.Number, Source: both, Doc: doc},
			set: func(e *event.Event, given input) error {
				n, err := given.whole(math.MinInt64, math.MaxInt64)
				*at(&e.Clock) = time.Duration(n)
				return err
			},
			write: func(e *event.Event) any {
				if *at(&e.Clock) == 0 {
					return nil
				}
				return int64(*at(&e.Clock))
			},
		}
	}
	measured := flagRow("portcullis.clock.measured", both, "Whether its source's clock was compared with Portcullis'.",
		itself, func(e *event.Event) *bool { return &e.Clock.Measured })
	measured = ifTrue(measured)
	measured.get = nil
	return []definition{
		nanoseconds("portcullis.clock.offset", "How far ahead that clock was, in nanoseconds. The times are corrected by it.",
			func(c *event.Clock) *time.Duration { return &c.Offset }),
		nanoseconds("portcullis.clock.tolerance", "How far that may be wrong, in nanoseconds.",
			func(c *event.Clock) *time.Duration { return &c.Tolerance }),
		measured,
	}
}

// limitFields are of events that say that a container did more than is reported.
func limitFields() []definition {
	return []definition{
		textRow("portcullis.limit.budget", agent, "What a container had too much of to be reported: entries, opens, execs or exits.",
			limitOf, func(l *event.Limit) *string { return &l.Budget }),
		{
			Info: Info{Name: "portcullis.limit.suppressed", Type: value.Number, Source: agent, Doc: "How many events were not reported."},
			get: func(r *Record) value.Value {
				if r.event.Limit == nil {
					return value.Missing()
				}
				return value.Int(int64(min(r.event.Limit.Suppressed, math.MaxInt64)))
			},
			set: func(e *event.Event, given input) error {
				n, err := given.whole(0, math.MaxInt64)
				limitOf(e, true).Suppressed = uint64(n) //nolint:gosec // whole has checked it
				return err
			},
		},
	}
}

func limitOf(e *event.Event, create bool) *event.Limit {
	if e.Limit == nil && create {
		e.Limit = &event.Limit{}
	}
	return e.Limit
}

// bookkeepingFields are of no use to a rule.
func bookkeepingFields() []definition {
	request := textRow("event.request", both, "What the stages of one API request have in common; by default a hash of it.",
		itself, func(e *event.Event) *string { return &e.Request })
	request.get = nil
	request.write = func(e *event.Event) any {
		if e.Request == "" || e.Audit == nil && e.Request == e.ID {
			return nil
		}
		return e.Request
	}
	provider := textRow("event.provider", both, "Who reported it: audit/ and an API server, or agent/ and a node.",
		itself, func(e *event.Event) *string { return &e.Source })
	provider.get = nil
	provider.write = func(e *event.Event) any {
		if e.Source == "" {
			return nil
		}
		return e.Source
	}
	return []definition{request, provider, trimmed()}
}

func trimmed() definition {
	return definition{
		Info: Info{Name: "portcullis.trimmed", Type: value.Number, Source: both,
			Doc: "How many bytes of it are not kept: large objects, the ends of long texts and lists. Rules have seen them."},
		set: func(e *event.Event, given input) error {
			n, err := given.whole(0, math.MaxInt32)
			e.Trimmed = int(n)
			return err
		},
		write: func(e *event.Event) any {
			if e.Trimmed == 0 {
				return nil
			}
			return e.Trimmed
		},
	}
}
