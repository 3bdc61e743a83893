package correlator

import "github.com/portcullis-dev/portcullis/event"

// Roughly what keeping an event, a text in a list, an entry of a map, and a
// candidate cost besides their texts.
const (
	eventOverhead     = 1024
	textOverhead      = 16
	entryOverhead     = 48
	candidateOverhead = 128
)

// sizeOf is roughly the memory that keeping an event costs. Every text that
// somebody outside can make long is counted, also where events share it: better
// too much than a memory that grows unseen.
func sizeOf(e *event.Event) int {
	size := eventOverhead + sizeOfPod(&e.Pod) + len(e.Delivered)
	if c := e.Container; c != nil {
		size += len(c.ID) + len(c.Name) + len(c.Image)
	}
	if f := e.File; f != nil {
		size += len(f.Path) + len(f.ResolvedPath)
	}
	if l := e.Limit; l != nil {
		size += len(l.Budget)
	}
	return size + sizeOfProcess(e.Process) + sizeOfAudit(e.Audit) + sizeOfSession(e.Session)
}

func sizeOfSession(s *event.Session) int {
	if s == nil {
		return 0
	}
	size := len(s.ID) + len(s.User) + len(s.UserUID) + len(s.Impersonator) + len(s.Attribution) + len(s.Door)
	return size + sizeOfTexts(s.Groups) + sizeOfTexts(s.Candidates) + sizeOfTexts(s.Command)
}

func sizeOfPod(p *event.Pod) int {
	size := len(p.UID) + len(p.Namespace) + len(p.Name) + len(p.Node) + sizeOfTexts(p.Candidates)
	return size + sizeOfMap(p.Labels)
}

func sizeOfProcess(p *event.Process) int {
	if p == nil {
		return 0
	}
	size := len(p.EntityID) + len(p.Name) + len(p.Executable) + len(p.WorkingDirectory) + sizeOfTexts(p.Args)
	if parent := p.Parent; parent != nil {
		size += len(parent.EntityID) + len(parent.Name) + len(parent.Executable) + sizeOfTexts(parent.Args)
	}
	if leader := p.EntryLeader; leader != nil {
		size += len(leader.EntityID) + len(leader.MetaType) + len(leader.Began)
	}
	return size
}

func sizeOfAudit(a *event.Audit) int {
	if a == nil {
		return 0
	}
	size := len(a.AuditID) + len(a.Stage) + len(a.Level) + len(a.Verb) + len(a.RequestURI) + len(a.UserAgent)
	size += len(a.Reason) + len(a.Message) + len(a.RequestObject) + len(a.ResponseObject)
	size += sizeOfTexts(a.SourceIPs) + sizeOfMap(a.Annotations)
	size += sizeOfUser(&a.User) + sizeOfPod(&a.Caller) + sizeOfPod(&a.Target)
	if a.ImpersonatedUser != nil {
		size += sizeOfUser(a.ImpersonatedUser)
	}
	o := &a.ObjectRef
	return size + len(o.APIGroup) + len(o.APIVersion) + len(o.Resource) + len(o.Subresource) + len(o.Namespace) + len(o.Name) + len(o.UID)
}

func sizeOfUser(u *event.AuditUser) int {
	size := len(u.Username) + len(u.UID) + sizeOfTexts(u.Groups)
	for k, values := range u.Extra {
		size += entryOverhead + len(k) + sizeOfTexts(values)
	}
	return size
}

func sizeOfTexts(texts []string) int {
	size := textOverhead * len(texts)
	for _, t := range texts {
		size += len(t)
	}
	return size
}

func sizeOfMap(m map[string]string) int {
	size := entryOverhead * len(m)
	for k, v := range m {
		size += len(k) + len(v)
	}
	return size
}
