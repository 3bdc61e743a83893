package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// captured is what real sources recorded (docs/samples): every event that is sent is one of these, with other
// names and times in it.
type captured struct {
	// allowed and forbidden are requests with a pod's token; session is the begin of an exec.
	allowed, forbidden, session form
	// opened is a token that was opened at a terminal, ran a curl that was run there.
	opened, ran *telemetryv1.Event
}

// load reads the recordings.
func load() (*captured, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return nil, errors.New("the path of the source is not known: built with -trimpath?")
	}
	samples := filepath.Join(filepath.Dir(file), "..", "..", "docs", "samples")
	c := &captured{}
	err := eachLine(filepath.Join(samples, "audit.log.gz"), c.takeAudit)
	if err == nil {
		err = eachLine(filepath.Join(samples, "telemetry.ndjson.gz"), c.takeTelemetry)
	}
	if err != nil {
		return nil, err
	}
	if c.allowed.text == "" || c.forbidden.text == "" || c.session.text == "" || c.opened == nil || c.ran == nil {
		return nil, fmt.Errorf("the recordings in %s lack an event of the attack or of an exec", samples)
	}
	return c, nil
}

func eachLine(path string, take func(line []byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	lines := bufio.NewScanner(content)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := take(lines.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return lines.Err()
}

// form is an audit event as an API server wrote it, and what in it is replaced.
type form struct {
	text string
	was  auditFields
}

// auditFields are those of an audit event that are replaced.
type auditFields struct {
	AuditID, Stage, Verb, RequestURI, UserAgent string
	RequestReceivedTimestamp, StageTimestamp    string
	User                                        struct {
		Username string
		Extra    map[string][]string
	}
	ObjectRef      struct{ Resource, Subresource, Namespace, Name string }
	ResponseStatus struct{ Code int }
	Annotations    map[string]string
}

const (
	extraPrefix = "authentication.kubernetes.io/"
	sessionKey  = "exec.portcullis.dev/session"
)

func (f auditFields) extra(key string) string {
	if values := f.User.Extra[extraPrefix+key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (c *captured) takeAudit(line []byte) error {
	var f auditFields
	if err := json.Unmarshal(line, &f); err != nil {
		return err
	}
	// In the lists that webhooks get, events do not say what they are.
	text := strings.Replace(string(line), `"kind":"Event","apiVersion":"audit.k8s.io/v1",`, "", 1)
	switch byToken := f.extra("pod-uid") != "" && f.User.Username == "system:serviceaccount:shop:web" && f.extra("pod-name") == "web-0"; {
	case byToken && f.ResponseStatus.Code == 200:
		c.allowed = form{text, f}
	case byToken && f.ResponseStatus.Code == 403:
		c.forbidden = form{text, f}
	case f.ObjectRef.Subresource == "exec" && f.Stage == "ResponseStarted":
		c.session = form{text, f}
	}
	return nil
}

// fill is the event with other names and times. What is not there to be replaced is a mistake of ours.
func (f form) fill(oldNew ...string) []byte {
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(f.text, oldNew[i]) {
			panic(fmt.Sprintf("the recorded event has no %s: %s", oldNew[i], f.text))
		}
	}
	return []byte(strings.NewReplacer(oldNew...).Replace(f.text))
}

// eventList is what an API server posts.
func eventList(events [][]byte) []byte {
	var b bytes.Buffer
	b.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	b.Write(bytes.Join(events, []byte{','}))
	b.WriteString("]}\n")
	return b.Bytes()
}

// request is a request with the pod's token, at a stage.
func (c *captured) request(p *pod, a act, ahead time.Duration, stage string, at time.Time) []byte {
	f, reason := c.allowed, `web/`
	if a.refused {
		f, reason = c.forbidden, `namespace \"`
	}
	namespace, node := f.was.ObjectRef.Namespace, f.was.extra("node-name")
	replace := append(f.common(a, ahead, stage, at),
		"/namespaces/"+namespace+"/", "/namespaces/"+p.namespace+"/", reason+namespace, reason+p.namespace,
		quoted("namespace", namespace), quoted("namespace", p.namespace),
		"serviceaccount:"+namespace+":", "serviceaccount:"+p.namespace+":",
		"serviceaccounts:"+namespace, "serviceaccounts:"+p.namespace,
		quotedList("pod-name", f.was.extra("pod-name")), quotedList("pod-name", p.name))
	if a.lasts > 0 {
		replace = append(replace, f.was.ObjectRef.Resource+`",`+quoted("verb", f.was.Verb), f.was.ObjectRef.Resource+`?watch=true",`+quoted("verb", "watch"))
	}
	uid, nodeName, nodeUID := quotedList("pod-uid", f.was.extra("pod-uid")), quotedList("node-name", node), quotedList("node-uid", f.was.extra("node-uid"))
	if a.nameless {
		return f.fill(append(replace, ","+uid, "", nodeName+",", "", nodeUID+",", "", f.was.extra("credential-id"), "JTI="+a.mark)...)
	}
	return f.fill(append(replace, uid, quotedList("pod-uid", p.uid), nodeName, quotedList("node-name", p.node), f.was.extra("credential-id"), "JTI="+p.uid)...)
}

// exec is somebody's exec into the pod, which the API server names by its name, at a stage.
func (c *captured) exec(p *pod, a act, ahead time.Duration, stage string, at time.Time) []byte {
	f := c.session
	was := f.was.ObjectRef
	return f.fill(append(f.common(a, ahead, stage, at),
		"/namespaces/"+was.Namespace+"/pods/"+was.Name+"/", "/namespaces/"+p.namespace+"/pods/"+p.name+"/",
		quoted("namespace", was.Namespace)+","+quoted("name", was.Name), quoted("namespace", p.namespace)+","+quoted("name", p.name),
		quoted(sessionKey, f.was.Annotations[sessionKey]), quoted(sessionKey, sessionOf(a.mark)))...)
}

// sessionOf is the session that admission has noted in the audit event.
func sessionOf(mark string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(mark))
	return fmt.Sprintf("s-%016x", h.Sum64())
}

// common replaces what every event has.
func (f form) common(a act, ahead time.Duration, stage string, at time.Time) []string {
	id := a.mark
	if a.auditID != "" {
		id = a.auditID
	}
	return []string{
		quoted("auditID", f.was.AuditID), quoted("auditID", id),
		quoted("stage", f.was.Stage), quoted("stage", stage),
		quoted("userAgent", f.was.UserAgent), quoted("userAgent", f.was.UserAgent+" "+a.mark),
		quoted("requestReceivedTimestamp", f.was.RequestReceivedTimestamp), quoted("requestReceivedTimestamp", stamp(a.at.Add(ahead))),
		quoted("stageTimestamp", f.was.StageTimestamp), quoted("stageTimestamp", stamp(at.Add(ahead))),
	}
}

func quoted(key, value string) string     { return `"` + key + `":"` + value + `"` }
func quotedList(key, value string) string { return `"` + extraPrefix + key + `":["` + value + `"]` }
func stamp(t time.Time) string            { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// markOf is the mark in a user agent.
func markOf(userAgent string) string { return userAgent[strings.LastIndexByte(userAgent, ' ')+1:] }

// document is a line of a telemetry log.
type document struct {
	Action      []string `json:"event.action"`
	Namespace   string   `json:"orchestrator.namespace"`
	Pod         string   `json:"orchestrator.resource.name"`
	Path        string   `json:"file.path"`
	Target      string   `json:"file.target_path"`
	PID         uint32   `json:"process.pid"`
	Name        string   `json:"process.name"`
	Executable  string   `json:"process.executable"`
	Args        []string `json:"process.args"`
	Directory   string   `json:"process.working_directory"`
	Interactive bool     `json:"process.interactive"`
	Major       uint32   `json:"process.tty.char_device.major"`
	Minor       uint32   `json:"process.tty.char_device.minor"`
	LeaderPID   uint32   `json:"process.entry_leader.pid"`
	LeaderMeta  string   `json:"process.entry_leader.entry_meta.type"`
	AtTerminal  bool     `json:"process.entry_leader.interactive"`
	ParentPID   uint32   `json:"process.parent.pid"`
	ParentName  string   `json:"process.parent.name"`
	ParentExe   string   `json:"process.parent.executable"`
	ParentArgs  []string `json:"process.parent.args"`
	ParentAtTTY bool     `json:"process.parent.interactive"`
}

func (c *captured) takeTelemetry(line []byte) error {
	var d document
	if err := json.Unmarshal(line, &d); err != nil {
		return err
	}
	if d.Namespace != "shop" || d.Pod != "web-0" || !d.Interactive {
		return nil
	}
	switch {
	case slices.Contains(d.Action, "open") && strings.HasSuffix(d.Path, "/token"):
		c.opened = d.frame()
		c.opened.What = &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{Path: d.Path, ResolvedPath: d.Target}}
	case slices.Contains(d.Action, "exec") && d.Name == "curl":
		c.ran = d.frame()
		c.ran.What = &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}}
	}
	return nil
}

// frame is the event as the agent had sent it before it was logged.
func (d document) frame() *telemetryv1.Event {
	return &telemetryv1.Event{Process: &telemetryv1.Process{
		Pid: d.PID, Ppid: d.ParentPID, Name: d.Name, Executable: d.Executable, Args: d.Args, WorkingDirectory: d.Directory,
		Interactive: true, Tty: d.Major<<8 | d.Minor,
		Parent: &telemetryv1.Parent{
			Pid: d.ParentPID, Name: d.ParentName, Executable: d.ParentExe, Args: d.ParentArgs, Interactive: d.ParentAtTTY,
		},
		EntryLeader: &telemetryv1.EntryLeader{
			Pid: d.LeaderPID, MetaType: d.LeaderMeta, Interactive: d.AtTerminal, Began: telemetryv1.Began_BEGAN_SESSION,
		},
	}}
}

// telemetry is what an agent tells, whose clock is ahead by so much.
func (c *captured) telemetry(p *pod, a act, ahead time.Duration) *telemetryv1.Event {
	recorded := c.ran
	if a.kind == readToken {
		recorded = c.opened
	}
	e := proto.CloneOf(recorded)
	e.Time, e.Container = timestamppb.New(a.at.Add(ahead)), &telemetryv1.Container{Id: p.container, PodUid: p.uid}
	e.Process.EntityId, e.Process.Start = a.mark, e.GetTime()
	leader := "shell-" + p.uid
	e.Process.Parent.EntityId, e.Process.EntryLeader.EntityId = leader, leader
	e.Process.EntryLeader.Start = timestamppb.New(p.made.Add(ahead))
	return e
}
