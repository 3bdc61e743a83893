package quarantine

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// into is a request of nobody in particular into the pod shop/web-0, changed.
func into(change func(*Request)) Request {
	r := exec("bob", "sh")
	r.Groups = nil
	change(&r)
	return r
}

func kubelet(door, namespace, pod string) Request {
	return Request{Resource: "nodes", Node: "node-1", Door: door, Namespace: namespace, Pod: pod, User: "bob"}
}

// requests are some of every way in, by name.
func requests() map[string]Request {
	return map[string]Request{
		"into the pod":               into(func(*Request) {}),
		"attach":                     into(func(r *Request) { r.Door = "attach" }),
		"debug":                      into(func(r *Request) { r.Door = "ephemeralcontainers" }),
		"proxy":                      into(func(r *Request) { r.Door = "proxy" }),
		"into its neighbour":         into(func(r *Request) { r.Pod = "web-1" }),
		"into another namespace":     into(func(r *Request) { r.Namespace, r.Pod = "other", "web-0" }),
		"with its token":             into(func(r *Request) { r.Namespace, r.CallerPod = "other", "u1" }),
		"of alice":                   into(func(r *Request) { r.Namespace, r.User = "other", "alice" }),
		"of a dev":                   into(func(r *Request) { r.Namespace, r.Groups = "other", []string{"x", "devs"} }),
		"of the service account":     into(func(r *Request) { r.Namespace, r.User = "other", "system:serviceaccount:shop:web" }),
		"with the credential":        into(func(r *Request) { r.Namespace, r.Credentials = "other", []string{"x", "JTI=1"} }),
		"through its service":        {Resource: "services", Door: "proxy", Namespace: "shop", Service: "web", User: "bob"},
		"through another service":    {Resource: "services", Door: "proxy", Namespace: "shop", Service: "db", User: "bob"},
		"kubelet exec":               kubelet("exec", "shop", "web-0"),
		"kubelet exec elsewhere":     kubelet("exec", "other", "x"),
		"kubelet cri":                kubelet("attach", "", ""),
		"kubelet logs":               kubelet("proxy", "shop", "web-0"),
		"kubelet metrics":            kubelet("proxy", "", ""),
		"kubelet exec, another node": {Resource: "nodes", Node: "node-2", Door: "exec", Namespace: "other", Pod: "x", User: "bob"},
	}
}

// TestEverySubjectAtEveryDoor says which requests a quarantine of each kind stands against.
func TestEverySubjectAtEveryDoor(t *testing.T) {
	twoPods := func(p *pods) {
		p.current["shop/web-1"] = event.Pod{UID: "u2", Namespace: "shop", Name: "web-1", Node: "node-2"}
		p.current["other/web-0"] = event.Pod{UID: "u3", Namespace: "other", Name: "web-0", Node: "node-2"}
		p.current["shop/db-0"] = event.Pod{UID: "u4", Namespace: "shop", Name: "db-0", Node: "node-2"}
	}
	ways := []string{"into the pod", "attach", "debug", "proxy", "kubelet exec"}
	want := map[v1alpha1.SubjectKind][]string{
		v1alpha1.SubjectPod:            append([]string{"with its token", "through its service", "kubelet exec elsewhere", "kubelet cri"}, ways...),
		v1alpha1.SubjectUser:           {"of alice"},
		v1alpha1.SubjectGroup:          {"of a dev"},
		v1alpha1.SubjectServiceAccount: {"of the service account"},
		v1alpha1.SubjectCredential:     {"with the credential"},
		v1alpha1.SubjectNode:           append([]string{"through its service", "kubelet exec elsewhere", "kubelet cri", "kubelet logs", "kubelet metrics"}, ways...),
		v1alpha1.SubjectNamespace:      append([]string{"into its neighbour", "through its service", "through another service"}, ways...),
	}
	for _, s := range subjects() {
		for _, operation := range []v1alpha1.Operation{"", "exec", "attach", "proxy"} {
			e := &Entry{Name: "q", Subject: s, Node: "node-1"}
			if operation != "" {
				e.Operations = OperationsOf(operation)
			}
			g, _, _ := newTestGate(t, twoPods, e)
			for name, r := range requests() {
				denied := slices.Contains(want[s.Kind], name) && (operation == "" || string(operation) == r.Door)
				if v := judge(t, g, r); v.Allowed == denied || denied && v.Entry != e {
					t.Errorf("%s of %s, %s: allowed %v", operation, s.Kind, name, v.Allowed)
				}
			}
		}
	}
}

func TestPodOfWhichNobodySaysWhereItRuns(t *testing.T) {
	g, _, _ := newTestGate(t, nil, podEntry("q", "u1", "web-0", time.Time{}))
	if judge(t, g, kubelet("exec", "other", "x")).Allowed {
		t.Error("it is not found by asking where the pod runs")
	}
	g, _, _ = newTestGate(t, nil, podEntry("q", "u9", "web-9", time.Time{}))
	if !judge(t, g, kubelet("exec", "other", "x")).Allowed {
		t.Error("a pod that may run anywhere denies everywhere")
	}
	if !judge(t, g, Request{Resource: "nodes", Door: "exec", User: "bob"}).Allowed {
		t.Error("a node without name is one on which it runs")
	}
}

func TestServiceIsLookedUpOnlyWhereItMatters(t *testing.T) {
	r := Request{Resource: "services", Door: "proxy", Namespace: "shop", Service: "unheard-of", User: "bob"}
	elsewhere := podEntry("q", "u1", "web-0", time.Time{})
	elsewhere.Subject.Namespace = "other"
	execOnly := podEntry("q", "u1", "web-0", time.Time{})
	execOnly.Operations = OperationsOf("exec")
	for name, e := range map[string]*Entry{
		"a user": userEntry("q", "alice"), "a pod elsewhere": elsewhere, "exec alone": execOnly, "expired": podEntry("q", "u1", "web-0", at(-1)),
	} {
		g, _, _ := newTestGate(t, nil, e)
		if v := judge(t, g, r); !v.Allowed {
			t.Errorf("%s denies it: %+v", name, v)
		}
	}

	g, heard, _ := newTestGate(t, nil, podEntry("q", "u1", "web-0", time.Time{}))
	if _, err := g.Judge(t.Context(), r); !errors.Is(err, errLookup) {
		t.Errorf("a lookup that fails: %v", err)
	}
	r.Groups = []string{"sre-emergency"}
	if v := judge(t, g, r); !v.Allowed {
		t.Error("break-glass does not pass where it cannot be known what it needs to pass")
	}
	r.Service = "web"
	if v := judge(t, g, r); !v.Allowed || v.BreakGlass == "" || len(heard.lines) != 1 {
		t.Errorf("break-glass: %+v, told %v", v, heard.lines)
	}
	if got := []float64{testutil.ToFloat64(g.lookups.WithLabelValues(lookupOK)), testutil.ToFloat64(g.lookups.WithLabelValues(lookupFailed))}; !slices.Equal(got, []float64{1, 2}) {
		t.Errorf("counted %v lookups, good and bad", got)
	}
}

func TestServiceOfAPodThatIsNotKnown(t *testing.T) {
	g, _, _ := newTestGate(t, func(p *pods) { delete(p.current, "shop/web-0") }, podEntry("q", "u1", "web-0", time.Time{}))
	v := judge(t, g, Request{Resource: "services", Door: "proxy", Namespace: "shop", Service: "web", User: "bob"})
	if v.Allowed || !v.Unverified {
		t.Errorf("got %+v", v)
	}
}

func TestExemptIsNeverJudged(t *testing.T) {
	for name, r := range map[string]Request{
		"user":      into(func(r *Request) { r.User = "system:probe" }),
		"group":     into(func(r *Request) { r.Groups = []string{"x", "probes"} }),
		"namespace": into(func(r *Request) { r.Namespace = "sandbox" }),
	} {
		g, heard, _ := newTestGate(t, nil, podEntry("q", "u1", "web-0", time.Time{}), userEntry("b", "bob"), userEntry("p", "system:probe"))
		r.Groups = append(r.Groups, "sre-emergency")
		if v := judge(t, g, r); !v.Allowed || !v.Exempt || v.BreakGlass != "" || len(heard.lines) > 0 {
			t.Errorf("%s: %+v, told %v", name, v, heard.lines)
		}
	}
	g, _, _ := newTestGate(t, nil, &Entry{Name: "q", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "node-1"}})
	if v := judge(t, g, kubelet("exec", "sandbox", "x")); v.Allowed {
		t.Error("the namespace in a kubelet's path exempts")
	}
}

// TestRefusedByThePolicy: what kubectl's two tries are refused by, and when that is heard of, changes nothing.
func TestRefusedByThePolicy(t *testing.T) {
	for name, tries := range map[string]func(g *Gate, first, second Request) (Verdict, Verdict){
		"the policy both": func(g *Gate, first, second Request) (Verdict, Verdict) {
			return g.Refused(first, "q"), g.Refused(second, "q")
		},
		"the webhook, then the policy": func(g *Gate, first, second Request) (Verdict, Verdict) {
			v, _ := g.Judge(t.Context(), first)
			return v, g.Refused(second, "q")
		},
		"the same one twice": func(g *Gate, first, _ Request) (Verdict, Verdict) {
			return g.Refused(first, "q"), g.Refused(first, "q")
		},
		"the later is heard of first": func(g *Gate, first, second Request) (Verdict, Verdict) {
			b := g.Refused(second, "q")
			a := g.Refused(first, "q")
			a.Repeat, b.Repeat = b.Repeat, a.Repeat
			return a, b
		},
	} {
		g, heard, now := newTestGate(t, nil, podEntry("q", "u1", "web-0", time.Time{}))
		var noted []time.Time
		g.opts.Noted = func(_ *Entry, at time.Time) { noted = append(noted, at) }
		first := into(func(r *Request) { r.At, r.Session = at(0), "s-1" })
		second := into(func(r *Request) { r.At, r.Session = at(1), "s-2" })
		*now = at(0)
		if name != "the webhook, then the policy" {
			*now = at(40) // with the next batch
		}
		a, b := tries(g, first, second)
		if a.Allowed || b.Allowed || a.Repeat || !b.Repeat || a.Session != b.Session {
			t.Errorf("%s: %+v, %+v", name, a, b)
		}
		if len(heard.lines) != 1 || heard.lines[0] != "denied shop/web-0 to bob: q" || len(noted) != 1 {
			t.Errorf("%s: told %v, noted %v", name, heard.lines, noted)
		}
		if n := testutil.ToFloat64(g.actions.WithLabelValues(outcomeDenied)); n != 1 {
			t.Errorf("%s: counted %v", name, n)
		}
	}
	g, heard, _ := newTestGate(t, nil)
	if v := g.Refused(kubelet("exec", "", ""), "gone"); v.Allowed || v.Entry.Name != "gone" || len(heard.lines) != 1 {
		t.Errorf("by a quarantine that has ended since: %+v, told %v", v, heard.lines)
	}
}

func TestActionsAreKeptApartByTheirTimes(t *testing.T) {
	p := newRepeats()
	seen := func(when, now int, session string) string {
		r := exec("alice", "sh")
		r.At, r.Session = at(when), session
		first, repeat := p.seen(&r, at(now))
		return fmt.Sprintf("%s %v", first, repeat)
	}
	for _, step := range []struct {
		when, now     int
		session, want string
	}{
		{0, 0, "a", "a false"},
		{20, 20, "b", "b false"},
		{1, 40, "a2", "a true"},
		{21, 40, "b2", "b true"},
		{10, 40, "c", "c false"},
		{12, 40, "c2", "c true"},
	} {
		if got := seen(step.when, step.now, step.session); got != step.want {
			t.Errorf("%s at %d is of %s, want %s", step.session, step.when, got, step.want)
		}
	}
}

// busy is an index of many quarantines of every kind, none of which is of the requests below.
func busy(n int) []*Entry {
	all := make([]*Entry, 0, n*len(subjects()))
	for i := range n {
		for _, s := range subjects() {
			s.Name = fmt.Sprint(s.Name, "-", i)
			if s.UID != "" {
				s.UID = fmt.Sprint("other-", i)
			}
			all = append(all, &Entry{Name: fmt.Sprint(s.Kind, i), Subject: s, Node: fmt.Sprint("far-", i)})
		}
	}
	return all
}

func TestAllowingAllocatesNothing(t *testing.T) {
	for _, n := range []int{0, 10} {
		g, _, _ := newTestGate(t, nil, busy(n)...)
		for name, r := range requests() {
			if name == "through its service" || name == "through another service" {
				continue // which have to ask the API server
			}
			r.Credentials = append(r.Credentials, "JTI=77")
			if got := testing.AllocsPerRun(100, func() {
				if v, err := g.Judge(t.Context(), r); err != nil || !v.Allowed {
					t.Fatalf("%s: %+v, %v", name, v, err)
				}
			}); got != 0 {
				t.Errorf("with %d quarantines, %s: %v allocations", n, name, got)
			}
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	for _, n := range []int{0, 10, 1_000} {
		g, _, _ := newTestGate(b, nil, busy(n)...)
		for _, name := range []string{"into the pod", "kubelet exec"} {
			r := requests()[name]
			r.Groups, r.Credentials = []string{"devs", "system:authenticated"}, []string{"JTI=77"}
			b.Run(fmt.Sprintf("allow/%s/%d", name, 7*n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if v, err := g.Judge(b.Context(), r); err != nil || !v.Allowed {
							b.Fatal(v, err)
						}
					}
				})
			})
		}
	}
	g, _, _ := newTestGate(b, nil, podEntry("q", "u1", "web-0", time.Time{}))
	r := requests()["into the pod"]
	b.Run("deny", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v, err := g.Judge(b.Context(), r); err != nil || v.Allowed {
				b.Fatal(v, err)
			}
		}
	})
}
