package execsession

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// State is how far a session is.
type State string

// The states of a session.
const (
	// StateRequested: somebody has asked, and nothing has come of it yet.
	StateRequested State = "requested"
	// StateOpen: its process runs, or its connection is open.
	StateOpen State = "open"
	// StateEnded: its first process has ended, or its connection where it has none.
	StateEnded State = "ended"
	// StateDenied: admission refused it. StateFailed: something else did.
	StateDenied State = "denied"
	StateFailed State = "failed"
)

// Document is a session as people and programs read it. Names of fields stay; more may come. Arguments and URIs are
// redacted, and nothing is escaped: most texts are an attacker's choice.
type Document struct {
	ID      string   `json:"id"`
	Aliases []string `json:"aliases,omitempty"`
	Door    string   `json:"door,omitempty"`
	State   State    `json:"state"`

	Attribution event.Attribution `json:"attribution"`
	// Final: only facts that are late, or ends, can change the attribution.
	Final bool `json:"final"`
	// Why is a sentence that says why the attribution is not exact.
	Why        string   `json:"why,omitempty"`
	User       *User    `json:"user,omitempty"`
	Candidates []string `json:"candidates,omitempty"`
	// CoverageHole: the audit stream was not heard when it began.
	CoverageHole bool `json:"coverageHole,omitempty"`
	Unaudited    bool `json:"unaudited,omitempty"`

	Pod         Pod      `json:"pod"`
	Container   string   `json:"container,omitempty"`
	ContainerID string   `json:"containerID,omitempty"`
	Command     []string `json:"command,omitempty"`
	Interactive bool     `json:"interactive,omitempty"`
	TTY         bool     `json:"tty,omitempty"`
	Stdin       bool     `json:"stdin,omitempty"`

	Request *Request `json:"request,omitempty"`
	Verdict *Verdict `json:"verdict,omitempty"`
	Root    *Root    `json:"root,omitempty"`

	Requested time.Time `json:"requested,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	LastSeen  time.Time `json:"lastSeen,omitzero"`
	Exit      *Exit     `json:"exit,omitempty"`

	Processes        []Process   `json:"processes,omitempty"`
	ProcessesDropped int         `json:"processesDropped,omitempty"`
	Timeline         []Entry     `json:"timeline,omitempty"`
	TimelineDropped  int         `json:"timelineDropped,omitempty"`
	Detections       []Detection `json:"detections,omitempty"`
}

// User is who asked.
type User struct {
	Name         string   `json:"name"`
	UID          string   `json:"uid,omitempty"`
	Groups       []string `json:"groups,omitempty"`
	Impersonator string   `json:"impersonator,omitempty"`
	// Extra is what else the API server knows of them, such as which credential they showed. It is bounded.
	Extra map[string][]string `json:"extra,omitempty"`
}

// Pod is where the session is.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
	Node      string `json:"node,omitempty"`
}

// Request is how the session was asked for.
type Request struct {
	// Sessions are the requests that it can have been; Certain is false where it is one of several of one user.
	Sessions  []string  `json:"sessions,omitempty"`
	Certain   bool      `json:"certain"`
	Time      time.Time `json:"time,omitzero"`
	SourceIPs []string  `json:"sourceIPs,omitempty"`
	UserAgent string    `json:"userAgent,omitempty"`
	// Reviewed: admission has seen it. Audited: the audit stream has told of it.
	Reviewed  bool      `json:"reviewed"`
	Audited   bool      `json:"audited"`
	Started   time.Time `json:"started,omitzero"`
	Completed time.Time `json:"completed,omitzero"`
	Code      int32     `json:"code,omitempty"`
}

// Verdict is what admission decided.
type Verdict struct {
	Allowed bool   `json:"allowed"`
	Why     string `json:"why,omitempty"`
}

// Root is the session's first process; of attach it is the container's.
type Root struct {
	EntityID string      `json:"entityID"`
	PID      uint32      `json:"pid,omitempty"`
	Args     []string    `json:"args,omitempty"`
	Start    time.Time   `json:"start,omitzero"`
	Began    event.Began `json:"began,omitempty"`
}

// Exit is how the first process ended.
type Exit struct {
	Code   int `json:"code"`
	Signal int `json:"signal,omitempty"`
	// KilledBy is the rule or person who had Portcullis end it.
	KilledBy string `json:"killedBy,omitempty"`
}

// Process is one of the session's. It names its parent where that is known.
type Process struct {
	EntityID       string    `json:"entityID"`
	ParentEntityID string    `json:"parentEntityID,omitempty"`
	PID            uint32    `json:"pid,omitempty"`
	Name           string    `json:"name,omitempty"`
	Executable     string    `json:"executable,omitempty"`
	Args           []string  `json:"args,omitempty"`
	Start          time.Time `json:"start,omitzero"`
	End            time.Time `json:"end,omitzero"`
	ExitCode       *int      `json:"exitCode,omitempty"`
}

// ScopeOfPod marks API calls that were made with the pod's identity while the session ran. The session may have made
// them, or anything else in the pod.
const ScopeOfPod = "of-the-pod"

// The kinds of entries of a timeline.
const (
	KindReview      = "review"
	KindVerdict     = "verdict"
	KindRequest     = "request"
	KindStart       = "start"
	KindExec        = "exec"
	KindExit        = "exit"
	KindOpen        = "open"
	KindAPICall     = "api-call"
	KindDetection   = "detection"
	KindAttribution = "attribution"
	KindKill        = "kill"
	KindEnd         = "end"
)

// Entry is something that happened, in the order of time.
type Entry struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	Text string    `json:"text,omitempty"`
	PID  uint32    `json:"pid,omitempty"`
	User string    `json:"user,omitempty"`
	Verb string    `json:"verb,omitempty"`
	URI  string    `json:"uri,omitempty"`
	Code int32     `json:"code,omitempty"`
	// Scope is ScopeOfPod for API calls.
	Scope string `json:"scope,omitempty"`
	Rule  string `json:"rule,omitempty"`
	// ID is that of a detection, an audit event or a process.
	ID string `json:"id,omitempty"`
}

// Detection is one that names the session.
type Detection struct {
	ID   string    `json:"id"`
	Rule string    `json:"rule"`
	Time time.Time `json:"time"`
}

// Filter chooses sessions; zero fields choose all.
type Filter struct {
	// User is who asked, or may have.
	User           string
	Namespace, Pod string
	// Since and Until are compared with when it began and was seen last.
	Since, Until time.Time
	Attribution  event.Attribution
	// Limit bounds a list.
	Limit int
}
