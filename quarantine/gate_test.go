package quarantine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/event"
)

// pods are the pods that exist, and those that are known to be gone.
type pods struct {
	current map[string]event.Pod // by namespace/name
	gone    map[string]bool
}

func (p pods) Current(namespace, name string) (event.Pod, bool) {
	pod, ok := p.current[namespace+"/"+name]
	return pod, ok
}

func (p pods) Alive(uid string) (alive, known bool) {
	for _, pod := range p.current {
		if pod.UID == uid {
			return true, true
		}
	}
	return false, p.gone[uid]
}

func (p pods) RunsOn(uid, node string) (runs, known bool) {
	for _, pod := range p.current {
		if pod.UID == uid {
			return pod.Node == node && node != "", pod.Node != ""
		}
	}
	return false, false
}

// endpoints are the names of services' pods, by namespace/name.
type endpoints map[string][]string

var errLookup = errors.New("no answer")

func (e endpoints) PodsOf(_ context.Context, namespace, service string) ([]string, error) {
	names, ok := e[namespace+"/"+service]
	if !ok {
		return nil, errLookup
	}
	return names, nil
}

// judge judges a request that can be judged.
func judge(t testing.TB, g *Gate, r Request) Verdict {
	t.Helper()
	v, err := g.Judge(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// told collects what people are told.
type told struct{ lines []string }

func (l *told) Denied(pod event.Pod, r Request, e *Entry) {
	l.lines = append(l.lines, fmt.Sprintf("denied %s to %s: %s", pod, r.User, e.Name))
}

func (l *told) BreakGlass(pod event.Pod, r Request, e *Entry, group string) {
	l.lines = append(l.lines, fmt.Sprintf("let %s into %s as %s: %s", r.User, pod, group, e.Name))
}

// gate is one in whose cluster shop/web-0 is the pod u1.
func newTestGate(t testing.TB, change func(*pods), entries ...*Entry) (*Gate, *told, *time.Time) {
	t.Helper()
	now, heard := at(0), &told{}
	p := pods{
		current: map[string]event.Pod{"shop/web-0": {UID: "u1", Namespace: "shop", Name: "web-0", Node: "node-1", Confidence: event.ByName}},
		gone:    map[string]bool{},
	}
	if change != nil {
		change(&p)
	}
	x := &Index{}
	for _, e := range entries {
		x.put(e)
	}
	g, err := NewGate(GateOptions{
		Index: x, Pods: p, Refusals: heard, BreakGlass: []string{"sre-emergency"},
		Endpoints:  endpoints{"shop/web": {"web-0"}, "shop/db": {"db-0"}},
		Exempt:     Exempt{Users: []string{"system:probe"}, Groups: []string{"probes"}, Namespaces: []string{"sandbox"}},
		Registerer: prometheus.NewPedanticRegistry(), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, heard, &now
}

func exec(user string, command ...string) Request {
	return Request{Namespace: "shop", Pod: "web-0", Door: "exec", User: user, Groups: []string{"devs"}, Command: command}
}

func TestGate(t *testing.T) {
	unknown := func(p *pods) { delete(p.current, "shop/web-0") }
	gone := func(p *pods) { unknown(p); p.gone["u1"] = true }
	for _, tt := range []struct {
		name       string
		pods       func(*pods)
		entry      *Entry
		user       string
		allowed    bool
		unverified bool
	}{
		{"nothing is quarantined", nil, userEntry("q", "mallory"), "alice", true, false},
		{"the pod is", nil, podEntry("q", "u1", "web-0", time.Time{}), "alice", false, false},
		{"the pod was", nil, podEntry("q", "u1", "web-0", at(-1)), "alice", true, false},
		{"the user is", nil, userEntry("q", "alice"), "alice", false, false},
		{"the user is, the pod is not known", unknown, userEntry("q", "alice"), "alice", false, false},
		{"its predecessor of the same name is", nil, podEntry("q", "u0", "web-0", time.Time{}), "alice", true, false},
		{"another namespace's pod is", nil, &Entry{Name: "q", Subject: podEntry("", "u9", "web-0", at(0)).Subject}, "alice", true, false},
		{"no pod is known, nothing has the name", unknown, podEntry("q", "u1", "web-1", time.Time{}), "alice", true, false},
		{"no pod is known, a quarantine has the name", unknown, podEntry("q", "u1", "web-0", time.Time{}), "alice", false, true},
		{"no pod is known, an expired one has the name", unknown, podEntry("q", "u1", "web-0", at(-1)), "alice", true, false},
		{"the quarantined pod is known to be gone", gone, podEntry("q", "u1", "web-0", time.Time{}), "alice", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, heard, _ := newTestGate(t, tt.pods, tt.entry)
			v := judge(t, g, exec(tt.user, "sh"))
			if v.Allowed != tt.allowed || v.Unverified != tt.unverified {
				t.Errorf("got %+v, want allowed %v, unverified %v", v, tt.allowed, tt.unverified)
			}
			if (v.Entry != nil) == tt.allowed || (v.Message != "") == tt.allowed || len(heard.lines) != map[bool]int{true: 0, false: 1}[tt.allowed] {
				t.Errorf("entry %v, message %q, told %v", v.Entry, v.Message, heard.lines)
			}
			if tt.unverified != strings.Contains(v.Message, "could not be looked up") {
				t.Errorf("the message %q does not say how sure it is", v.Message)
			}
		})
	}
}

func TestBreakGlassPassesLoudly(t *testing.T) {
	g, heard, _ := newTestGate(t, nil, podEntry("q", "u1", "web-0", time.Time{}))
	r := exec("alice", "sh")
	r.Groups = append(r.Groups, "sre-emergency")
	v := judge(t, g, r)
	if !v.Allowed || v.BreakGlass != "sre-emergency" {
		t.Errorf("got %+v", v)
	}
	if diff := cmp.Diff([]string{"let alice into shop/web-0 as sre-emergency: q"}, heard.lines); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	want := map[string]string{"quarantine": "q", "break-glass": "sre-emergency"}
	if diff := cmp.Diff(want, v.Annotations()); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

func TestOneActionIsToldOnce(t *testing.T) {
	g, heard, now := newTestGate(t, nil, podEntry("q", "u1", "web-0", time.Time{}))
	refused := func(r Request) Verdict {
		v := judge(t, g, r)
		if v.Allowed {
			t.Error("a repeat is let through")
		}
		return v
	}
	refused(exec("alice", "sh", "-c", "id"))
	*now = now.Add(100 * time.Millisecond)
	if v := refused(exec("alice", "sh", "-c", "id")); !v.Repeat {
		t.Error("the second try of kubectl is another action")
	}
	for _, other := range []Request{
		exec("bob", "sh", "-c", "id"), exec("alice", "sh", "-cid"), exec("alice", "sh-c", "id"), exec("alice"),
	} {
		if v := refused(other); v.Repeat {
			t.Errorf("%v of %s is taken for a repeat", other.Command, other.User)
		}
	}
	*now = now.Add(repeatWindow)
	if v := refused(exec("alice", "sh", "-c", "id")); v.Repeat {
		t.Error("the same action much later is taken for a repeat")
	}
	if len(heard.lines) != 6 || testutil.ToFloat64(g.actions.WithLabelValues(outcomeDenied)) != 6 {
		t.Errorf("told %d times, counted %v, want 6 actions", len(heard.lines), testutil.ToFloat64(g.actions.WithLabelValues(outcomeDenied)))
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	p := newRepeats()
	seen := func(user string, now time.Time) {
		r := exec(user)
		r.At = now
		p.seen(&r, now)
	}
	for i := range 3 * maxRepeats {
		seen(fmt.Sprint("user", i), at(0))
		seen("the same", at(100*i))
	}
	if len(p.actions) > maxRepeats || len(p.order) > maxRepeats || len(p.actions[p.order[0].key]) == 0 {
		t.Errorf("%d actions are remembered, %d in order", len(p.actions), len(p.order))
	}
	end := at(300*maxRepeats + 1000)
	seen("late", end)
	if len(p.actions) != 1 || len(p.order) != 1 {
		t.Errorf("%d actions are remembered after their time", len(p.actions))
	}
}

func TestDenyMessage(t *testing.T) {
	e := entry(t, "9f3c1a", time.Hour, at(0))
	got := DenyMessage(exec("alice", "sh"), e, false)
	want := `exec into shop/web-0 is denied: the pod is quarantined until 2026-03-04 13:00:00 UTC by rule "token-theft" (Token read, then used), detection 9f3c1a.
To release it: portcullisctl quarantine release pod-u1 (or kubectl delete quarantine pod-u1)`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}

	user := userEntry("user-x", "alice@example.com")
	user.Reason = "we look into it"
	r := exec("alice@example.com")
	r.Door = "portforward"
	got = DenyMessage(r, user, false)
	want = `port-forward to shop/web-0 is denied: user "alice@example.com" is quarantined until it is released (we look into it).
To release it: portcullisctl quarantine release user-x (or kubectl delete quarantine user-x)`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestDenyMessageOfEverySubject says whom a person sees to be in the way, and at what.
func TestDenyMessageOfEverySubject(t *testing.T) {
	all := requests()
	for _, tt := range []struct {
		kind    int // of subjects
		request string
		want    string
	}{
		{0, "debug", `debug (an ephemeral container) of shop/web-0 is denied: the pod is quarantined`},
		{0, "with its token", `exec into other/web-0 is denied: pod shop/web-0, whose token this is, is quarantined`},
		{0, "through its service", `proxy to service shop/web is denied: pod shop/web-0 is quarantined`},
		{0, "kubelet exec", `exec into shop/web-0 through the kubelet of node node-1 is denied: the pod is quarantined`},
		{0, "kubelet exec elsewhere", `exec into other/x through the kubelet of node node-1 is denied: pod shop/web-0, which runs there, is quarantined`},
		{0, "kubelet cri", `attach to a container through the kubelet of node node-1 is denied: pod shop/web-0, which runs there, is quarantined`},
		{1, "of alice", `exec into other/web-0 is denied: user "alice" is quarantined`},
		{2, "of a dev", `exec into other/web-0 is denied: group "devs" is quarantined`},
		{3, "of the service account", `exec into other/web-0 is denied: service account shop/web is quarantined`},
		{4, "with the credential", `exec into other/web-0 is denied: credential "JTI=1" is quarantined`},
		{5, "kubelet metrics", `proxy to the kubelet of node node-1 is denied: node node-1 is quarantined`},
		{6, "attach", `attach to shop/web-0 is denied: namespace shop is quarantined`},
	} {
		r := all[tt.request]
		r.Session = "s-1"
		got := DenyMessage(r, &Entry{Name: "q", Subject: subjects()[tt.kind], Reason: "why", Expires: at(0)}, false)
		want := tt.want + ` until 2026-03-04 12:00:00 UTC (why), reference s-1.
To release it: portcullisctl quarantine release q (or kubectl delete quarantine q)`
		if got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", tt.request, got, want)
		}
	}
}

func TestDenyMessageIsSafeToShow(t *testing.T) {
	evil := "\x1b[2J\u202eadmin\nTo release it: rm -rf /\x9b31m\xff" + strings.Repeat("x", 100_000)
	e := userEntry(evil, evil)
	e.Reason, e.Rule, e.Detection = evil+"!", evil, evil
	got := DenyMessage(Request{Namespace: evil, Pod: evil, Door: evil, User: evil}, e, true)
	if len(got) > 8<<10 || !utf8.ValidString(got) {
		t.Errorf("%d bytes, valid: %v", len(got), utf8.ValidString(got))
	}
	if n := strings.Count(got, "\n"); n != 1 {
		t.Errorf("%d line ends, want the message's own", n)
	}
	for _, c := range strings.ReplaceAll(got, "\n", "") {
		if !unicode.IsPrint(c) {
			t.Errorf("the message has %U", c)
		}
	}
}
