package notify

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/portcullis-dev/portcullis/event"
)

// The bounds of a document.
const (
	maxText = 4 << 10
	maxArgs = 128
	// maxArgsSize bounds all arguments of a process together.
	maxArgsSize = 16 << 10
	maxEvents   = 32
	maxItems    = 64
	maxSessions = 4
)

// Encoder turns detections into ECS documents. It is immutable.
type Encoder struct {
	cluster string
	redact  *redactor
}

// NewEncoder makes an Encoder that names the cluster, if it has a name, in its documents.
func NewEncoder(cluster string) *Encoder {
	return &Encoder{cluster: cluster, redact: newRedactor()}
}

// Encode returns the detection, and the quarantines that it led to, as one line of JSON, without
// the line's end. Secrets are removed; every character that a terminal might obey is escaped.
func (c *Encoder) Encode(d *event.Detection, led ...Quarantine) ([]byte, error) {
	doc := c.document(d)
	doc.Portcullis.Detection.Quarantines = quarantinesOf(led)
	line, err := Line(doc)
	if err != nil {
		return nil, fmt.Errorf("encode detection %s: %w", d.ID, err)
	}
	return line, nil
}

// Line returns any document as one line of JSON, without the line's end, in
// which every character that a terminal might obey is escaped.
func Line(document any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		return nil, err
	}
	return escapeUnprintable(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// escapeUnprintable escapes what JSON leaves as it is and terminals do not show:
// C1 controls, DEL, and characters that reorder text. They occur inside strings only.
func escapeUnprintable(doc []byte) []byte {
	clean := true
	for _, b := range doc {
		if b >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return doc
	}
	out := make([]byte, 0, len(doc)+64)
	for len(doc) > 0 {
		r, n := utf8.DecodeRune(doc)
		switch {
		case r < utf8.RuneSelf && r != 0x7f, unicode.IsPrint(r):
			out = append(out, doc[:n]...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		doc = doc[n:]
	}
	return out
}

func (c *Encoder) document(d *event.Detection) *document {
	doc := &document{
		Timestamp:    d.Time.UTC(),
		Message:      c.message(d),
		ECS:          ecsMeta{ecsVersion},
		Event:        eventOf(d),
		Rule:         ecsRule{d.Rule.Name, firstOf(d.Rule.Title, d.Rule.Name), cut(d.Rule.Description, maxText)},
		Threat:       threatOf(d.Rule.Threats),
		Orchestrator: c.orchestrator(d.Pod),
		Tags:         d.Rule.Tags,
		Portcullis:   portcullis{c.detection(d)},
	}
	if d.Pod.Node != "" {
		doc.Host = &named{d.Pod.Node}
	}
	if d.User != "" {
		doc.User = &user{Name: cut(d.User, maxText)}
	}
	if e := last(d.Events, func(e *event.Event) bool { return e.Process != nil }); e != nil {
		doc.Process = c.process(e.Process)
	}
	if e := last(d.Events, func(e *event.Event) bool { return e.Container != nil }); e != nil {
		doc.Container = containerOf(e.Container)
	}
	if e := last(d.Events, func(e *event.Event) bool { return e.File != nil }); e != nil {
		doc.File = fileOf(e.File)
	}
	if e := last(d.Events, func(e *event.Event) bool { return e.Audit != nil }); e != nil {
		c.fillAudit(doc, e.Audit)
	}
	return doc
}

func (c *Encoder) message(d *event.Detection) string {
	whom := d.Pod.String()
	if whom == "" {
		whom = d.User
	}
	state := ""
	if d.State == event.Superseded {
		state = ", superseded"
	}
	return fmt.Sprintf("%s: %s (%s%s)", firstOf(d.Rule.Title, d.Rule.Name), cut(whom, maxText), d.Action, state)
}

func last(events []*event.Event, has func(*event.Event) bool) *event.Event {
	for _, e := range slices.Backward(events) {
		if has(e) {
			return e
		}
	}
	return nil
}

// severity is the number that Elastic's rules give a severity.
func severity(name string) int {
	switch name {
	case "low":
		return 21
	case "medium":
		return 47
	case "high":
		return 73
	case "critical":
		return 99
	default:
		return 0
	}
}

func eventOf(d *event.Detection) ecsEvent {
	out := ecsEvent{
		Kind: "alert", Module: "portcullis", Dataset: "portcullis.detection", ID: d.ID,
		Severity: severity(d.Rule.Severity), RiskScore: d.Rule.RiskScore, Created: d.At.UTC(),
	}
	for _, e := range d.Events {
		out.Category = union(out.Category, e.Category)
		out.Type = union(out.Type, e.Type)
		if len(e.Action) > 0 {
			out.Action = e.Action[0]
		}
	}
	return out
}

func union(all, more []string) []string {
	for _, s := range more {
		if !slices.Contains(all, s) && len(all) < maxItems {
			all = append(all, s)
		}
	}
	return all
}

func threatOf(threats []event.Threat) *ecsThreat {
	if len(threats) == 0 {
		return nil
	}
	out := &ecsThreat{Framework: "MITRE ATT&CK"}
	for _, t := range threats {
		out.Tactic.add(t.TacticID, t.TacticName)
		parent, _, sub := strings.Cut(t.TechniqueID, ".")
		if !sub {
			out.Technique.add(t.TechniqueID, t.TechniqueName)
			continue
		}
		out.Technique.add(parent, "")
		if out.Technique.Subtechnique == nil {
			out.Technique.Subtechnique = &idNames{}
		}
		out.Technique.Subtechnique.add(t.TechniqueID, t.TechniqueName)
	}
	return out
}

func (n *idNames) add(id, name string) {
	if id != "" {
		n.ID = union(n.ID, []string{id})
	}
	if name != "" {
		n.Name = union(n.Name, []string{name})
	}
}

func (c *Encoder) orchestrator(p event.Pod) *orchestrator {
	if p.IsZero() && c.cluster == "" {
		return nil
	}
	out := &orchestrator{Type: "kubernetes", Namespace: p.Namespace}
	if !p.IsZero() {
		out.Resource = &resource{Type: "pod", ID: p.UID, Name: p.Name}
	}
	if c.cluster != "" {
		out.Cluster = &named{c.cluster}
	}
	return out
}

func containerOf(in *event.Container) *container {
	out := &container{ID: in.ID, Name: in.Name}
	if in.Image != "" {
		out.Image = &named{in.Image}
	}
	if in.Privileged != nil {
		out.SecurityContext = &securityContext{*in.Privileged}
	}
	return out
}

func fileOf(in *event.File) *file {
	out := &file{Path: cut(in.Path, maxText)}
	if in.ResolvedPath != in.Path {
		out.TargetPath = cut(in.ResolvedPath, maxText)
	}
	return out
}

func (c *Encoder) process(in *event.Process) *process {
	args := c.args(in.Args)
	out := &process{
		PID: in.PID, EntityID: in.EntityID, Name: cut(in.Name, maxText), Executable: cut(in.Executable, maxText),
		Args: args, ArgsCount: len(in.Args), CommandLine: cut(strings.Join(args, " "), maxText),
		WorkingDirectory: cut(in.WorkingDirectory, maxText), Start: timeOf(in.Start), Interactive: in.Interactive,
		User:  &id{strconv.FormatUint(uint64(in.UID), 10)},
		Group: &id{strconv.FormatUint(uint64(in.GID), 10)},
	}
	if p := in.Parent; p != nil {
		parentArgs := c.args(p.Args)
		out.Parent = &process{
			PID: p.PID, EntityID: p.EntityID, Name: cut(p.Name, maxText), Executable: cut(p.Executable, maxText),
			Args: parentArgs, ArgsCount: len(p.Args), CommandLine: cut(strings.Join(parentArgs, " "), maxText),
			Interactive: p.Interactive,
		}
	}
	if l := in.EntryLeader; l != nil {
		out.EntryLeader = &entryLeader{PID: l.PID, EntityID: l.EntityID, Start: timeOf(l.Start), Interactive: l.Interactive}
		if l.MetaType != "" {
			out.EntryLeader.Meta = &entryMeta{l.MetaType}
		}
	}
	return out
}

// args are the arguments without secrets, bounded: args_count tells how many there were.
func (c *Encoder) args(args []string) []string {
	n, size := 0, 0
	for n < min(len(args), maxArgs) && size <= maxArgsSize {
		size += min(len(args[n]), maxText)
		n++
	}
	out := c.redact.args(args[:n])
	for i := range out {
		out[i] = cut(out[i], maxText)
	}
	return out
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (c *Encoder) fillAudit(doc *document, a *event.Audit) {
	doc.Kubernetes = &kubernetes{c.audit(a)}
	if a.UserAgent != "" {
		doc.UserAgent = &userAgent{doc.Kubernetes.Audit.UserAgent}
	}
	if len(a.SourceIPs) > 0 {
		doc.Source = &source{cut(a.SourceIPs[0], maxText)}
	}
	if doc.User == nil && a.User.Username != "" {
		doc.User = &user{Name: cut(a.User.Username, maxText)}
	}
	if doc.User != nil && doc.User.Name == cut(a.User.Username, maxText) {
		doc.User.Roles = doc.Kubernetes.Audit.User.Groups
	}
}

func (c *Encoder) audit(a *event.Audit) audit {
	out := audit{
		AuditID: cut(a.AuditID, maxText), Stage: a.Stage, Verb: a.Verb,
		RequestURI: cut(c.redact.uri(a.RequestURI), maxText),
		UserAgent:  cut(c.redact.text(a.UserAgent), maxText),
		SourceIPs:  items(a.SourceIPs),
		User:       auditUser{cut(a.User.Username, maxText), items(a.User.Groups)},
	}
	if u := a.ImpersonatedUser; u != nil {
		out.ImpersonatedUser = &auditUser{cut(u.Username, maxText), items(u.Groups)}
	}
	if a.ObjectRef != (event.ObjectRef{}) {
		r := a.ObjectRef
		out.ObjectRef = &objectRef{r.APIGroup, r.Resource, r.Subresource, r.Namespace, cut(r.Name, maxText)}
	}
	if a.Code != 0 || a.Reason != "" || a.Message != "" {
		out.ResponseStatus = &status{a.Code, a.Reason, cut(c.redact.text(a.Message), maxText)}
	}
	for _, key := range sortedKeys(a.Annotations) {
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[cut(key, maxText)] = cut(c.redact.text(a.Annotations[key]), maxText)
	}
	return out
}

// sortedKeys are the first keys, in an order that does not change from document to document.
func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys[:min(len(keys), maxItems)]
}

func items(in []string) []string {
	out := make([]string, min(len(in), maxItems))
	for i := range out {
		out[i] = cut(in[i], maxText)
	}
	return out
}

func (c *Encoder) detection(d *event.Detection) detection {
	out := detection{
		ID: d.ID, State: string(cmp.Or(d.State, event.Provisional)), SupersededBy: d.SupersededBy,
		Action: string(d.Action), Why: cut(d.Why, maxText), Severity: d.Rule.Severity,
		Confidence: d.Pod.Confidence.String(), Candidates: items(d.Pod.Candidates), Coverage: coverageOf(d.Coverage),
		Delay: delayOf(d), Sessions: c.sessions(d.Sessions), Events: make([]link, 0, min(len(d.Events), maxEvents)),
	}
	for i, e := range d.Events {
		if i == maxEvents {
			out.EventsOmitted = len(d.Events) - maxEvents
			break
		}
		out.Events = append(out.Events, c.link(e))
	}
	return out
}

func (c *Encoder) sessions(all []*event.Session) []session {
	out := make([]session, 0, min(len(all), maxSessions))
	for _, s := range all[:min(len(all), maxSessions)] {
		told := session{
			ID: s.ID, Attribution: string(s.Attribution), Impersonator: cut(s.Impersonator, maxText), Candidates: items(s.Candidates),
			Door: s.Door, Interactive: s.Interactive, CommandLine: cut(strings.Join(c.args(s.Command), " "), maxText),
		}
		if s.User != "" {
			told.User = &user{Name: cut(s.User, maxText), Roles: items(s.Groups)}
		}
		out = append(out, told)
	}
	return out
}

func quarantinesOf(led []Quarantine) (out []quarantine) {
	for _, q := range led[:min(len(led), maxItems)] {
		out = append(out, quarantine{cut(q.Name, maxText), cut(q.Subject, maxText), cmp.Or(q.Ended, "in-force"), timeOf(q.Expires)})
	}
	return out
}

func coverageOf(c event.Coverage) coverage {
	switch {
	case !c.Known:
		return coverage{Status: "unknown"}
	case len(c.Holes) == 0:
		return coverage{Status: "complete"}
	}
	out := coverage{Status: "holes"}
	for _, h := range c.Holes[:min(len(c.Holes), maxItems)] {
		out.Holes = append(out.Holes, hole{cut(h.Source, maxText), h.From.UTC(), timeOf(h.To), h.Cause, h.Lost})
	}
	return out
}

func delayOf(d *event.Detection) delay {
	var received time.Time
	for _, e := range d.Events {
		if e.Received.After(received) {
			received = e.Received
		}
	}
	if received.IsZero() {
		return delay{}
	}
	return delay{ms(received.Sub(d.Time)), ms(d.At.Sub(received))}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (c *Encoder) link(e *event.Event) link {
	pod := e.SubjectPod()
	out := link{
		ID: e.ID, Kind: e.Kind.String(), Time: e.Time.UTC(), Source: e.Source,
		Pod: pod.String(), PodUID: pod.UID, Summary: c.summary(e),
	}
	if !pod.IsZero() {
		out.Confidence = pod.Confidence.String()
	}
	if e.Container != nil {
		out.Container = firstOf(e.Container.Name, e.Container.ID)
	}
	if e.Session != nil {
		out.Session = e.Session.ID
	}
	if !e.Received.IsZero() {
		out.DelayMS = ms(e.Received.Sub(e.Time))
	}
	return out
}

// maxSummary is the length of one line that tells an event.
const maxSummary = 512

func (c *Encoder) summary(e *event.Event) string {
	switch {
	case e.Audit != nil:
		return cut(fmt.Sprintf("%s %s by %s: %d", e.Audit.Verb, c.redact.uri(e.Audit.RequestURI), e.Audit.User.Username, e.Audit.Code), maxSummary)
	case e.File != nil && e.Process != nil:
		return cut(fmt.Sprintf("%s opened %s", e.Process.Name, e.File.Path), maxSummary)
	case e.Process != nil:
		return cut(strings.Join(c.args(e.Process.Args[:min(len(e.Process.Args), maxItems)]), " "), maxSummary)
	default:
		return ""
	}
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
