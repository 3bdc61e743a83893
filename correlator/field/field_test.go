package field

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

func telemetry() *event.Event {
	privileged := false
	return &event.Event{
		ID: "e1", Kind: event.KindProcess, Source: "agent/node1", Dataset: "portcullis.process",
		Category: []string{"process"}, Type: []string{"start"}, Action: []string{"fork", "exec"},
		Pod: event.Pod{UID: "u-1", Namespace: "shop", Name: "cart-0", Node: "node1", Confidence: event.Exact,
			Labels: map[string]string{"app": "cart"}},
		Container: &event.Container{ID: "c0ffee", Name: "main", Image: "registry:5000/shop/cart:1.2@sha256:00", Privileged: &privileged},
		Process: &event.Process{
			PID: 42, PPID: 41, EntityID: "e-42", Name: "curl", Executable: "/usr/bin/curl", Args: []string{"curl", "-k", "x"},
			WorkingDirectory: "/tmp", UID: 0, GID: 1000, Interactive: true, TTY: 0x00108803, Exit: &event.ProcessExit{Code: 137, Signal: 9},
			Parent:      &event.ProcessRef{PID: 41, EntityID: "e-41", Name: "sh", Executable: "/bin/sh", Args: []string{"sh", "-i"}, Interactive: true},
			EntryLeader: &event.EntryLeader{PID: 40, EntityID: "e-40", MetaType: "container", SameAsProcess: false, Interactive: true, Began: event.BeganSession},
		},
		File:  &event.File{Path: "/var/run/secrets/token.old", ResolvedPath: "/run/secrets/..data/token.old"},
		Limit: &event.Limit{Budget: "opens", Suppressed: 5},
		Session: &event.Session{ID: "s-1", User: "alice", UserUID: "a-1", Groups: []string{"devs"}, Impersonator: "root", Attribution: event.AttributionExact,
			Interactive: true, Command: []string{"sh", "-i"}, Door: "exec"},
	}
}

func auditEvent() *event.Event {
	return &event.Event{
		ID: "e2", Kind: event.KindAudit, Source: "audit/a", Dataset: "kubernetes.audit_logs", Action: []string{"create"},
		Audit: &event.Audit{
			AuditID: "a1", AuditIDReused: true, Stage: "ResponseComplete", Level: "Request", Verb: "create", RequestURI: "/api/v1/x?y", UserAgent: "kubectl/1",
			SourceIPs: []string{"10.0.0.1", "10.0.0.2"},
			User: event.AuditUser{Username: "system:serviceaccount:shop:cart", UID: "su", Groups: []string{"g1", "g2"}, Extra: map[string][]string{
				"authentication.kubernetes.io/pod-name": {"cart-0"}, "authentication.kubernetes.io/node-name": {"node1"},
			}},
			ImpersonatedUser: &event.AuditUser{Username: "root", UID: "ru", Groups: []string{"masters"}, Extra: map[string][]string{"scopes": {"a", "b"}}},
			ObjectRef:        event.ObjectRef{APIGroup: "apps", APIVersion: "v1", Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "web-0", UID: "u-9"},
			Code:             403, Reason: "Forbidden", Message: "no",
			Annotations: map[string]string{"authorization.k8s.io/decision": "forbid", "my_own.key/x_y": "v", "empty": ""},
			Caller:      event.Pod{UID: "u-1", Namespace: "shop", Name: "cart-0", Confidence: event.Exact},
			RequestObject: json.RawMessage(`{"metadata":{"labels":{"app.kubernetes.io/name":"x"},"name":null},
				"spec":{"hostPID":true,"replicas":3,"ratio":0.5,"containers":[
				{"image":"a","securityContext":{"privileged":false,"runAsUser":1000},"ports":[{"containerPort":80}]},
				{"image":"b","securityContext":{"privileged":true,"runAsUser":0},"ports":[{"containerPort":22},{"containerPort":8080}]}]}}`),
			ResponseObject: json.RawMessage(`{"status":{"phase":"Pending"}}`),
		},
		Session: &event.Session{ID: "s-2", Attribution: event.AttributionCandidates, Candidates: []string{"alice", "unaudited"}, Door: "exec"},
	}
}

// show prints a value so that kinds and references can be told apart.
func show(v value.Value) string {
	switch v.Kind() {
	case value.KindMissing:
		return "-"
	case value.KindString:
		if v.IsRef() {
			return fmt.Sprintf("ref %q %q", v.Text(), v.Key())
		}
		return fmt.Sprintf("%q", v.Text())
	case value.KindStrings:
		return fmt.Sprintf("%q", v.Texts())
	case value.KindInt:
		return fmt.Sprint(v.Int())
	case value.KindFloat:
		return fmt.Sprint(v.Float())
	case value.KindBool:
		return fmt.Sprint(v.Bool())
	default:
		return "?"
	}
}

func read(tb testing.TB, s *Schema, e *event.Event, name string) string {
	tb.Helper()
	f, ok := s.Lookup(name)
	if !ok {
		tb.Fatalf("no field %s", name)
	}
	r := s.NewRecord()
	r.Reset(e)
	return show(r.Field(f.Slot))
}

func TestFields(t *testing.T) {
	t.Parallel()
	s := New()
	const a = "kubernetes.audit."
	rows := []struct{ name, telemetry, audit string }{
		{"event.category", `["process"]`, "-"},
		{"event.type", `["start"]`, "-"},
		{"event.action", `["fork" "exec"]`, `["create"]`},
		{"event.dataset", `"portcullis.process"`, `"kubernetes.audit_logs"`},
		{"data_stream.dataset", `"portcullis.process"`, `"kubernetes.audit_logs"`},
		{"event.id", `"e1"`, `"e2"`},
		{"event.kind", `"event"`, `"event"`},
		{"event.outcome", "-", `"failure"`},
		{"host.os.type", `"linux"`, "-"},
		{"host.os.family", `"linux"`, "-"},
		{"host.name", `"node1"`, "-"},
		{"host.hostname", `"node1"`, "-"},
		{"orchestrator.resource.name", `ref "cart-0" "uid:u-1"`, "-"},
		{"orchestrator.resource.id", `"u-1"`, "-"},
		{"orchestrator.resource.type", `"pod"`, "-"},
		{"orchestrator.resource.label", `["app:cart"]`, "-"},
		{"orchestrator.namespace", `"shop"`, "-"},
		{"orchestrator.type", `"kubernetes"`, "-"},
		{"container.id", `"c0ffee"`, "-"},
		{"container.name", `"main"`, "-"},
		{"container.image.name", `"registry:5000/shop/cart"`, "-"},
		{"container.image.tag", `"1.2"`, "-"},
		{"container.image.hash.all", `"sha256:00"`, "-"},
		{"container.security_context.privileged", "false", "-"},
		{"process.name", `"curl"`, "-"},
		{"process.executable", `"/usr/bin/curl"`, "-"},
		{"process.args", `["curl" "-k" "x"]`, "-"},
		{"process.args_count", "3", "-"},
		{"process.args_truncated", "false", "-"},
		{"process.command_line", `"curl -k x"`, "-"},
		{"process.working_directory", `"/tmp"`, "-"},
		{"process.entity_id", `"e-42"`, "-"},
		{"process.interactive", "true", "-"},
		{"process.pid", "42", "-"},
		{"process.exit_code", "137", "-"},
		{"portcullis.process.exit_signal", "9", "-"},
		{"portcullis.entry_leader.began", `"session"`, "-"},
		{"portcullis.limit.budget", `"opens"`, "-"},
		{"portcullis.limit.suppressed", "5", "-"},
		{"process.tty.char_device.major", "136", "-"},
		{"process.tty.char_device.minor", "259", "-"},
		{"process.parent.pid", "41", "-"},
		{"process.parent.name", `"sh"`, "-"},
		{"process.parent.executable", `"/bin/sh"`, "-"},
		{"process.parent.args", `["sh" "-i"]`, "-"},
		{"process.parent.command_line", `"sh -i"`, "-"},
		{"process.parent.args_count", "2", "-"},
		{"process.parent.entity_id", `"e-41"`, "-"},
		{"process.parent.interactive", "true", "-"},
		{"process.entry_leader.pid", "40", "-"},
		{"process.entry_leader.entity_id", `"e-40"`, "-"},
		{"process.entry_leader.entry_meta.type", `"container"`, "-"},
		{"process.entry_leader.same_as_process", "false", "-"},
		{"process.entry_leader.interactive", "true", "-"},
		{"file.path", `"/var/run/secrets/token.old"`, "-"},
		{"file.name", `"token.old"`, "-"},
		{"file.directory", `"/var/run/secrets"`, "-"},
		{"file.extension", `"old"`, "-"},
		{"file.target_path", `"/run/secrets/..data/token.old"`, "-"},
		{"user.id", `"0"`, `"su"`},
		{"user.name", "-", `"system:serviceaccount:shop:cart"`},
		{"group.id", `"1000"`, "-"},
		{"session.id", `"s-1"`, `"s-2"`},
		{"session.attribution", `"exact"`, `"candidates"`},
		{"session.user.name", `"alice"`, "-"},
		{"session.user.id", `"a-1"`, "-"},
		{"session.user.groups", `["devs"]`, "-"},
		{"session.user.impersonator", `"root"`, "-"},
		{"session.candidates", "-", `["alice" "unaudited"]`},
		{"session.door", `"exec"`, `"exec"`},
		{"session.interactive", "true", "false"},
		{"session.command", `["sh" "-i"]`, "-"},
		{"session.command_line", `"sh -i"`, "-"},
		{"source.ip", "-", `["10.0.0.1" "10.0.0.2"]`},
		{"client.ip", "-", `["10.0.0.1" "10.0.0.2"]`},
		{"user_agent.original", "-", `"kubectl/1"`},
		{a + "stage", "-", `"ResponseComplete"`},
		{a + "level", "-", `"Request"`},
		{a + "verb", "-", `"create"`},
		{a + "requestURI", "-", `"/api/v1/x?y"`},
		{a + "auditID", "-", `"a1"`},
		{a + "auditID_reused", "-", "true"},
		{a + "userAgent", "-", `"kubectl/1"`},
		{a + "sourceIPs", "-", `["10.0.0.1" "10.0.0.2"]`},
		{a + "responseStatus.code", "-", "403"},
		{a + "responseStatus.reason", "-", `"Forbidden"`},
		{a + "responseStatus.message", "-", `"no"`},
		{a + "responseStatus.status", "-", `"Failure"`},
		{a + "apiVersion", "-", `"audit.k8s.io/v1"`},
		{a + "kind", "-", `"Event"`},
		{a + "objectRef.resource", "-", `"pods"`},
		{a + "objectRef.subresource", "-", `"exec"`},
		{a + "objectRef.namespace", "-", `"shop"`},
		{a + "objectRef.name", "-", `"web-0"`},
		{a + "objectRef.uid", "-", `"u-9"`},
		{a + "objectRef.apiGroup", "-", `"apps"`},
		{a + "objectRef.apiVersion", "-", `"v1"`},
		{a + "user.username", "-", `"system:serviceaccount:shop:cart"`},
		{a + "user.uid", "-", `"su"`},
		{a + "user.groups", "-", `["g1" "g2"]`},
		{a + "impersonatedUser.username", "-", `"root"`},
		{a + "impersonatedUser.uid", "-", `"ru"`},
		{a + "impersonatedUser.groups", "-", `["masters"]`},
		{a + "user.extra.authentication.kubernetes.io/pod-name", "-", `ref "cart-0" "uid:u-1"`},
	}
	tested := map[string]bool{}
	for _, row := range rows {
		tested[row.name] = true
		if got := read(t, s, telemetry(), row.name); got != row.telemetry {
			t.Errorf("telemetry's %s is %s, want %s", row.name, got, row.telemetry)
		}
		if got := read(t, s, auditEvent(), row.name); got != row.audit {
			t.Errorf("the audit event's %s is %s, want %s", row.name, got, row.audit)
		}
		if got := read(t, s, &event.Event{}, row.name); got != "-" {
			t.Errorf("an empty event's %s is %s, want it missing", row.name, got)
		}
	}
	for _, info := range s.Fields() {
		if !tested[info.Name] {
			t.Errorf("field %s has no row in this test", info.Name)
		}
		if !strings.HasSuffix(info.Doc, ".") || info.Source == "" {
			t.Errorf("field %s is not documented", info.Name)
		}
	}
}

func TestDynamicFields(t *testing.T) {
	t.Parallel()
	s := New()
	for name, want := range map[string]string{
		"annotations.authorization_k8s_io/decision":                            `"forbid"`,
		"annotations.authorization.k8s.io/decision":                            `"forbid"`,
		"annotations.my_own_key/x_y":                                           `"v"`,
		"annotations.empty":                                                    `""`,
		"annotations.none":                                                     "-",
		"user.extra.authentication.kubernetes.io/node-name":                    `["node1"]`,
		"user.extra.authentication_kubernetes_io/node-name":                    `["node1"]`,
		"user.extra.none":                                                      "-",
		"impersonatedUser.extra.scopes":                                        `["a" "b"]`,
		"requestObject.spec.hostPID":                                           "true",
		"requestObject.spec.replicas":                                          "3",
		"requestObject.spec.ratio":                                             `"0.5"`,
		"requestObject.spec.containers.image":                                  `["a" "b"]`,
		"requestObject.spec.containers.securityContext.privileged":             "true",
		"requestObject.spec.containers.securityContext.runAsUser":              "0",
		"requestObject.spec.containers.ports.containerPort":                    "22",
		"requestObject.metadata.labels.app.kubernetes.io/name":                 `"x"`,
		"requestObject.metadata.name":                                          "-",
		"requestObject.spec.containers":                                        "-",
		"requestObject.spec.containers.image.deeper":                           "-",
		"requestObject.spec.containers.securityContext.readOnlyRootFilesystem": "-",
		"responseObject.status.phase":                                          `"Pending"`,
	} {
		if got := read(t, s, auditEvent(), "kubernetes.audit."+name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
		if got := read(t, s, telemetry(), "kubernetes.audit."+name); got != "-" {
			t.Errorf("telemetry has %s: %s", name, got)
		}
	}
	for _, name := range []string{"", "process", "process.nmae", "kubernetes.audit.annotations.", "kubernetes.audit.user.extra.",
		"kubernetes.audit.requestObject", "kubernetes.audit.annotations." + strings.Repeat("x", maxName)} {
		if _, ok := s.Lookup(name); ok {
			t.Errorf("%.40q is taken for a field", name)
		}
	}
}

func TestCallerReferences(t *testing.T) {
	t.Parallel()
	s := New()
	const name = "kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name"
	withoutUID, nothing, nameOnly := auditEvent(), auditEvent(), auditEvent()
	withoutUID.Audit.Caller.UID = ""
	nothing.Audit.Caller, nothing.Audit.User.Extra = event.Pod{}, nil
	nameOnly.Audit.Caller = event.Pod{}
	for want, e := range map[string]*event.Event{
		`ref "cart-0" "name:shop/cart-0"`: withoutUID, "-": nothing, `ref "cart-0" ""`: nameOnly,
	} {
		if got := read(t, s, e, name); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	unnamed := telemetry()
	unnamed.Pod.Name, unnamed.Pod.Namespace = "", ""
	if got, want := read(t, s, unnamed, "orchestrator.resource.name"), `ref "" "uid:u-1"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAmbiguousPodsReadAsEachCandidate(t *testing.T) {
	t.Parallel()
	s := New()
	f, _ := s.Lookup("orchestrator.resource.name")
	r := s.NewRecord()
	r.Reset(telemetry())
	r.WithPodUID("u-2")
	if got, want := show(r.Field(f.Slot)), `ref "cart-0" "uid:u-2"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	r.WithPodUID("")
	if got, want := show(r.Field(f.Slot)), `ref "cart-0" "uid:u-1"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	r.WithPodUID("u-2")
	r.Reset(auditEvent())
	if got := show(r.Field(f.Slot)); got != "-" {
		t.Errorf("an audit event has %s", got)
	}
}

func TestRecordForgetsThePreviousEvent(t *testing.T) {
	t.Parallel()
	s := New()
	r := s.NewRecord()
	names := append(s.Names(), "kubernetes.audit.requestObject.spec.hostPID", "kubernetes.audit.responseObject.status.phase")
	for _, name := range names {
		f, _ := s.Lookup(name)
		for _, e := range []*event.Event{telemetry(), auditEvent()} {
			r.Reset(e)
			r.Field(f.Slot)
		}
		r.Reset(&event.Event{})
		if got := show(r.Field(f.Slot)); got != "-" {
			t.Errorf("%s of an empty event is %s", name, got)
		}
	}
	for _, slot := range []int{-1, 1 << 30} {
		if !r.Field(slot).IsMissing() {
			t.Errorf("slot %d has a value", slot)
		}
	}
}

func TestObjectsAreBounded(t *testing.T) {
	t.Parallel()
	s := New()
	f, _ := s.Lookup("kubernetes.audit.requestObject.a")
	for name, row := range map[string]struct {
		object string
		count  int
		unread int
	}{
		"too large":   {`{"a":"` + strings.Repeat("x", maxObject) + `"}`, 0, 1},
		"many values": {`{"a":[` + strings.Repeat(`"x",`, 5000) + `"x"]}`, maxValues, 0},
		"deep":        {`{"a":` + strings.Repeat("[", 5000) + `"x"` + strings.Repeat("]", 5000) + `}`, 1, 0},
		"no JSON":     {`{"a":`, 0, 0},
		"no object":   {`"a"`, 0, 0},
	} {
		e := auditEvent()
		e.Audit.RequestObject = json.RawMessage(row.object)
		r := s.NewRecord()
		r.Reset(e)
		if got := r.Field(f.Slot).Len(); got != row.count || r.Unread() != row.unread {
			t.Errorf("%s: %d values, %d unread; want %d and %d", name, got, r.Unread(), row.count, row.unread)
		}
	}
}

func TestDynamicFieldsAreBounded(t *testing.T) {
	t.Parallel()
	s := New()
	made := 0
	for i := range maxDynamic + 10 {
		if _, ok := s.Lookup(fmt.Sprintf("kubernetes.audit.annotations.a%d", i)); ok {
			made++
		}
	}
	if made != maxDynamic {
		t.Errorf("%d fields were made, at most %d may be", made, maxDynamic)
	}
	if _, ok := s.Lookup("kubernetes.audit.annotations.a0"); !ok {
		t.Error("a field that was made is gone")
	}
}

// Rules are compiled while events are read.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := New()
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 200 {
				f, ok := s.Lookup(fmt.Sprintf("kubernetes.audit.annotations.k%d", (n+i)%50))
				if !ok || f.Slot < len(s.Fields()) {
					t.Errorf("slot %d, %t", f.Slot, ok)
				}
			}
		})
		group.Go(func() {
			r := s.NewRecord()
			for range 200 {
				r.Reset(auditEvent())
				for slot := range 120 {
					r.Field(slot)
				}
			}
		})
	}
	group.Wait()
	a, _ := s.Lookup("kubernetes.audit.annotations.k1")
	b, _ := s.Lookup("kubernetes.audit.annotations.k1")
	if a != b {
		t.Errorf("one name, two fields: %v and %v", a, b)
	}
}

// The names, types and values fit the language: a rule finds what it says.
func TestRulesReadFields(t *testing.T) {
	t.Parallel()
	s := New()
	for query, want := range map[string]bool{
		`process where process.args == "-k" and process.interactive == true and process.pid > 1`:         true,
		`any where event.action == "exec" and not container.security_context.privileged == true`:         true,
		"any where `kubernetes.audit.annotations.authorization_k8s_io/decision` == \"forbid\"":           false,
		`any where orchestrator.resource.name == "cart-0" and orchestrator.resource.label == "app:cart"`: true,
		`any where kubernetes.audit.requestObject.spec.hostPID == true`:                                  false,
		`file where true`: false,
	} {
		p, problems := eql.Compile("query", query, s, eql.Options{})
		if problems.HasErrors() {
			t.Fatal(problems.Render())
		}
		r := s.NewRecord()
		r.Reset(telemetry())
		if got := p.Stages()[0].Match(r); got != want {
			t.Errorf("%s: %t", query, got)
		}
	}
}

// The two references join for one pod, and for no other.
func TestReferencesJoin(t *testing.T) {
	t.Parallel()
	s := New()
	p, problems := eql.Compile("query", "sequence with maxspan=1s [process where true] by orchestrator.resource.name "+
		"[any where true] by `kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`", s, eql.Options{})
	if problems.HasErrors() {
		t.Fatal(problems.Render())
	}
	keys := func(stage int, e *event.Event) []string {
		r := s.NewRecord()
		r.Reset(e)
		keys, _ := p.Stages()[stage].Keys(r, nil)
		return keys
	}
	first := keys(0, telemetry())
	if diff := cmp.Diff(first, keys(1, auditEvent())); diff != "" || len(first) != 1 {
		t.Errorf("the same pod does not join:\n%s", diff)
	}
	other := auditEvent()
	other.Audit.Caller.UID = "u-2"
	if slices.Equal(first, keys(1, other)) {
		t.Error("a later pod of the same name joins")
	}
	person := auditEvent()
	person.Audit.Caller, person.Audit.User.Extra = event.Pod{}, nil
	if got := keys(1, person); len(got) != 0 {
		t.Errorf("a person joins by %q", got)
	}
}

func TestSplitting(t *testing.T) {
	t.Parallel()
	for image, want := range map[string][3]string{
		"nginx": {"nginx"}, "nginx:1": {"nginx", "1"}, "r:5000/nginx": {"r:5000/nginx"},
		"r:5000/nginx:1@sha256:ab": {"r:5000/nginx", "1", "sha256:ab"}, "nginx@sha256:ab": {"nginx", "", "sha256:ab"}, "": {},
	} {
		if name, tag, digest := splitImage(image); [3]string{name, tag, digest} != want {
			t.Errorf("%s: %s, %s and %s", image, name, tag, digest)
		}
	}
	for path, want := range map[string][3]string{
		"/a/b.c.d": {"/a", "b.c.d", "d"}, "/a": {"/", "a", ""}, "a": {"", "a", ""}, "/a/.hidden": {"/a", ".hidden", ""}, "/a/": {"/a", "", ""}, "": {"", "", ""},
	} {
		directory, name := splitPath(path)
		if directory != want[0] || name != want[1] || extension(path) != want[2] {
			t.Errorf("%s: %s, %s and %s", path, directory, name, extension(path))
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	s := New()
	r := s.NewRecord()
	e := auditEvent()
	f, _ := s.Lookup("kubernetes.audit.annotations.authorization_k8s_io/decision")
	g, _ := s.Lookup("kubernetes.audit.objectRef.resource")
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(e)
		if r.Field(f.Slot).IsMissing() || r.Field(g.Slot).IsMissing() {
			b.Fatal("missing")
		}
	}
}

// Reading costs no memory once a record has seen an event of that size: rules read all the time.
func TestReadingAllocatesNothing(t *testing.T) {
	s := New()
	r, fields := s.NewRecord(), len(s.Fields())
	request := auditEvent()
	request.Audit.RequestObject, request.Audit.ResponseObject = nil, nil
	for name, e := range map[string]*event.Event{"telemetry": telemetry(), "audit": request} {
		readAll := func() {
			r.Reset(e)
			for slot := range fields {
				r.Field(slot)
			}
		}
		if n := testing.AllocsPerRun(100, readAll); n != 0 {
			t.Errorf("reading all fields of the %s event allocates %.0f times", name, n)
		}
	}
}

// What was read of one event is not what is read of the next, though the memory is.
func TestValuesOfTheNextEvent(t *testing.T) {
	t.Parallel()
	s := New()
	r := s.NewRecord()
	f, _ := s.Lookup("process.command_line")
	p, _ := s.Lookup("orchestrator.resource.name")
	l, _ := s.Lookup("orchestrator.resource.label")
	for i := range 20 {
		e := telemetry()
		e.Process.Args = []string{"cmd", strings.Repeat("x", i*50)}
		e.Pod.UID = fmt.Sprint("u", i)
		e.Pod.Labels = map[string]string{"a": fmt.Sprint(i), "b": "c"}
		r.Reset(e)
		got := show(r.Field(p.Slot)) + show(r.Field(l.Slot)) + show(r.Field(f.Slot)) + show(r.Field(p.Slot))
		pod := fmt.Sprintf(`ref "cart-0" "uid:u%d"`, i)
		if want := pod + fmt.Sprintf(`["a:%d" "b:c"]"cmd %s"`, i, strings.Repeat("x", i*50)) + pod; got != want {
			t.Errorf("event %d reads %s, want %s", i, got, want)
		}
	}
}
