package field

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

var noon = time.Date(2026, 8, 22, 12, 0, 0, 123456789, time.UTC)

// build makes an event or fails the test.
func build(tb testing.TB, s *Schema, document map[string]any) *event.Event {
	tb.Helper()
	e, err := s.Event(document)
	if err != nil {
		tb.Fatalf("event of %v: %v", document, err)
	}
	return e
}

// viaJSON is what becomes of a document in a file.
func viaJSON(tb testing.TB, document map[string]any) map[string]any {
	tb.Helper()
	text, err := json.Marshal(document)
	if err != nil {
		tb.Fatal(err)
	}
	var out map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&out); err != nil {
		tb.Fatal(err)
	}
	return out
}

// nested makes objects of dotted names, as far as they can be.
func nested(document map[string]any) map[string]any {
	out := map[string]any{}
	for name, content := range document {
		node, rest := out, name
		for {
			first, more, ok := strings.Cut(rest, ".")
			child, isObject := node[first].(map[string]any)
			if !ok || node[first] != nil && !isObject || strings.HasPrefix(more, "/") {
				node[rest] = content
				break
			}
			if !isObject {
				child = map[string]any{}
				node[first] = child
			}
			node, rest = child, more
		}
	}
	return out
}

// events are random, and hold what sources make: whatever text, but whole identities.
type events struct{ *rand.Rand }

func (r events) text() string {
	return []string{"", "a", "sh", "a b", "ünï\x1b[31m", "x.y/z_w", `"\`, "*", "/bin/sh", "-"}[r.IntN(10)] + fmt.Sprint(r.IntN(3))
}

func (r events) maybe(s string) string {
	if r.IntN(3) == 0 {
		return ""
	}
	return s
}

func (r events) texts() []string {
	out := make([]string, r.IntN(4))
	for i := range out {
		out[i] = r.maybe(r.text())
	}
	return out
}

func (r events) flag() bool { return r.IntN(2) == 0 }

func (r events) time() time.Time { return noon.Add(time.Duration(r.Int64N(1e15))) }

func (r events) pod() event.Pod {
	p := event.Pod{UID: r.maybe(r.text()), Namespace: r.maybe(r.text()), Name: r.maybe(r.text()), Node: r.maybe(r.text()),
		Confidence: event.Confidence(r.IntN(4)), Candidates: r.texts()}
	for range r.IntN(3) {
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		p.Labels[r.text()] = r.maybe(r.text()) + ":"
	}
	return p
}

func (r events) user() event.AuditUser {
	u := event.AuditUser{Username: r.text(), UID: r.maybe(r.text()), Groups: r.texts()}
	if r.flag() {
		u.Username = "system:serviceaccount:shop:cart"
		u.Extra = map[string][]string{event.ExtraPodName: {r.text()}, event.ExtraPodUID: {r.text()}, "other.io/k_e.y": append(r.texts(), "z")}
	}
	return u
}

func (r events) object() json.RawMessage {
	return []json.RawMessage{nil, json.RawMessage(`{}`), json.RawMessage(`{"spec":{"a.b":[1,2.5,9007199254740993,{"c":null}]}}`),
		json.RawMessage(`[1]`), json.RawMessage(`"text"`)}[r.IntN(5)]
}

func (r events) audit() *event.Audit {
	a := &event.Audit{
		AuditID: r.text(), Stage: r.text(), Level: r.text(), Verb: r.text(), RequestURI: r.maybe(r.text()), UserAgent: r.maybe(r.text()),
		SourceIPs: r.texts(), User: r.user(), Code: r.Int32N(600), Reason: r.maybe(r.text()), Message: r.maybe(r.text()),
		Annotations:   map[string]string{"authorization.k8s.io/decision": "allow", "empty": "", "webhook.io/a_b": r.text()},
		ObjectRef:     event.ObjectRef{Resource: "pods", Subresource: "exec", Name: r.maybe(r.text()), Namespace: r.text(), UID: r.maybe(r.text())},
		RequestObject: r.object(), ResponseObject: r.object(),
	}
	if r.flag() {
		u := r.user()
		a.ImpersonatedUser = &u
	}
	a.Caller, a.Target = event.CallerOf(&a.User), event.TargetOf(a)
	if r.flag() { // resolved
		a.Caller, a.Target = r.pod(), r.pod()
		a.Caller.Name = strings.Join(a.User.Extra[event.ExtraPodName], "")
	}
	return a
}

func (r events) process() *event.Process {
	p := &event.Process{PID: r.Uint32N(3), PPID: r.Uint32N(3), EntityID: r.text(), Name: r.text(), Executable: r.maybe(r.text()), Args: r.texts(),
		ArgsTruncated: r.flag(), WorkingDirectory: r.text(), UID: r.Uint32N(3) * 1000, GID: r.Uint32(), Start: r.time(), Interactive: r.flag(), TTY: r.Uint32()}
	if r.flag() {
		p.Parent = &event.ProcessRef{PID: p.PPID, EntityID: r.maybe(r.text()), Name: r.text(), Executable: r.text(), Args: r.texts(), Interactive: r.flag()}
	}
	if r.flag() {
		p.EntryLeader = &event.EntryLeader{PID: r.Uint32(), EntityID: r.text(), MetaType: r.text(), SameAsProcess: r.flag(), Interactive: r.flag(), Start: r.time()}
	}
	return p
}

func (r events) event() *event.Event {
	e := &event.Event{ID: r.text(), Source: r.text(), Time: r.time(), Received: r.time(), Type: r.texts(), Action: r.texts()}
	e.StageTime, e.Request = e.Time, e.ID
	if r.flag() {
		e.Session = &event.Session{ID: r.text(), User: r.maybe(r.text()), UserUID: r.maybe(r.text()), Groups: r.texts(), Impersonator: r.maybe(r.text()),
			Attribution: event.AttributionCandidates, Candidates: r.texts(), Interactive: r.flag(), Command: r.texts(), Door: r.maybe(r.text())}
	}
	if r.flag() {
		e.Kind, e.Dataset, e.Audit, e.StageTime, e.Request = event.KindAudit, "kubernetes.audit_logs", r.audit(), r.time(), r.text()
		return e
	}
	e.Kind, e.Dataset, e.Category = event.KindProcess, r.maybe("portcullis.process"), r.texts()
	e.Process, e.Pod = r.process(), r.pod()
	if r.flag() {
		e.Kind, e.Dataset, e.Category = event.KindFile, "portcullis.file", []string{"file", "process"}
		e.File = &event.File{Path: "/a/" + r.text(), ResolvedPath: r.maybe(r.text())}
	}
	if r.flag() {
		privileged := r.flag()
		e.Container = &event.Container{ID: r.text(), Name: r.maybe(r.text()), Image: "r:5000/i:1@sha256:0", Privileged: &privileged}
	}
	return e
}

func equateJSON() cmp.Option {
	return cmp.FilterValues(func(x, y json.RawMessage) bool { return len(x) > 0 && len(y) > 0 }, cmp.Comparer(func(x, y json.RawMessage) bool {
		return cmp.Equal(decode(x), decode(y))
	}))
}

// A document says everything that an event is.
func TestDocumentsAreTheEvent(t *testing.T) {
	t.Parallel()
	s := New()
	r := events{rand.New(rand.NewPCG(1, 2))}
	for range 300 {
		e := r.event()
		document := s.Document(e)
		for name, document := range map[string]map[string]any{
			"as it is": document, "of a file": viaJSON(t, document), "nested": nested(document), "nested in a file": viaJSON(t, nested(document)),
		} {
			got, err := s.Event(document)
			if err != nil {
				t.Fatalf("%s: %v\n%v", name, err, document)
			}
			if diff := cmp.Diff(e, got, cmpopts.EquateEmpty(), equateJSON()); diff != "" {
				t.Fatalf("%s (-event +of its document):\n%s", name, diff)
			}
			if diff := cmp.Diff(s.Document(e), s.Document(got)); diff != "" {
				t.Fatalf("%s: documents (-before +after):\n%s", name, diff)
			}
		}
	}
}

// filled sets every field below v, so that none is zero.
func filled(tb testing.TB, v reflect.Value, path string) {
	tb.Helper()
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = noon.Add(time.Duration(len(path)) * time.Second)
		return
	case *json.RawMessage:
		*at = json.RawMessage(`{"a":"` + path + `"}`)
		return
	case *map[string]string:
		*at = map[string]string{"key": path}
		return
	case *map[string][]string:
		*at = map[string][]string{"key": {path}}
		return
	case *event.Confidence:
		*at = event.ByName
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			filled(tb, v.Field(i), path+"/"+v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(tb, v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		filled(tb, v.Index(0), path)
	case reflect.String:
		v.SetString(path)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(len(path)))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(len(path)))
	default:
		tb.Fatalf("%s is a %s: teach this test about it", path, v.Type())
	}
}

// Whatever is added to the vocabulary is in documents, too.
func TestDocumentsLeaveNothingOut(t *testing.T) {
	t.Parallel()
	s := New()
	for _, kind := range []event.Kind{event.KindAudit, event.KindFile} {
		e := &event.Event{}
		filled(t, reflect.ValueOf(e).Elem(), "")
		e.Kind = kind
		e.Delivered = "" // ID is a hash of it, and that is in the document.
		if kind == event.KindAudit {
			e.Pod, e.Container, e.Process, e.File, e.Limit = event.Pod{}, nil, nil, nil, nil
		} else {
			e.Audit, e.StageTime, e.Process.Parent.PID = nil, e.Time, e.Process.PPID
		}
		again := build(t, s, viaJSON(t, s.Document(e)))
		if diff := cmp.Diff(e, again); diff != "" {
			t.Errorf("%s: a field of the event needs a row in the table (-event +of its document):\n%s", kind, diff)
		}
	}
}

// What rules read of an event is what they read of the event that its document makes.
func TestRulesReadTheSameOfADocument(t *testing.T) {
	t.Parallel()
	s := New()
	for _, e := range []*event.Event{telemetry(), auditEvent()} {
		again := build(t, s, viaJSON(t, s.Document(e)))
		names := append(s.Names(),
			"kubernetes.audit.annotations.authorization_k8s_io/decision", "kubernetes.audit.annotations.empty",
			"kubernetes.audit.user.extra.authentication.kubernetes.io/node-name", "kubernetes.audit.impersonatedUser.extra.scopes",
			"kubernetes.audit.requestObject.spec.containers.image", "kubernetes.audit.requestObject.spec.hostPID",
			"kubernetes.audit.requestObject.metadata.labels.app.kubernetes.io/name", "kubernetes.audit.responseObject.status.phase")
		for _, name := range names {
			if before, after := read(t, s, e, name), read(t, s, again, name); before != after {
				t.Errorf("%s is %s, and %s after a document", name, before, after)
			}
		}
	}
}

// sample is a value that a field of this name and type can have.
func sample(i Info) any {
	switch i.Name {
	case "event.kind":
		return "event"
	case "event.outcome":
		return "failure"
	case "host.os.type", "host.os.family":
		return "linux"
	case "orchestrator.resource.type":
		return "pod"
	case "orchestrator.type":
		return "kubernetes"
	case "orchestrator.resource.label":
		return []string{"app:cart"}
	case "user.id", "group.id":
		return "1000"
	case "kubernetes.audit.responseStatus.status":
		return "Failure"
	case "kubernetes.audit.apiVersion":
		return "audit.k8s.io/v1"
	case "kubernetes.audit.kind":
		return "Event"
	case "file.path":
		return "/a/b.c"
	case "container.image.hash.all":
		return []string{"sha256:00"}
	}
	switch {
	case i.Type == value.Boolean:
		return true
	case i.Type == value.Number:
		return int64(7)
	case i.Type == value.IP:
		return []string{"10.0.0.1", "10.0.0.2"}
	case i.Many:
		return []string{"a", "b c"}
	default:
		return "some text"
	}
}

// Every field that rules can read can be set, alone, and reads as it was set.
func TestEveryFieldCanBeSet(t *testing.T) {
	t.Parallel()
	s := New()
	// Fields that say nothing by themselves, with what they need.
	needs := map[string]map[string]any{
		"event.kind":                             {"process.name": "sh"},
		"orchestrator.resource.type":             {"orchestrator.resource.id": "u-1"},
		"orchestrator.type":                      {"orchestrator.resource.id": "u-1"},
		"kubernetes.audit.responseStatus.status": {"kubernetes.audit.responseStatus.code": 403},
	}
	for _, info := range s.Fields() {
		document := map[string]any{info.Name: sample(info)}
		for name, content := range needs[info.Name] {
			document[name] = content
		}
		for form, document := range map[string]map[string]any{"dotted": document, "nested": nested(document), "of a file": viaJSON(t, document)} {
			e, err := s.Event(document)
			if err != nil {
				t.Errorf("%s, %s: %v", info.Name, form, err)
				continue
			}
			f, _ := s.Lookup(info.Name)
			r := s.NewRecord()
			r.Reset(e)
			got, want := r.Field(f.Slot), sample(info)
			if !(input{want}).equals(got, info.Type) {
				t.Errorf("%s, %s: set to %v, reads %s", info.Name, form, want, show(got))
			}
			if again := build(t, s, s.Document(e)); !cmp.Equal(e, again, cmpopts.EquateEmpty()) {
				t.Errorf("%s, %s: its document is another event:\n%s", info.Name, form, cmp.Diff(e, again, cmpopts.EquateEmpty()))
			}
		}
	}
}

func TestFieldsOfOpenPrefixesCanBeSet(t *testing.T) {
	t.Parallel()
	s := New()
	for name, content := range map[string]any{
		"annotations.authorization_k8s_io/decision":                 "forbid",
		"annotations.authorization.k8s.io/decision":                 "forbid",
		"annotations.empty":                                         "",
		"user.extra.authentication.kubernetes.io/pod-name":          []string{"cart-0"},
		"user.extra.authentication.kubernetes.io/credential-id":     []string{"JTI=x"},
		"impersonatedUser.extra.scopes":                             []string{"a", "b"},
		"requestObject.spec.hostPID":                                true,
		"requestObject.spec.containers.image":                       []string{"a", "b"},
		"requestObject.spec.containers.securityContext.runAsUser":   0,
		"requestObject.metadata.labels.app.kubernetes.io/name":      "x",
		"responseObject.status.phase":                               "Pending",
		"responseObject.spec.containers.securityContext.privileged": false,
	} {
		name = auditPrefix + name
		for form, document := range map[string]map[string]any{"dotted": {name: content}, "nested": nested(map[string]any{name: content})} {
			e := build(t, s, document)
			d := s.row(name)
			r := s.NewRecord()
			r.Reset(e)
			if got := d.get(r); !(input{content}).equals(got, d.Type) && content != "" {
				t.Errorf("%s, %s: set to %v, reads %s", name, form, content, show(got))
			}
		}
	}
	e := build(t, s, map[string]any{"kubernetes.audit": map[string]any{
		"requestObject":                    map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": "a"}, map[string]any{"image": "b"}}}},
		"requestObject.spec.hostNetwork":   true,
		"requestObject.spec.volumes":       []any{map[string]any{"hostPath": map[string]any{"path": "/"}}},
		"requestObject.metadata.namespace": "shop",
	}})
	const want = `{"metadata":{"namespace":"shop"},"spec":{"containers":[{"image":"a"},{"image":"b"}],"hostNetwork":true,"volumes":[{"hostPath":{"path":"/"}}]}}`
	if got := string(e.Audit.RequestObject); got != want {
		t.Errorf("the object is %s, want %s", got, want)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	s := New()
	for document, want := range map[string]event.Kind{
		`{}`:                                               event.KindUnknown,
		`{"event.type": ["start"]}`:                        event.KindUnknown,
		`{"process": {"name": "sh"}}`:                      event.KindProcess,
		`{"container.id": "c"}`:                            event.KindProcess,
		`{"host.os.type": "linux"}`:                        event.KindProcess,
		`{"event.category": "process"}`:                    event.KindProcess,
		`{"event.category": ["file"]}`:                     event.KindFile,
		`{"file.path": "/x"}`:                              event.KindFile,
		`{"process.name": "sh", "file": {"path": "/x"}}`:   event.KindFile,
		`{"process.name": "sh", "file": {"path": null}}`:   event.KindProcess,
		`{"kubernetes.audit.verb": "get"}`:                 event.KindAudit,
		`{"user.name": "alice"}`:                           event.KindAudit,
		`{"user.id": "1000"}`:                              event.KindProcess,
		`{"user.id": "a-b"}`:                               event.KindAudit,
		`{"event": {"dataset": "kubernetes.audit_logs"}}`:  event.KindAudit,
		`{"data_stream.dataset": "kubernetes.audit_logs"}`: event.KindAudit,
	} {
		if e := build(t, s, parse(t, document)); e.Kind != want {
			t.Errorf("%s is %s, want %s", document, e.Kind, want)
		}
	}
}

func parse(tb testing.TB, text string) map[string]any {
	tb.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return out
}

// What a document leaves out is what the event's source would have said.
func TestDefaults(t *testing.T) {
	t.Parallel()
	s := New()
	exec := build(t, s, map[string]any{
		"@timestamp": noon,
		"process":    map[string]any{"name": "curl", "args": []any{"curl", "-k"}, "parent.pid": 3},
		"orchestrator.resource": map[string]any{
			"id": "u-1", "label": map[string]any{"app": "cart"},
		},
	})
	want := &event.Event{Kind: event.KindProcess, Time: noon, StageTime: noon, Dataset: "portcullis.process", Category: []string{"process"},
		Pod:     event.Pod{UID: "u-1", Confidence: event.Exact, Labels: map[string]string{"app": "cart"}},
		Process: &event.Process{Name: "curl", Args: []string{"curl", "-k"}, PPID: 3}}
	if diff := cmp.Diff(want, exec, cmpopts.IgnoreFields(event.Event{}, "ID", "Request")); diff != "" {
		t.Errorf("process (-want +got):\n%s", diff)
	}
	if len(exec.ID) != 32 || exec.Request != exec.ID {
		t.Errorf("its IDs are %q and %q", exec.ID, exec.Request)
	}

	request := func(stage, at string) *event.Event {
		return build(t, s, map[string]any{"kubernetes.audit": map[string]any{
			"requestReceivedTimestamp": "2026-08-22T12:00:00Z", "stageTimestamp": at, "stage": stage, "verb": "create",
			"objectRef": map[string]any{"resource": "pods", "subresource": "exec", "namespace": "shop", "name": "cart-0"},
			"user": map[string]any{"username": "system:serviceaccount:shop:cart", "extra": map[string]any{
				"authentication.kubernetes.io/pod-name": []any{"web-0"}, "authentication.kubernetes.io/pod-uid": []any{"u-2"},
			}},
		}})
	}
	started, complete := request("ResponseStarted", "2026-08-22T12:00:01Z"), request("ResponseComplete", "2026-08-22T13:00:00Z")
	if started.Request != complete.Request || started.ID == complete.ID {
		t.Errorf("two stages: requests %s and %s, events %s and %s", started.Request, complete.Request, started.ID, complete.ID)
	}
	wantAudit := &event.Audit{
		Stage: "ResponseStarted", Verb: "create", ObjectRef: event.ObjectRef{Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "cart-0"},
		User: event.AuditUser{Username: "system:serviceaccount:shop:cart", Extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {"web-0"}, "authentication.kubernetes.io/pod-uid": {"u-2"}}},
		Caller: event.Pod{UID: "u-2", Namespace: "shop", Name: "web-0", Confidence: event.Exact},
		Target: event.Pod{Namespace: "shop", Name: "cart-0"},
	}
	if diff := cmp.Diff(wantAudit, started.Audit); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if started.Dataset != "kubernetes.audit_logs" || started.Category != nil || !slices.Equal(started.Action, []string{"create"}) ||
		!started.Time.Equal(noon.Truncate(time.Second)) || !started.StageTime.Equal(started.Time.Add(time.Second)) {
		t.Errorf("frame of the request: %+v", started)
	}

	none := build(t, s, parse(t, `{"process.name": "x", "event.category": [], "event.dataset": null}`))
	if none.Category != nil || none.Dataset != "" {
		t.Errorf("category %q and dataset %q that the document denies", none.Category, none.Dataset)
	}
}

func TestDerivedFieldsFillIn(t *testing.T) {
	t.Parallel()
	s := New()
	for document, want := range map[string]string{
		`{"process.command_line": "curl -k  x"}`:                           `process.args ["curl" "-k" "" "x"]`,
		`{"process.args_count": 3}`:                                        `process.args ["" "" ""]`,
		`{"process.args_count": 2, "process.command_line": "a b"}`:         `process.args ["a" "b"]`,
		`{"process.parent.command_line": "sh -i"}`:                         `process.parent.args ["sh" "-i"]`,
		`{"file.name": "token"}`:                                           `file.path "token"`,
		`{"file.name": "a.key", "file.directory": "/x"}`:                   `file.path "/x/a.key"`,
		`{"file.directory": "/", "file.name": "a"}`:                        `file.path "/a"`,
		`{"file.extension": "key", "file.directory": "/x"}`:                `file.path "/x/file.key"`,
		`{"file.path": "/x/y.z", "file.extension": "z"}`:                   `file.path "/x/y.z"`,
		`{"user.name": "alice"}`:                                           `kubernetes.audit.user.username "alice"`,
		`{"source.ip": "10.0.0.1"}`:                                        `kubernetes.audit.sourceIPs ["10.0.0.1"]`,
		`{"event.outcome": "failure"}`:                                     `kubernetes.audit.annotations.authorization_k8s_io/decision "forbid"`,
		`{"host.hostname": "n1"}`:                                          `host.name "n1"`,
		`{"data_stream.dataset": "cloud_defend.process", "process.pid":1}`: `event.dataset "cloud_defend.process"`,
	} {
		name, content, _ := strings.Cut(want, " ")
		if got := read(t, s, build(t, s, parse(t, document)), name); got != content {
			t.Errorf("%s: %s is %s, want %s", document, name, got, content)
		}
	}
}

func TestEverythingWrongWithADocument(t *testing.T) {
	t.Parallel()
	s := New()
	for document, want := range map[string]string{
		`{"process.nmae": "sh"}`:                                    `unknown field "process.nmae", did you mean process.name?`,
		`{"prcess": {"name": "sh"}}`:                                `unknown field "prcess.name", did you mean process.name?`,
		`{"kubernetes.audit.requestObjekt": 1}`:                     `unknown field "kubernetes.audit.requestObjekt", did you mean kubernetes.audit.requestObject?`,
		`{"nothing.like.it.at.all": 1}`:                             `unknown field "nothing.like.it.at.all"`,
		`{"process": "sh"}`:                                         `unknown field "process"`,
		`{"process.name": {"a": 1}}`:                                `process.name: want a value, got {"a":1}`,
		`{"process.name": true}`:                                    `process.name: want a text, got true`,
		`{"process.name": ["a", "b"]}`:                              `process.name: want a text, got ["a","b"]`,
		`{"process.pid": -1}`:                                       `process.pid: want a whole number from 0 to 4294967295, got -1`,
		`{"process.pid": 1.5}`:                                      `process.pid: want a whole number from 0 to 4294967295, got 1.5`,
		`{"process.pid": "7"}`:                                      `process.pid: want a whole number from 0 to 4294967295, got "7"`,
		`{"process.args": [["a"]]}`:                                 `process.args: want texts, got [["a"]]`,
		`{"process.args": ["a", null]}`:                             `process.args: want texts, got ["a",null]`,
		`{"process.interactive": "yes"}`:                            `process.interactive: want true or false, got "yes"`,
		`{"user.id": "root", "process.name": "x"}`:                  `user.id: want the number of a process' user or group, 0 to 4294967295, got "root"`,
		`{"@timestamp": "noon"}`:                                    `@timestamp: want a time as in 2026-08-22T12:00:00.5Z, got "noon"`,
		`{"@timestamp": 1}`:                                         `@timestamp: want a time as in 2026-08-22T12:00:00.5Z, got 1`,
		`{"orchestrator.resource.label": ["app"]}`:                  `orchestrator.resource.label: want labels as key:value, got "app"`,
		`{"portcullis.pod.confidence": "sure"}`:                     `portcullis.pod.confidence: want exact, by-name, ambiguous or unknown, got "sure"`,
		`{"process.name": "a", "process": {"name": "b"}}`:           `process.name: is given twice, with different values`,
		`{"process.args": ["a"], "process.command_line": "b"}`:      `process.command_line: it is "a" by the event's other fields, not "b"`,
		`{"process.args": ["a"], "process.args_count": 2}`:          `process.args_count: it is 1 by the event's other fields, not 2`,
		`{"file.path": "/a/b", "file.name": "c"}`:                   `file.name: it is "b" by the event's other fields, not "c"`,
		`{"file.name": "a/b"}`:                                      `file.name: it is "b" by the event's other fields, not "a/b"`,
		`{"host.os.type": "windows"}`:                               `host.os.type: it is "linux" by the event's other fields, not "windows"`,
		`{"orchestrator.type": "kubernetes"}`:                       `orchestrator.type: no event has "kubernetes"`,
		`{"event.outcome": "unknown"}`:                              `event.outcome: no event has "unknown"`,
		`{"user.name": "a", "kubernetes.audit.user.username": "b"}`: `user.name: it is "b" by the event's other fields, not "a"`,
		`{"process.name": "a", "kubernetes.audit.verb": "get"}`: `kubernetes.audit.verb and process.name are not of one event: ` +
			`the one is known of requests, the other of containers`,
		`{"kubernetes.audit.requestObject.spec.hostPID": "yes"}`:                           `kubernetes.audit.requestObject.spec.hostPID: want true or false, got "yes"`,
		`{"kubernetes.audit.requestObject.a": 1, "kubernetes.audit.requestObject.a.b": 2}`: `kubernetes.audit.requestObject.a.b: a is given too, and it is no object`,
		`{"kubernetes.audit.requestObject": 1, "kubernetes.audit.requestObject.a": 2}`:     `kubernetes.audit.requestObject.a: the object itself is given too, and it is no object`,
		`{"a":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 41):              `a` + strings.Repeat(".a", 32) + `: is nested too deeply`,
		`{"process.nmae": "x", "process.pid": "y", "file.path": 1.5e300, "user.id": []}`: "unknown field \"process.nmae\", did you mean process.name?\n" +
			`process.pid: want a whole number from 0 to 4294967295, got "y"`,
	} {
		e, err := s.Event(parse(t, document))
		if err == nil || e != nil {
			t.Errorf("%s: no error, or an event with it", document)
		} else if err.Error() != want {
			t.Errorf("%s:\n got %s\nwant %s", document, err, want)
		}
	}
}

func TestMissingIsAccepted(t *testing.T) {
	t.Parallel()
	s := New()
	e := build(t, s, parse(t, `{"process": {"name": "sh", "executable": null, "args": [], "working_directory": "", "pid": 0, "parent": null},
		"container": null, "kubernetes": null, "kubernetes.audit.verb": ""}`))
	want := &event.Process{Name: "sh"}
	if diff := cmp.Diff(want, e.Process); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The ID hangs on the content, however it is written.
func TestContentNamesTheEvent(t *testing.T) {
	t.Parallel()
	s := New()
	a := build(t, s, parse(t, `{"process": {"name": "sh", "args": ["sh", "-c"]}}`))
	b := build(t, s, parse(t, `{"process.args": ["sh", "-c"], "process.command_line": "sh -c", "process.name": "sh", "process.pid": null}`))
	c := build(t, s, parse(t, `{"process": {"name": "sh", "args": ["sh", "-d"]}}`))
	if a.ID != b.ID || a.ID == c.ID {
		t.Errorf("IDs %s, %s and %s", a.ID, b.ID, c.ID)
	}
}

func FuzzEvent(f *testing.F) {
	s := New()
	r := events{rand.New(rand.NewPCG(3, 4))}
	for range 20 {
		text, err := json.Marshal(s.Document(r.event()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"process":{"name":"sh","command_line":"a b"},"file.name":"x","user.id":5}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var document map[string]any
		if json.Unmarshal(text, &document) != nil {
			return
		}
		e, err := s.Event(document)
		if (e == nil) == (err == nil) {
			t.Fatalf("event %v with error %v", e, err)
		}
		if err != nil {
			return
		}
		first := s.Document(e)
		again, err := s.Event(first)
		if err != nil {
			t.Fatalf("the document of the event is refused: %v\n%v", err, first)
		}
		if diff := cmp.Diff(first, s.Document(again)); diff != "" {
			t.Fatalf("documents (-first +second):\n%s", diff)
		}
	})
}

func BenchmarkEvent(b *testing.B) {
	s := New()
	text, err := json.Marshal(s.Document(telemetry()))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var document map[string]any
		if err := json.Unmarshal(text, &document); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Event(document); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDocumentsOfOthers(t *testing.T) {
	t.Parallel()
	s := New()
	e, unknown, err := s.EventOfOthers(parse(t, `{"process": {"name": "sh", "thread": {"id": 5}}, "agent.id": "x", "ecs": {"version": "8"}, "tags": null}`))
	if err != nil || e.Process.Name != "sh" {
		t.Fatalf("%v, %v", e, err)
	}
	if diff := cmp.Diff([]string{"agent.id", "ecs.version", "process.thread.id", "tags"}, unknown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if e, _, err := s.EventOfOthers(parse(t, `{"agent.id": 1, "process.pid": "x"}`)); err == nil || e != nil {
		t.Errorf("event %v, error %v", e, err)
	}
}

// Whoever writes a document decides neither what a terminal does nor how long we think.
func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	s := New()
	many, paths := map[string]any{}, map[string]any{}
	for i := range 10_000 {
		many[fmt.Sprintf("process.nam%d", i)] = "x"
		paths[fmt.Sprintf("kubernetes.audit.requestObject.a%d.b", i)] = strings.Repeat("x", 100)
	}
	for name, row := range map[string]struct {
		document map[string]any
		want     string
	}{
		"escape in a name":  {map[string]any{"\x1b[31m": 1}, `unknown field "\x1b[31m"`},
		"escape in a key":   {map[string]any{"kubernetes.audit.annotations.\x1b[31m\n": true}, `"kubernetes.audit.annotations.\x1b[31m\n": want a text, got true`},
		"escape in a value": {map[string]any{"process.pid": "\x1b[31m"}, `process.pid: want a whole number from 0 to 4294967295, got "\x1b[31m"`},
		"escape in a path": {map[string]any{"kubernetes.audit.requestObject.\x1b.x": 1, "kubernetes.audit.requestObject.\x1b": 2},
			`"kubernetes.audit.requestObject.\x1b.x": "\x1b" is given too, and it is no object`},
		"many unknown names": {many, "and 9980 more names that are no field"},
		"many fields":        {paths, "is beyond the 4096 fields that one document may have"},
		"odd keys":           {map[string]any{"process": map[any]any{"name": "sh"}}, `unknown field "process"`},
		"odd values":         {map[string]any{"process.name": func() {}}, "process.name: want a text, got func()"},
	} {
		e, err := s.Event(row.document)
		if e != nil || err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: event %v, error %.300v, want %q", name, e, err, row.want)
		}
		if err != nil && strings.ContainsRune(err.Error(), '\x1b') {
			t.Errorf("%s: an escape sequence reaches the terminal", name)
		}
	}
}

func TestADocumentIsNotChanged(t *testing.T) {
	t.Parallel()
	const text = `{"kubernetes.audit": {"requestObject": {"spec": {"a": [1]}}, "requestObject.spec.hostPID": true, "responseObject.spec": {"x": {}}, "responseObject.spec.x.y": 1}}`
	document := parse(t, text)
	build(t, New(), document)
	if diff := cmp.Diff(parse(t, text), document); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}
