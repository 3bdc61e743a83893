package correlator

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

const (
	tokenRule     = "token-access-then-api-request"
	forbiddenRule = "forbidden-api-request-interactive"
	commonRule    = "api-request-common-utilities"
	unusualRule   = "api-request-unusual-utilities"
	execRule      = "exec-into-pod"
	shellRule     = "interactive-exec-into-container"

	token  = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	caCert = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
)

// elsewhere is a pod of the same name as cart in another namespace.
func elsewhere() event.Pod {
	pod := cart()
	pod.UID, pod.Namespace = "11111111-1111-1111-1111-111111111111", "staging"
	return pod
}

// recreated is a later pod of the same namespace and name as cart.
func recreated() event.Pod {
	pod := cart()
	pod.UID = "22222222-2222-2222-2222-222222222222"
	return pod
}

// edit changes an event in place and returns it.
func edit(e *event.Event, change func(*event.Event)) *event.Event {
	change(e)
	return e
}

// Every row is fed in every order; the shipped rules, all together, must
// conclude exactly what it says.
func TestShippedRules(t *testing.T) {
	t.Parallel()
	const ms, s = time.Millisecond, time.Second
	pod := cart()
	for name, row := range map[string]struct {
		events []*event.Event
		want   []string
	}{
		"token read, then used": {
			[]*event.Event{opened(pod, 0, token), called(pod, 30*s, "list", "configmaps")}, []string{tokenRule}},
		"CA read, then token used": {
			[]*event.Event{opened(pod, 0, caCert), called(pod, 30*s, "list", "configmaps")}, []string{tokenRule}},
		"token used 60s after it was read": {
			[]*event.Event{opened(pod, 0, token), called(pod, 60*s, "list", "configmaps")}, []string{tokenRule}},
		"too late": {
			[]*event.Event{opened(pod, 0, token), called(pod, 60*s+ms, "list", "configmaps")}, nil},
		"used before it was read": {
			[]*event.Event{opened(pod, 2*s, token), called(pod, s, "list", "configmaps")}, nil},
		"read without a terminal": {
			[]*event.Event{withoutTerminal(opened(pod, 0, token)), called(pod, 3*s, "list", "configmaps")}, nil},
		"read with standard error redirected": {
			[]*event.Event{edit(opened(pod, 0, token), func(e *event.Event) { e.Process.Interactive = false }),
				called(pod, 3*s, "list", "configmaps")}, []string{tokenRule}},
		"another file": {
			[]*event.Event{opened(pod, 0, "/etc/passwd"), called(pod, 3*s, "list", "configmaps")}, nil},
		"token of a pod of the same name in another namespace": {
			[]*event.Event{opened(pod, 0, token), called(elsewhere(), 3*s, "list", "configmaps")}, nil},
		"token of a later pod of the same name": {
			[]*event.Event{opened(pod, 0, token), called(recreated(), 3*s, "list", "configmaps")}, nil},
		"names unknown on the telemetry side": {
			[]*event.Event{opened(event.Pod{UID: pod.UID, Confidence: event.Exact}, 0, token), called(pod, 3*s, "list", "configmaps")},
			[]string{tokenRule}},
		"request at a stage that is no answer": {
			[]*event.Event{opened(pod, 0, token), edit(called(pod, 3*s, "list", "configmaps"), func(e *event.Event) { e.Audit.Stage = "RequestReceived" })}, nil},

		"curl, then a refused request": {
			[]*event.Event{execIn(pod, 0, "curl", "-k", "https://kubernetes"), refused(called(pod, 200*ms, "list", "secrets"))},
			[]string{commonRule, forbiddenRule}},
		"curl, then an allowed request": {
			[]*event.Event{execIn(pod, 0, "curl", "-k", "https://kubernetes"), called(pod, 200*ms, "list", "secrets")},
			[]string{commonRule}},
		"curl within a shell": {
			[]*event.Event{execIn(pod, 0, "sh", "/usr/bin/curl", "x"), called(pod, s, "list", "secrets")}, []string{commonRule}},
		"curl only looked for": {
			[]*event.Event{execIn(pod, 0, "sh", "which", "curl"), called(pod, 200*ms, "list", "events")}, nil},
		"curl, too late": {
			[]*event.Event{execIn(pod, 0, "curl", "x"), refused(called(pod, s+ms, "list", "secrets"))}, nil},
		"curl without a terminal": {
			[]*event.Event{withoutTerminal(execIn(pod, 0, "curl", "x")), refused(called(pod, 200*ms, "list", "secrets"))}, nil},
		"curl in a pod of the same name in another namespace": {
			[]*event.Event{execIn(elsewhere(), 0, "curl", "x"), refused(called(pod, 200*ms, "list", "secrets"))}, nil},
		"curl on the node": {
			[]*event.Event{edit(execIn(pod, 0, "curl", "x"), func(e *event.Event) { e.Container = nil }), refused(called(pod, 200*ms, "list", "secrets"))}, nil},
		"curl, then a person's refused request": {
			[]*event.Event{execIn(pod, 0, "curl", "x"), refused(edit(called(pod, 200*ms, "list", "secrets"), func(e *event.Event) {
				e.Audit.User, e.Audit.Caller = event.AuditUser{Username: "bob"}, event.Pod{}
			}))}, nil},

		"interpreter, then secrets": {
			[]*event.Event{execIn(pod, 0, "python3", "x.py"), called(pod, 200*ms, "list", "secrets")}, []string{unusualRule}},
		"interpreter, then something is deleted": {
			[]*event.Event{execIn(pod, 0, "python3", "x.py"), called(pod, 200*ms, "delete", "pods")}, []string{unusualRule}},
		"interpreter, then nothing worth having": {
			[]*event.Event{execIn(pod, 0, "python3", "x.py"), called(pod, 200*ms, "list", "events")}, nil},
		"waiting, then secrets": {
			[]*event.Event{execIn(pod, 0, "sleep", "1"), called(pod, 200*ms, "list", "secrets")}, nil},
		"package manager, then secrets": {
			[]*event.Event{execIn(pod, 0, "apt-get", "install", "jq"), called(pod, 200*ms, "list", "secrets")}, nil},
		"busybox waiting, then secrets": {
			[]*event.Event{running(execIn(pod, 0, "sleep", "1"), "/bin/busybox"), called(pod, 200*ms, "list", "secrets")}, nil},
		"busybox showing a file that names a client": {
			[]*event.Event{running(execIn(pod, 0, "cat", "/etc/curl"), "/bin/busybox"), called(pod, 200*ms, "list", "events")}, nil},
		"busybox' wget": {
			[]*event.Event{running(execIn(pod, 0, "wget", "-O-", "x"), "/bin/busybox"), called(pod, 200*ms, "list", "events")}, []string{commonRule}},
		"curl through a link called sleep": {
			[]*event.Event{running(execIn(pod, 0, "sleep", "-k", "x"), "/usr/bin/curl"), refused(called(pod, 200*ms, "list", "secrets"))},
			[]string{commonRule, forbiddenRule}},
		"curl through a link called apt-get": {
			[]*event.Event{running(execIn(pod, 0, "apt-get", "-k", "x"), "/opt/bin/curl"), called(pod, 200*ms, "list", "secrets")},
			[]string{commonRule}},
		"shell through a link called sleep": {
			[]*event.Event{running(execIn(pod, 0, "sleep", "/usr/bin/curl", "x"), "/usr/bin/bash"), called(pod, 200*ms, "list", "secrets")},
			[]string{commonRule}},
		"interpreter through a link called sleep": {
			[]*event.Event{running(execIn(pod, 0, "sleep", "x.py"), "/usr/bin/python3.12"), called(pod, 200*ms, "list", "secrets")},
			[]string{unusualRule}},
		"interpreter through a link called pip": {
			[]*event.Event{running(execIn(pod, 0, "pip", "-c", "x"), "/usr/bin/python3.12"), called(pod, 200*ms, "list", "secrets")},
			[]string{unusualRule}},
		"some program copied as sleep": {
			[]*event.Event{running(execIn(pod, 0, "sleep", "x"), "/dev/shm/sleep"), called(pod, 200*ms, "list", "secrets")},
			[]string{unusualRule}},
		"some program copied as apt-get": {
			[]*event.Event{running(execIn(pod, 0, "apt-get", "x"), "/dev/shm/apt-get"), called(pod, 200*ms, "list", "secrets")},
			[]string{unusualRule}},
		"some program copied into a directory called bin": {
			[]*event.Event{running(execIn(pod, 0, "sleep", "x"), "/tmp/usr/bin/sleep"), called(pod, 200*ms, "list", "secrets")},
			[]string{unusualRule}},
		"busybox' sleep, a hard link, told to be wget": {
			[]*event.Event{edit(running(execIn(pod, 0, "x/wget", "-O-", "x"), "/bin/sleep"), func(e *event.Event) { e.Process.Name = "sleep" }),
				called(pod, 200*ms, "list", "secrets")}, []string{unusualRule}},
		"sleep of which nobody knows the file": {
			[]*event.Event{running(execIn(pod, 0, "sleep", "1"), ""), called(pod, 200*ms, "list", "secrets")}, []string{unusualRule}},
		"package manager of which nobody knows the file": {
			[]*event.Event{running(execIn(pod, 0, "apt-get", "update"), ""), called(pod, 200*ms, "list", "secrets")}, []string{unusualRule}},
		"curl of which nobody knows the file": {
			[]*event.Event{running(execIn(pod, 0, "curl", "x"), ""), called(pod, 200*ms, "list", "secrets")}, []string{commonRule}},
		"interpreter, too late": {
			[]*event.Event{execIn(pod, 0, "python3", "x.py"), called(pod, s+ms, "list", "secrets")}, nil},

		"exec into a pod over websockets, both stages": {
			[]*event.Event{execRequest(pod, 0, "get", "ResponseStarted", "command=sh"), execRequest(pod, 0, "get", "ResponseComplete", "command=sh")},
			[]string{execRule}},
		"exec into a pod over SPDY": {
			[]*event.Event{execRequest(pod, 0, "create", "ResponseStarted", "command=sh")}, []string{execRule}},
		"exec recorded at level Metadata": {
			[]*event.Event{edit(execRequest(pod, 0, "get", "ResponseStarted", "command=sh"), func(e *event.Event) { e.Audit.Level = "Metadata" })},
			[]string{execRule}},
		"exec that the authorizer forbade": {
			[]*event.Event{refused(execRequest(pod, 0, "get", "ResponseComplete", "command=sh"))}, nil},
		"exec that admission refused": {
			[]*event.Event{edit(execRequest(pod, 0, "get", "ResponseComplete", "command=sh"), func(e *event.Event) { e.Audit.Code = 403 })}, nil},
		"exec of Cilium's status": {
			[]*event.Event{execRequest(inKubeSystem(), 0, "get", "ResponseStarted",
				"command=cilium&command=status&command=-o&command=json&container=cilium-agent&stderr=true&stdout=true")}, nil},
		"exec that only ends like Cilium's status": {
			[]*event.Event{execRequest(inKubeSystem(), 0, "get", "ResponseStarted",
				"command=sh&x=/exec?command=cilium&command=status&command=-o&command=json&container=cilium-agent&stderr=true&stdout=true")},
			[]string{execRule}},
		"attach": {
			[]*event.Event{edit(execRequest(pod, 0, "get", "ResponseStarted", ""), func(e *event.Event) { e.Audit.ObjectRef.Subresource = "attach" })}, nil},

		"shell at a terminal": {
			[]*event.Event{shellIn(pod, 0, "bash")}, []string{shellRule}},
		"shell that reads standard input": {
			[]*event.Event{withoutTerminal(shellIn(pod, 0, "sh"))}, []string{shellRule}},
		"shell of a probe": {
			[]*event.Event{withoutTerminal(shellIn(pod, 0, "sh", "-c", "pg_isready"))}, nil},
		"shell within a session": {
			[]*event.Event{execIn(pod, 0, "bash")}, nil},
		"other program at a terminal": {
			[]*event.Event{shellIn(pod, 0, "top")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := field.New()
			set := shipped(t, schema)
			for _, order := range shuffled(row.events) {
				h := newHarness(t, schema, set, nil)
				h.feed(t, order...)
				h.feed(t, order...) // A second delivery changes nothing.
				if diff := cmp.Diff(row.want, sorted(h.recorder.names()), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("want (-), concluded (+):\n%s", diff)
				}
			}
		})
	}
}

// running says which file an event's process runs.
func running(e *event.Event, executable string) *event.Event {
	e.Process.Executable = executable
	return e
}

// Three rules say what a common client is, one of them negated: were they not
// the same, a program could fall between them.
func TestCommonClientsAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	set := shipped(t, field.New())
	want := commonClients(t, set.Get(commonRule).Query)
	for _, name := range []string{forbiddenRule, unusualRule} {
		if diff := cmp.Diff(want, commonClients(t, set.Get(name).Query)); diff != "" {
			t.Errorf("%s (-), %s (+):\n%s", commonRule, name, diff)
		}
	}
}

// commonClients returns the part of a query that says what a common client is:
// from its first comparison to the bracket that closes the group.
func commonClients(tb testing.TB, query string) string {
	tb.Helper()
	const first = `process.name in ("curl"`
	before, _, found := strings.Cut(query, first)
	if !found || strings.Count(query, first) != 1 {
		tb.Fatalf("%q must be there once in:\n%s", first, query)
	}
	text := query[len(before):]
	depth := 0
	for i, r := range text {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 {
			return text[:i]
		}
	}
	tb.Fatalf("the group does not end:\n%s", text)
	return ""
}

func inKubeSystem() event.Pod {
	return event.Pod{UID: "c1", Namespace: "kube-system", Name: "cilium-7x2kp", Confidence: event.ByName}
}

// Every rule fires for the workload, and does not once an exception names it.
func TestShippedRulesWithExceptions(t *testing.T) {
	t.Parallel()
	pod := cart()
	exec, call := execIn(pod, 0, "curl", "x"), refused(called(pod, 100*time.Millisecond, "list", "secrets"))
	for name, row := range map[string]struct {
		rule, where string
		events      []*event.Event
	}{
		"by namespace":       {tokenRule, `orchestrator.namespace == "shop"`, []*event.Event{opened(pod, 0, token), call}},
		"by label":           {forbiddenRule, `orchestrator.resource.label == "app:cart"`, []*event.Event{exec, call}},
		"by image":           {commonRule, `container.image.name like "registry.example.com/*"`, []*event.Event{exec, call}},
		"by service account": {commonRule, `user.name == "system:serviceaccount:shop:default"`, []*event.Event{exec, call}},
		"by arguments": {unusualRule, `process.args == "x.py"`,
			[]*event.Event{execIn(pod, 0, "python3", "x.py"), called(pod, 100*time.Millisecond, "list", "secrets")}},
		"by user": {execRule, `kubernetes.audit.user.groups == "devs"`,
			[]*event.Event{execRequest(pod, 0, "get", "ResponseStarted", "command=sh")}},
		"by container": {shellRule, `container.name == "main"`, []*event.Event{shellIn(pod, 0, "bash")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := field.New()
			for where, want := range map[string]int{row.where: 0, `event.id == "none"`: 1} {
				h := newHarness(t, schema, shippedWith(t, schema, row.rule, where), nil)
				h.feed(t, row.events...)
				if got := len(h.recorder.all); got != want {
					t.Errorf("with exception %s: %d detections, want %d", where, got, want)
				}
			}
		})
	}
}
