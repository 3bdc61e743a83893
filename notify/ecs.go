package notify

import "time"

// ecsVersion is the version of the Elastic Common Schema that the documents follow.
const ecsVersion = "8.17.0"

// document is a detection in the Elastic Common Schema. Fields that the schema does
// not have are under kubernetes and portcullis.
type document struct {
	Timestamp    time.Time     `json:"@timestamp"`
	Message      string        `json:"message"`
	ECS          ecsMeta       `json:"ecs"`
	Event        ecsEvent      `json:"event"`
	Rule         ecsRule       `json:"rule"`
	Threat       *ecsThreat    `json:"threat,omitempty"`
	Orchestrator *orchestrator `json:"orchestrator,omitempty"`
	Container    *container    `json:"container,omitempty"`
	Host         *named        `json:"host,omitempty"`
	Process      *process      `json:"process,omitempty"`
	File         *file         `json:"file,omitempty"`
	User         *user         `json:"user,omitempty"`
	UserAgent    *userAgent    `json:"user_agent,omitempty"`
	Source       *source       `json:"source,omitempty"`
	Kubernetes   *kubernetes   `json:"kubernetes,omitempty"`
	Tags         []string      `json:"tags,omitempty"`
	Portcullis   portcullis    `json:"portcullis"`
}

type ecsMeta struct {
	Version string `json:"version"`
}

type ecsEvent struct {
	Kind      string    `json:"kind"`
	Module    string    `json:"module"`
	Dataset   string    `json:"dataset"`
	ID        string    `json:"id"`
	Category  []string  `json:"category,omitempty"`
	Type      []string  `json:"type,omitempty"`
	Action    string    `json:"action,omitempty"`
	Severity  int       `json:"severity"`
	RiskScore int       `json:"risk_score"`
	Created   time.Time `json:"created"`
}

type ecsRule struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

type ecsThreat struct {
	Framework string    `json:"framework"`
	Tactic    idNames   `json:"tactic"`
	Technique technique `json:"technique"`
}

type idNames struct {
	ID   []string `json:"id,omitempty"`
	Name []string `json:"name,omitempty"`
}

type technique struct {
	idNames
	Subtechnique *idNames `json:"subtechnique,omitempty"`
}

type orchestrator struct {
	Type      string    `json:"type"`
	Cluster   *named    `json:"cluster,omitempty"`
	Namespace string    `json:"namespace,omitempty"`
	Resource  *resource `json:"resource,omitempty"`
}

type resource struct {
	Type string `json:"type"`
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

type named struct {
	Name string `json:"name,omitempty"`
}

type container struct {
	ID              string           `json:"id,omitempty"`
	Name            string           `json:"name,omitempty"`
	Image           *named           `json:"image,omitempty"`
	SecurityContext *securityContext `json:"security_context,omitempty"`
}

type securityContext struct {
	Privileged bool `json:"privileged"`
}

type process struct {
	PID              uint32       `json:"pid"`
	EntityID         string       `json:"entity_id,omitempty"`
	Name             string       `json:"name,omitempty"`
	Executable       string       `json:"executable,omitempty"`
	Args             []string     `json:"args,omitempty"`
	ArgsCount        int          `json:"args_count,omitempty"`
	CommandLine      string       `json:"command_line,omitempty"`
	WorkingDirectory string       `json:"working_directory,omitempty"`
	Start            *time.Time   `json:"start,omitempty"`
	Interactive      bool         `json:"interactive"`
	User             *id          `json:"user,omitempty"`
	Group            *id          `json:"group,omitempty"`
	Parent           *process     `json:"parent,omitempty"`
	EntryLeader      *entryLeader `json:"entry_leader,omitempty"`
}

type id struct {
	ID string `json:"id"`
}

type entryLeader struct {
	PID         uint32     `json:"pid"`
	EntityID    string     `json:"entity_id,omitempty"`
	Start       *time.Time `json:"start,omitempty"`
	Interactive bool       `json:"interactive"`
	Meta        *entryMeta `json:"entry_meta,omitempty"`
}

type entryMeta struct {
	Type string `json:"type"`
}

type file struct {
	Path       string `json:"path"`
	TargetPath string `json:"target_path,omitempty"`
}

type user struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles,omitempty"`
}

type userAgent struct {
	Original string `json:"original"`
}

type source struct {
	IP string `json:"ip"`
}

type kubernetes struct {
	Audit audit `json:"audit"`
}

// audit is the essentials of an audit event, named as the API server names them.
type audit struct {
	AuditID          string            `json:"auditID,omitempty"`
	Stage            string            `json:"stage,omitempty"`
	Verb             string            `json:"verb,omitempty"`
	RequestURI       string            `json:"requestURI,omitempty"`
	UserAgent        string            `json:"userAgent,omitempty"`
	SourceIPs        []string          `json:"sourceIPs,omitempty"`
	User             auditUser         `json:"user"`
	ImpersonatedUser *auditUser        `json:"impersonatedUser,omitempty"`
	ObjectRef        *objectRef        `json:"objectRef,omitempty"`
	ResponseStatus   *status           `json:"responseStatus,omitempty"`
	Annotations      map[string]string `json:"annotations,omitempty"`
}

type auditUser struct {
	Username string   `json:"username"`
	Groups   []string `json:"groups,omitempty"`
}

type objectRef struct {
	APIGroup    string `json:"apiGroup,omitempty"`
	Resource    string `json:"resource,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
}

type status struct {
	Code    int32  `json:"code,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

type portcullis struct {
	Detection detection `json:"detection"`
}

type detection struct {
	ID string `json:"id"`
	// State is provisional, final or superseded.
	State        string   `json:"state"`
	SupersededBy string   `json:"superseded_by,omitempty"`
	Action       string   `json:"action"`
	Why          string   `json:"why,omitempty"`
	Confidence   string   `json:"confidence"`
	Candidates   []string `json:"candidates,omitempty"`
	Severity     string   `json:"severity,omitempty"`
	// Quarantines are those that the detection led to.
	Quarantines []quarantine `json:"quarantines,omitempty"`
	Coverage    coverage     `json:"coverage"`
	Delay       delay        `json:"delay"`
	// Sessions are the exec sessions that its events happened in, or asked for.
	Sessions []session `json:"sessions,omitempty"`
	Events   []link    `json:"events"`
	// EventsOmitted is how many events of the chain are not listed.
	EventsOmitted int `json:"events_omitted,omitempty"`
}

// quarantine is one that the detection led to.
type quarantine struct {
	Name    string     `json:"name"`
	Subject string     `json:"subject,omitempty"`
	State   string     `json:"state"`
	Expires *time.Time `json:"expires,omitempty"`
}

// session is an exec session: who asked for it, or who may have, as far as that was known when the detection was concluded.
type session struct {
	ID           string   `json:"id"`
	Attribution  string   `json:"attribution"`
	User         *user    `json:"user,omitempty"`
	Impersonator string   `json:"impersonator,omitempty"`
	Candidates   []string `json:"candidates,omitempty"`
	Door         string   `json:"door,omitempty"`
	Interactive  bool     `json:"interactive"`
	CommandLine  string   `json:"command_line,omitempty"`
}

// coverage says whether everything was seen while the detection's events happened.
type coverage struct {
	// Status is complete, holes, or unknown where nobody has looked.
	Status string `json:"status"`
	Holes  []hole `json:"holes,omitempty"`
}

// hole is a time in which events of one source are missing, or may be.
type hole struct {
	Source string    `json:"source"`
	From   time.Time `json:"from"`
	// To is absent while it lasts.
	To    *time.Time `json:"to,omitempty"`
	Cause string     `json:"cause"`
	// Lost is absent where nobody can count it.
	Lost uint64 `json:"lost,omitempty"`
}

// delay is in milliseconds.
type delay struct {
	// EventToReceived is from the last event to the moment at which Portcullis had all.
	EventToReceived float64 `json:"event_to_received_ms"`
	// ReceivedToDetected is what Portcullis itself took.
	ReceivedToDetected float64 `json:"received_to_detected_ms"`
}

// link is one event of the chain, shortened.
type link struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind"`
	Time       time.Time `json:"time"`
	Source     string    `json:"source,omitempty"`
	Pod        string    `json:"pod,omitempty"`
	PodUID     string    `json:"pod_uid,omitempty"`
	Confidence string    `json:"confidence,omitempty"`
	Container  string    `json:"container,omitempty"`
	Session    string    `json:"session,omitempty"`
	Summary    string    `json:"summary,omitempty"`
	DelayMS    float64   `json:"delay_ms"`
}
