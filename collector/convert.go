package collector

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
)

// ActionLimit is event.action of an event that says that a container exceeded
// what an agent reports of one container: whoever floods may want to hide something.
const ActionLimit = "telemetry-limit"

const (
	// maxEvent bounds one event. Agents make none above 64 KiB.
	maxEvent = 256 << 10
	// maxAhead is how far in the future an event may be. One from next week
	// would make everything else look late.
	maxAhead = 24 * time.Hour
	// maxID bounds UIDs, container ids and session ids.
	maxID = 128
)

// refusal is why an event is not taken, as the metric shows it.
type refusal string

const (
	refusedNone        refusal = ""
	refusedTooLarge    refusal = "too_large"
	refusedNoSequence  refusal = "no_sequence"
	refusedTime        refusal = "bad_time"
	refusedNoContainer refusal = "bad_container"
	refusedNoProcess   refusal = "no_process"
	refusedUnknownKind refusal = "unknown_kind"
	refusedForeignPod  refusal = "foreign_pod"
)

// origin is where events come from.
type origin struct {
	node     string
	session  string
	received time.Time
	clock    event.Clock
}

// convert makes an event of what an agent sent, or says why not. The result
// shares strings and slices with in, which must not be used afterwards.
func convert(in *telemetryv1.Event, from origin) (*event.Event, refusal) {
	if why := check(in, from); why != refusedNone {
		return nil, why
	}
	id := eventID(from, in)
	at := in.GetTime().AsTime().Add(-from.clock.Offset)
	out := &event.Event{
		ID:        id,
		Request:   id,
		Source:    "agent/" + from.node,
		Time:      at,
		StageTime: at,
		Received:  from.received,
		Clock:     from.clock,
		Pod:       event.Pod{UID: in.GetContainer().GetPodUid(), Node: from.node, Confidence: event.Exact},
		Container: &event.Container{ID: in.GetContainer().GetId()},
		Process:   process(in.GetProcess(), from.clock.Offset),
	}
	switch what := in.GetWhat().(type) {
	case *telemetryv1.Event_Exec:
		out.Kind, out.Dataset = event.KindProcess, event.DatasetProcess
		out.Category, out.Type, out.Action = []string{"process"}, []string{"start"}, []string{"exec"}
	case *telemetryv1.Event_Open:
		out.Kind, out.Dataset = event.KindFile, event.DatasetFile
		out.Category, out.Type, out.Action = []string{"file"}, []string{"change"}, []string{"open"}
		out.File = &event.File{Path: what.Open.GetPath(), ResolvedPath: what.Open.GetResolvedPath()}
	case *telemetryv1.Event_Exit:
		out.Kind, out.Dataset = event.KindProcess, event.DatasetProcess
		out.Category, out.Type, out.Action = []string{"process"}, []string{"end"}, []string{"end"}
		out.Process.Exit = &event.ProcessExit{Code: int(what.Exit.GetCode()), Signal: int(what.Exit.GetSignal())}
	case *telemetryv1.Event_Limit:
		out.Kind, out.Dataset = event.KindProcess, event.DatasetProcess
		out.Category, out.Type, out.Action = []string{"process"}, []string{"info"}, []string{ActionLimit}
		out.Limit = &event.Limit{Budget: limitBudget(what.Limit.GetBudget()), Suppressed: what.Limit.GetSuppressed()}
	default: // of a newer agent
		return nil, refusedUnknownKind
	}
	return out, refusedNone
}

func check(in *telemetryv1.Event, from origin) refusal {
	switch {
	case in == nil || in.GetSequence() == 0:
		return refusedNoSequence
	case in.GetFirst() != nil && (!validID(in.GetFirst().GetSessionId()) || in.GetFirst().GetSequence() == 0):
		return refusedNoSequence
	case proto.Size(in) > maxEvent:
		return refusedTooLarge
	case in.GetTime().CheckValid() != nil || in.GetTime().GetSeconds() <= 0:
		return refusedTime
	case in.GetTime().AsTime().Add(-from.clock.Offset).Sub(from.received) > maxAhead:
		return refusedTime
	case !validID(in.GetContainer().GetPodUid()) || !validID(in.GetContainer().GetId()):
		return refusedNoContainer
	case in.GetProcess() == nil:
		return refusedNoProcess
	}
	return refusedNone
}

// validID accepts what UIDs, container ids and session ids are made of. Static
// pods have 32 hex digits for a UID, not the usual form.
func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	return strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == ""
}

// eventID names an event by what stays the same when it is sent again: node,
// session and number. The content adds nothing, since whoever could send other
// content under the same number is the agent itself, and it would make the ID
// hang on how a version of the protocol is encoded.
func eventID(from origin, in *telemetryv1.Event) string {
	session, sequence := from.session, in.GetSequence()
	if first := in.GetFirst(); first != nil {
		session, sequence = first.GetSessionId(), first.GetSequence()
	}
	b := make([]byte, 0, 2*maxID)
	for _, s := range []string{"agent", from.node, session} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.AppendUvarint(b, sequence)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// process converts a process, whose times were read from a clock that is ahead by so much.
func process(in *telemetryv1.Process, ahead time.Duration) *event.Process {
	return &event.Process{
		PID: in.GetPid(), PPID: in.GetPpid(), EntityID: in.GetEntityId(),
		Name: in.GetName(), Executable: in.GetExecutable(),
		Args: in.GetArgs(), ArgsTruncated: in.GetArgsTruncated(),
		WorkingDirectory: in.GetWorkingDirectory(),
		UID:              in.GetUid(), GID: in.GetGid(),
		Start:       asTime(in.GetStart(), ahead),
		Interactive: in.GetInteractive(), TTY: in.GetTty(),
		Parent:      parent(in.GetParent()),
		EntryLeader: entryLeader(in.GetEntryLeader(), ahead),
	}
}

func parent(in *telemetryv1.Parent) *event.ProcessRef {
	if in == nil {
		return nil
	}
	return &event.ProcessRef{
		PID: in.GetPid(), EntityID: in.GetEntityId(), Name: in.GetName(), Executable: in.GetExecutable(),
		Args: in.GetArgs(), Interactive: in.GetInteractive(),
	}
}

func entryLeader(in *telemetryv1.EntryLeader, ahead time.Duration) *event.EntryLeader {
	if in == nil {
		return nil
	}
	return &event.EntryLeader{
		PID: in.GetPid(), EntityID: in.GetEntityId(), Start: asTime(in.GetStart(), ahead),
		MetaType: in.GetMetaType(), SameAsProcess: in.GetSameAsProcess(), Interactive: in.GetInteractive(),
		Began: began(in.GetBegan()),
	}
}

func began(in telemetryv1.Began) event.Began {
	switch in {
	case telemetryv1.Began_BEGAN_CONTAINER:
		return event.BeganContainer
	case telemetryv1.Began_BEGAN_SESSION:
		return event.BeganSession
	case telemetryv1.Began_BEGAN_SESSION_OR_PROBE:
		return event.BeganSessionOrProbe
	default: // unknown to the agent, or of a newer one
		return event.BeganUnknown
	}
}

// limitBudget is the budget's name, if it is one that agents have.
func limitBudget(name string) string {
	switch name {
	case "entries", "opens", "execs", "exits":
		return name
	default:
		return "other"
	}
}

// asTime is the zero time where the agent could not tell.
func asTime(t *timestamppb.Timestamp, ahead time.Duration) time.Time {
	if t.CheckValid() != nil {
		return time.Time{}
	}
	return t.AsTime().Add(-ahead)
}
