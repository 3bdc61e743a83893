package packed

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/portcullis-dev/portcullis/event"
)

// ErrCorrupt is what Unpack returns for texts that Pack did not make.
var ErrCorrupt = errors.New("not a packed event")

// Packer packs and unpacks events. It is for one goroutine.
type Packer struct {
	own, shared *shape
	writer      writer
	reader      reader
	// rest and part are what an event is divided into while it is packed; audit is the former's.
	rest  event.Event
	part  shared
	audit event.Audit
}

// shared is the part of an event that many others have as well.
type shared struct {
	Source           string
	Kind             event.Kind
	Category, Type   []string
	Action           []string
	Dataset          string
	Pod              event.Pod
	Container        *event.Container
	User             event.AuditUser
	ImpersonatedUser *event.AuditUser
	Caller           event.Pod
	SourceIPs        []string
	UserAgent        string
	Session          *event.Session
}

// NewPacker returns a Packer.
func NewPacker() *Packer {
	texts := common()
	numbers := make(map[string]int, len(texts))
	for i, text := range texts {
		numbers[text] = i
	}
	return &Packer{
		own: shapeOf(reflect.TypeFor[event.Event]()), shared: shapeOf(reflect.TypeFor[shared]()),
		writer: writer{numbers: numbers, first: len(texts), seen: map[string]int{}}, reader: reader{common: texts},
	}
}

// Pack packs an event. Both texts are valid until the next Pack.
func (p *Packer) Pack(e *event.Event) (own, common []byte) {
	defer func() { p.rest, p.part, p.audit = event.Event{}, shared{}, event.Audit{} }()
	p.divide(e)
	p.writer.out = p.writer.out[:0]
	p.writer.begin()
	p.writer.write(p.own, reflect.ValueOf(&p.rest).Elem())
	end := len(p.writer.out)
	p.writer.begin()
	p.writer.write(p.shared, reflect.ValueOf(&p.part).Elem())
	return p.writer.out[:end:end], p.writer.out[end:]
}

// divide divides an event into what it shares with others and the rest.
func (p *Packer) divide(e *event.Event) {
	p.rest = *e
	rest := &p.rest
	p.part = shared{
		Source: e.Source, Kind: e.Kind, Category: e.Category, Type: e.Type, Action: e.Action, Dataset: e.Dataset, Pod: e.Pod, Container: e.Container,
		Session: e.Session,
	}
	rest.Source, rest.Kind, rest.Category, rest.Type, rest.Action, rest.Dataset = "", event.KindUnknown, nil, nil, nil, ""
	rest.Pod, rest.Container, rest.Session = event.Pod{}, nil, nil
	if e.Audit != nil {
		p.audit = *e.Audit
		a, part := &p.audit, &p.part
		part.User, part.ImpersonatedUser, part.Caller = a.User, a.ImpersonatedUser, a.Caller
		part.SourceIPs, part.UserAgent = a.SourceIPs, a.UserAgent
		a.User, a.ImpersonatedUser, a.Caller, a.SourceIPs, a.UserAgent = event.AuditUser{}, nil, event.Pod{}, nil, ""
		rest.Audit = a
	}
}

// Unpack returns the event of both texts. It keeps neither.
func (p *Packer) Unpack(own, common string) (*event.Event, error) {
	var e event.Event
	var part shared
	if err := p.reader.read(own, p.own, reflect.ValueOf(&e).Elem()); err != nil {
		return nil, fmt.Errorf("unpack event: %w", err)
	}
	if err := p.reader.read(common, p.shared, reflect.ValueOf(&part).Elem()); err != nil {
		return nil, fmt.Errorf("unpack what an event shares: %w", err)
	}
	e.Source, e.Kind, e.Category, e.Type, e.Action, e.Dataset = part.Source, part.Kind, part.Category, part.Type, part.Action, part.Dataset
	e.Pod, e.Container, e.Session = part.Pod, part.Container, part.Session
	if e.Audit != nil {
		e.Audit.User, e.Audit.ImpersonatedUser, e.Audit.Caller = part.User, part.ImpersonatedUser, part.Caller
		e.Audit.SourceIPs, e.Audit.UserAgent = part.SourceIPs, part.UserAgent
	}
	return &e, nil
}

// common are texts that many events have, at fixed numbers.
func common() []string {
	return []string{
		event.DatasetAudit, event.DatasetProcess, event.DatasetFile, "process", "file", "start", "end", "change", "exec", "open", "container",
		"sh", "bash", "curl", "/bin/sh", "/usr/bin/bash", "/usr/bin/curl", "runc", "containerd-shim",
		"ResponseStarted", "ResponseComplete", "Metadata", "Request", "RequestResponse",
		"get", "list", "watch", "create", "update", "patch", "delete", "v1", "pods", "secrets", "configmaps",
		"authorization.k8s.io/decision", "authorization.k8s.io/reason", "allow", "forbid", "Forbidden",
		string(event.BeganSession), string(event.BeganSessionOrProbe),
		string(event.AttributionExact), string(event.AttributionCandidates), string(event.AttributionNone), event.DatasetSession,
	}
}
