package event

import (
	"time"
)

// Kind says what an Event describes.
type Kind uint8

// The kinds of events.
const (
	KindUnknown Kind = iota
	// KindAudit is one stage of one API request, from an API server's audit stream.
	KindAudit
	// KindProcess is a process that started (or ended) in a container, from a node agent.
	KindProcess
	// KindFile is a file opened in a container, from a node agent.
	KindFile
)

// String returns the kind's name as logs and metrics show it.
func (k Kind) String() string {
	switch k {
	case KindAudit:
		return "audit"
	case KindProcess:
		return "process"
	case KindFile:
		return "file"
	default:
		return "unknown"
	}
}

// Event.Dataset by kind. Audit events are called as Elastic's integration calls
// them: rules name it.
const (
	DatasetAudit   = "kubernetes.audit_logs"
	DatasetProcess = "portcullis.process"
	DatasetFile    = "portcullis.file"
)

// Event is one observation. An Event is immutable once its source has handed
// it over and the identity resolver has completed it: it is shared between
// rules and detections without copying.
type Event struct {
	// ID is a hash of the whole event as its source delivered it, in hex. Two
	// deliveries of the same event have the same ID; nothing that a client of
	// the API server chooses (such as the Audit-ID header) can make two
	// different events share one. Both hashes may be left empty while Delivered
	// is set: see Identify.
	ID string
	// Request groups the events that are stages of one API request, and equals
	// ID for all others. It too is a hash over what happened, never the audit ID alone.
	Request string
	Kind    Kind
	// Source names who reported it: "audit/<API server>" or "agent/<node>".
	Source string

	// Time is when it happened.
	Time time.Time
	// StageTime is when this stage of it was reached: stageTimestamp for audit
	// events, Time for all others. Lateness is judged by it.
	StageTime time.Time
	// Received is when Portcullis had it.
	Received time.Time
	// Clock is that of the source. Time and StageTime are corrected by it already.
	Clock Clock

	// Category, Type and Action are ECS event.category, event.type and
	// event.action; Dataset is event.dataset.
	Category []string
	Type     []string
	Action   []string
	Dataset  string

	// Pod is the pod in which it happened. It is empty for audit events: those
	// happen in an API server, see Audit.Caller and Audit.Target.
	Pod       Pod
	Container *Container
	Process   *Process
	File      *File
	// Limit is set where telemetry of the container was suppressed.
	Limit *Limit
	Audit *Audit
	// Session is the exec session in which it happened, or that it asks for; nil outside of any.
	Session *Session
	// Trimmed is how many bytes of Audit are left out because they were too many to be
	// kept: large objects, what is behind the beginning of a long text, what is behind that of a
	// long list. Rules have seen all of it.
	Trimmed int

	// Delivered is the text that ID is a hash of, where the source has not made it
	// yet. Such an event is its source's, and lent until whoever it was handed to
	// returns: keep what Own returns, never the event.
	Delivered string
}

// SubjectPod is the pod that an event is about when a response asks for "the
// pod": the one it happened in, else the target of an exec-like request, else
// the pod whose token made the request. The result may be empty.
func (e *Event) SubjectPod() Pod {
	switch {
	case !e.Pod.IsZero():
		return e.Pod
	case e.Audit == nil:
		return Pod{}
	case !e.Audit.Target.IsZero():
		return e.Audit.Target
	default:
		return e.Audit.Caller
	}
}

// Pod identifies a pod. The UID decides; everything else describes.
type Pod struct {
	UID       string
	Namespace string
	Name      string
	// Node is the name of the node the pod runs on.
	Node   string
	Labels map[string]string
	// Confidence says how the UID was found.
	Confidence Confidence
	// Candidates are the UIDs that the pod may have where Confidence is Ambiguous.
	Candidates []string
}

// IsZero reports whether nothing at all is known of the pod.
func (p Pod) IsZero() bool { return p.UID == "" && p.Name == "" }

// Key is what the pod joins by: its UID, or namespace and name where no UID
// could be found. It is empty for an empty Pod. The two forms cannot collide.
func (p Pod) Key() string { return string(p.AppendKey(nil)) }

// AppendKey appends the Key.
func (p Pod) AppendKey(dst []byte) []byte {
	switch {
	case p.UID != "":
		return append(append(dst, "uid:"...), p.UID...)
	case p.Name != "":
		return append(append(append(append(dst, "name:"...), p.Namespace...), '/'), p.Name...)
	default:
		return dst
	}
}

// String is namespace/name for people, or the UID where the name is not known.
func (p Pod) String() string {
	if p.Name == "" {
		return p.UID
	}
	return p.Namespace + "/" + p.Name
}

// Confidence says how sure an identity is.
type Confidence uint8

// How a pod's UID was found, from nothing to proof.
const (
	// Unknown: no UID is known.
	Unknown Confidence = iota
	// Ambiguous: several pods fit namespace, name and time; see Pod.Candidates.
	Ambiguous
	// ByName: exactly one pod fits namespace, name and time.
	ByName
	// Exact: the UID came from the source itself (a cgroup, a bound token).
	Exact
)

// String returns the confidence as detections show it.
func (c Confidence) String() string {
	switch c {
	case Exact:
		return "exact"
	case ByName:
		return "by-name"
	case Ambiguous:
		return "ambiguous"
	default:
		return "unknown"
	}
}

// Container is the container in which something happened. Name and image are
// empty until the API server has said which container has this ID.
type Container struct {
	ID         string
	Name       string
	Image      string
	Privileged *bool
}

// Process is a process in a container, as ECS describes it.
type Process struct {
	// PID and PPID are as the node's initial PID namespace numbers them.
	PID, PPID uint32
	// EntityID names the process uniquely: node boot, PID and start time.
	EntityID   string
	Name       string
	Executable string
	Args       []string
	// ArgsTruncated is set when the arguments exceeded what the agent reads.
	ArgsTruncated    bool
	WorkingDirectory string
	UID, GID         uint32
	Start            time.Time
	// Interactive: the controlling terminal is that of stdin and stderr.
	Interactive bool
	// TTY is the controlling terminal's device number, 0 for none.
	TTY         uint32
	Parent      *ProcessRef
	EntryLeader *EntryLeader
	// Exit is how the process ended, nil in all events but that of its end.
	Exit *ProcessExit
}

// ProcessExit is how a process ended.
type ProcessExit struct {
	// Code is what it ended with, or 128 more than the signal that ended it.
	Code int
	// Signal that ended it, 0 for none.
	Signal int
}

// ProcessRef is what is known of another process, such as a parent.
type ProcessRef struct {
	PID         uint32
	EntityID    string
	Name        string
	Executable  string
	Args        []string
	Interactive bool
}

// EntryLeader is the first process of a container's main process tree or of an exec session.
type EntryLeader struct {
	PID      uint32
	EntityID string
	Start    time.Time
	// MetaType is ECS process.entry_leader.entry_meta.type; "container" for
	// everything that a container runtime starts.
	MetaType string
	// SameAsProcess: this very process is the entry leader.
	SameAsProcess bool
	// Interactive is the entry leader's own interactivity: redirecting a
	// later process' stdin or stderr does not change it.
	Interactive bool
	// Began is how it came into its container, as far as the node can tell.
	Began Began
}

// Began is how an entry leader came into its container.
type Began string

// The ways in which an entry leader begins.
const (
	BeganUnknown Began = ""
	// BeganContainer: it is the container's first process.
	BeganContainer Began = "container"
	// BeganSession: it came later, with an input or a terminal: an exec session.
	BeganSession Began = "session"
	// BeganSessionOrProbe: it came later, without an input: an exec session, a
	// probe or a hook. Only the API's audit log tells them apart.
	BeganSessionOrProbe Began = "session-or-probe"
)

// Limit says that a container did more than the agent reports of one container.
type Limit struct {
	// Budget that was exceeded: "entries", "opens", "execs" or "exits".
	Budget string
	// Suppressed is how many events were not reported, since the last that said so.
	Suppressed uint64
}

// File is a file that was opened.
type File struct {
	// Path is the path as rules know it: /var/run/secrets/kubernetes.io/serviceaccount/token
	// whatever symbolic links and mounts were between.
	Path string
	// ResolvedPath is the path that the kernel opened.
	ResolvedPath string
}
