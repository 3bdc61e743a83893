package event

// Session is the exec session that something happened in: who asked for it, as far as
// that is known. It is immutable, and shared by all events of the session that came while no
// more was known of it.
type Session struct {
	// ID names the session. It begins with "s-" where it is that of a request, and
	// with "r-" where only its first process was known when it began.
	ID string
	// User, UserUID, Groups and Impersonator are who asked, set only where Attribution is
	// AttributionExact. With impersonation User is whom they acted as, and Impersonator who they are.
	User, UserUID string
	Groups        []string
	Impersonator  string
	Attribution   Attribution
	// Candidates are, where the Attribution is not exact, the users who may have asked, sorted.
	// They are bounded. CandidateUnaudited and CandidateProbe stand for nobody and for the kubelet.
	Candidates []string
	// Interactive: it has a terminal.
	Interactive bool
	// Command as it was asked for; what the first process was started as where nobody is known to have asked.
	Command []string
	// Door is how it was asked for: exec, attach, portforward, ephemeralcontainers or proxy. It is
	// empty where nobody is known to have asked.
	Door string
}

// Attribution says how sure it is who a session belongs to.
type Attribution string

// The attributions.
const (
	// AttributionExact: nobody else can have asked, by all that was seen.
	AttributionExact Attribution = "exact"
	// AttributionCandidates: it was one of several, or that is not certain yet.
	AttributionCandidates Attribution = "candidates"
	// AttributionNone: nobody is known to have asked.
	AttributionNone Attribution = "none"
)

// Candidates that are no users. No user can be mistaken for them in what acts on a
// user: they never stand in Session.User.
const (
	// CandidateUnaudited: nobody asked the API server; the process came by another way.
	CandidateUnaudited = "unaudited"
	// CandidateProbe: the kubelet runs the same command as a probe or a hook.
	CandidateProbe = "probe"
)

// Portcullis' own events about sessions.
const (
	DatasetSession = "portcullis.session"
	// ActionUnauditedExec is event.action of an event that says that a process came into a container
	// which nobody had asked the API server for.
	ActionUnauditedExec = "unaudited-exec"
)
