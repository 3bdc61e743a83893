package enforcement

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// labels are namespaces with their labels.
type labels map[string]string

func (l labels) Label(namespace string) (string, bool) {
	mode, known := l[namespace]
	return mode, known
}

// bench is an Enforcer with what it asks and whom it tells.
type bench struct {
	*Enforcer
	now     time.Time
	inForce map[string]bool // by the pod's UID
	trips   []Trip
}

func newBench(t *testing.T, change func(*Options)) *bench {
	t.Helper()
	b := &bench{now: noon, inForce: map[string]bool{}}
	opts := Options{
		Mode:       rule.Enforce,
		Namespaces: labels{"observed": "observe", "enforced": "enforce", "slip": "enforced", "plain": ""},
		Protected:  Protected{Namespaces: []string{"kube-system"}, Users: []string{"root"}, Groups: []string{"on-call"}},
		BreakGlass: []string{"system:masters"},
		InForce:    func(s v1alpha1.Subject) bool { return b.inForce[s.UID] },
		Tripped:    func(trip Trip) { b.trips = append(b.trips, trip) },
		Registerer: prometheus.NewPedanticRegistry(),
		Now:        func() time.Time { return b.now },
	}
	if change != nil {
		change(&opts)
	}
	var err error
	if b.Enforcer, err = New(opts); err != nil {
		t.Fatal(err)
	}
	return b
}

func detection(ruleName string) *event.Detection {
	return &event.Detection{
		Rule: event.DetectionRule{Name: ruleName}, User: "alice", Pod: event.Pod{UID: "u1", Namespace: "shop", Name: "web-0"},
		Events: []*event.Event{{Audit: &event.Audit{User: event.AuditUser{Username: "alice", Groups: []string{"devs"}}}}},
	}
}

func pod(uid string) v1alpha1.Subject {
	return v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: uid, Namespace: "shop", Name: "web-0"}
}

func TestModes(t *testing.T) {
	const o, e = rule.Observe, rule.Enforce
	for _, tt := range []struct {
		global, inRule, configured rule.Mode
		namespace                  string
		want                       rule.Mode
		why                        string
	}{
		{o, "", "", "plain", o, ""},
		{e, "", "", "plain", e, ""},
		{e, "", "", "", e, ""},
		{e, "", "", "nobody knows", e, ""},
		{o, "", "", "enforced", e, ""},
		{e, "", "", "observed", o, "namespace observed has the label portcullis.dev/mode=observe"},
		{o, e, "", "plain", e, ""},
		{e, o, "", "enforced", o, ""},
		{o, e, e, "observed", o, "namespace observed has the label"},
		{o, o, e, "plain", e, ""},
		{o, e, o, "enforced", o, ""},
		{e, e, e, "slip", o, `portcullis.dev/mode="enforced", which is neither observe nor enforce`},
	} {
		b := newBench(t, func(opts *Options) { opts.Mode = tt.global })
		got, why := b.Mode(tt.namespace, Modes{Configured: tt.configured, Rule: tt.inRule})
		if got != tt.want || !strings.Contains(why, tt.why) || (why == "") != (tt.why == "") {
			t.Errorf("%+v: %s, %q", tt, got, why)
		}
	}
	b := newBench(t, func(opts *Options) { opts.Namespaces = nil })
	b.SetMode(o)
	if got, _ := b.Mode("observed", Modes{}); got != o {
		t.Errorf("a changed mode is %s", got)
	}
}

func TestProtectedSubjectsAreObserved(t *testing.T) {
	subject := func(kind v1alpha1.SubjectKind, namespace, name string) v1alpha1.Subject {
		return v1alpha1.Subject{Kind: kind, Namespace: namespace, Name: name}
	}
	for _, tt := range []struct {
		subject v1alpha1.Subject
		user    string
		groups  []string
		why     string
	}{
		{subject(v1alpha1.SubjectPod, "shop", "web-0"), "alice", []string{"system:masters"}, ""},
		{subject(v1alpha1.SubjectPod, "kube-system", "dns"), "alice", nil, "pod kube-system/dns is of the namespace kube-system"},
		{subject(v1alpha1.SubjectNamespace, "", "shop"), "alice", nil, ""},
		{subject(v1alpha1.SubjectNamespace, "", "kube-system"), "alice", nil, "it is of the namespace kube-system"},
		{subject(v1alpha1.SubjectNode, "", "node-1"), "alice", nil, ""},
		{subject(v1alpha1.SubjectServiceAccount, "shop", "web"), "x", nil, ""},
		{subject(v1alpha1.SubjectServiceAccount, "kube-system", "dns"), "x", nil, "service account kube-system/dns is of"},
		{subject(v1alpha1.SubjectServiceAccount, "shop", "web"), "x", []string{"on-call"}, "is a member of the group on-call"},
		{subject(v1alpha1.SubjectUser, "", "alice"), "alice", []string{"devs"}, ""},
		{subject(v1alpha1.SubjectUser, "", "root"), "root", nil, `it is user "root"`},
		{subject(v1alpha1.SubjectUser, "", "alice"), "alice", []string{"system:masters"}, "the group system:masters"},
		{subject(v1alpha1.SubjectUser, "", "alice"), "alice", []string{"system:nodes"}, "the group system:nodes"},
		{subject(v1alpha1.SubjectUser, "", "system:node:node-1"), "x", nil, `it is user "system:node:node-1"`},
		{subject(v1alpha1.SubjectUser, "", "system:kube-scheduler"), "x", nil, `it is user "system:kube-scheduler"`},
		{subject(v1alpha1.SubjectUser, "", "system:apiserver"), "x", nil, `it is user "system:apiserver"`},
		{subject(v1alpha1.SubjectUser, "", "system:serviceaccount:kube-system:dns"), "x", nil, "of the namespace kube-system"},
		{subject(v1alpha1.SubjectCredential, "", "JTI=1"), "alice", nil, ""},
		{subject(v1alpha1.SubjectCredential, "", "JTI=1"), "root", nil, `it is user "root"`},
		{subject(v1alpha1.SubjectCredential, "", "JTI=1"), "alice", []string{"system:masters"}, "the group system:masters"},
		{subject(v1alpha1.SubjectGroup, "", "system:masters"), "alice", nil, "the group system:masters"},
	} {
		b := newBench(t, nil)
		d := detection("r")
		d.User, d.Events[0].Audit.User.Groups = tt.user, tt.groups
		enforce, why := b.Decide(d, Asked{Subjects: []v1alpha1.Subject{pod("u1"), tt.subject}})
		if enforce != (tt.why == "") || !strings.Contains(why, tt.why) || (why == "") != (tt.why == "") {
			t.Errorf("%+v of %s, %v: %v, %q", tt.subject, tt.user, tt.groups, enforce, why)
		}
	}
}

func (b *bench) decide(ruleName string, uids ...string) bool {
	subjects := make([]v1alpha1.Subject, 0, len(uids))
	for _, uid := range uids {
		subjects = append(subjects, pod(uid))
	}
	enforce, _ := b.Decide(detection(ruleName), Asked{Subjects: subjects})
	return enforce
}

func TestBreaker(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Limits = Limits{PerRule: 3, Total: 5} })
	for i := range 3 {
		if !b.decide("a", fmt.Sprint("u", i)) {
			t.Fatalf("quarantine %d is held back", i)
		}
		b.now = b.now.Add(time.Minute)
	}
	b.inForce["u1"] = true
	if !b.decide("a", "u1") || !b.decide("a") {
		t.Error("who is in quarantine already, or nobody, is counted")
	}
	for range 3 {
		enforce, why := b.Decide(detection("a"), Asked{Subjects: []v1alpha1.Subject{pod("u9")}})
		if enforce || why != "the breaker is open: rule a may make 3 quarantines in an hour, there is room again from 13:00:00 UTC" {
			t.Errorf("%v, %q", enforce, why)
		}
	}
	if diff := cmp.Diff([]Trip{{Rule: "a", Limit: 3, Until: noon.Add(time.Hour)}}, b.trips); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if !b.decide("b", "v1", "v2") || b.decide("b", "v3") || len(b.trips) != 2 || !b.trips[1].Total {
		t.Errorf("all rules together: told %+v", b.trips)
	}
	if got := b.breaker.open(b.now); got != 2 {
		t.Errorf("%d breakers are open", got)
	}

	b.now = noon.Add(time.Hour)
	if !b.decide("a", "u9") || b.decide("a", "u10") {
		t.Error("the hour does not roll")
	}
	if len(b.trips) != 3 {
		t.Errorf("that it is open again is not told: %+v", b.trips)
	}
	b.now = noon.Add(3 * time.Hour)
	if b.breaker.open(b.now) != 0 || len(b.breaker.rules) != 0 {
		t.Errorf("after hours of quiet %+v is left", b.breaker)
	}
	want := map[string]float64{decidedEnforce: 7, decidedBreaker: 5, decidedObserve: 0}
	for decision, n := range want {
		if got := testutil.ToFloat64(b.decisions.WithLabelValues(decision)); got != n {
			t.Errorf("%s is counted %v times, want %v", decision, got, n)
		}
	}
}

func TestMoreThanThereEverIsRoomFor(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Limits = Limits{PerRule: 2, Total: 5} })
	for range 3 {
		if b.decide("a", "u1", "u2", "u3") {
			t.Error("some of too many are let through")
		}
	}
	if len(b.trips) != 1 || !b.decide("a", "u1", "u2") {
		t.Errorf("told %+v", b.trips)
	}
}

func TestBreakerIsFilledFromTheRecord(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Limits = Limits{PerRule: 3, Total: 100} })
	b.Seed("a", "pod-1", noon.Add(-time.Minute))
	b.Seed("a", "pod-1", noon.Add(-2*time.Minute)) // another detection of the same
	b.Seed("a", "pod-2", noon.Add(-59*time.Minute))
	b.Seed("a", "pod-3", noon.Add(-time.Hour))
	b.Seed("b", "pod-4", noon)
	if !b.decide("a", "u1") || b.decide("a", "u2") {
		t.Error("what was before the restart is not counted, or too much of it")
	}
	b.now = noon.Add(2 * time.Minute)
	if !b.decide("a", "u2") || b.decide("a", "u3") {
		t.Error("what was before the restart does not leave the hour in its order")
	}
	b.now = noon.Add(2 * time.Hour)
	b.decide("a", "u4")
	if len(b.breaker.seeded) != 0 {
		t.Errorf("%d objects of long ago are kept", len(b.breaker.seeded))
	}
}

// TestBreakerNeverLetsMoreThrough compares it with counting all that was let through in the last hour.
func TestBreakerNeverLetsMoreThrough(t *testing.T) {
	type made struct {
		rule string
		at   time.Time
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b := newBench(t, func(o *Options) { o.Limits = Limits{PerRule: 4, Total: 9} })
	var log []made
	for i := range 20_000 {
		b.now = b.now.Add(time.Duration(rng.IntN(600)) * time.Second)
		name, n := fmt.Sprint("rule", rng.IntN(4)), 1+rng.IntN(2)
		own, total := 0, 0
		for _, m := range log {
			if b.now.Sub(m.at) < time.Hour {
				total++
				if m.rule == name {
					own++
				}
			}
		}
		want := own+n <= 4 && total+n <= 9
		uids := []string{"x", "y"}[:n]
		if got := b.decide(name, uids...); got != want {
			t.Fatalf("step %d: %v, with %d of the rule and %d of all", i, got, own, total)
		}
		if want {
			for range n {
				log = append(log, made{name, b.now})
			}
		}
		log = log[max(0, len(log)-20):]
	}
}

func TestObserveCountsNothing(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Mode, o.Limits = rule.Observe, Limits{PerRule: 1, Total: 1} })
	for range 3 {
		if enforce, why := b.Decide(detection("a"), Asked{Subjects: []v1alpha1.Subject{pod("u1")}}); enforce || why != "" {
			t.Errorf("%v, %q", enforce, why)
		}
	}
	b.SetMode(rule.Enforce)
	if !b.decide("a", "u1") {
		t.Error("what was only observed is counted")
	}
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"Mode":       func(o *Options) { o.Mode = "panic" },
		"InForce":    func(o *Options) { o.InForce = nil },
		"Tripped":    func(o *Options) { o.Tripped = nil },
		"Registerer": func(o *Options) { o.Registerer = nil },
		"Limits":     func(o *Options) { o.Limits.PerRule = -1 },
	} {
		opts := Options{
			Mode: rule.Observe, InForce: func(v1alpha1.Subject) bool { return false }, Tripped: func(Trip) {},
			Registerer: prometheus.NewRegistry(),
		}
		if _, err := New(opts); err != nil {
			t.Fatal(err)
		}
		opts.Registerer = prometheus.NewRegistry()
		change(&opts)
		if _, err := New(opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
