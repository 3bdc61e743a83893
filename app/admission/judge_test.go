package admission

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/barrier"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/webhook"
)

// world is all that a Judge asks, as a test wants it.
type world struct {
	exempt     bool
	group      string // by which everybody passes
	entry      *quarantine.Entry
	judgeErr   error
	waits      bool
	barrierErr error
	waited     []barrier.Place
	action     event.Action // what a rule concludes; none if empty
	handled    []*event.Detection
	reviews    []Review
	sessions   []string // of the forms that rules saw
	// first is the session of an earlier try, if this is another.
	first string
}

func (w *world) Exempts(quarantine.Request) bool  { return w.exempt }
func (w *world) Passes(quarantine.Request) string { return w.group }
func (w *world) Refuse(r quarantine.Request) (string, bool) {
	if w.first != "" {
		return w.first, true
	}
	return r.Session, false
}

func (w *world) Judge(_ context.Context, r quarantine.Request) (quarantine.Verdict, error) {
	v := quarantine.Verdict{Allowed: w.entry == nil, Session: r.Session, Entry: w.entry}
	if w.entry != nil && w.group != "" {
		v.Allowed, v.BreakGlass = true, w.group
	} else if w.entry != nil {
		v.Message = "no\nask somebody"
	}
	return v, w.judgeErr
}

func (w *world) Wait(_ context.Context, places ...barrier.Place) error {
	w.waited = append(w.waited, places...)
	return w.barrierErr
}

func (w *world) Current(namespace, name string) (event.Pod, bool) {
	return event.Pod{Namespace: namespace, Name: name, UID: "u-" + name, Node: "n1", Confidence: event.ByName}, true
}

func (w *world) Pod(uid string) (event.Pod, bool) { return event.Pod{UID: uid, Node: "n2"}, true }

func (w *world) Reviews() bool { return w.action != "" }

func (w *world) Review(forms []*event.Event) []*event.Detection {
	session := forms[0].Audit.Annotations[event.AnnotationSession]
	w.sessions = append(w.sessions, session)
	return []*event.Detection{{ID: "d-" + session, Rule: event.DetectionRule{Name: "no-exec", Title: "Nobody execs"}, Action: w.action, Pod: forms[0].Audit.Target}}
}

func (w *world) Handle(_ context.Context, d *event.Detection) { w.handled = append(w.handled, d) }

func (w *world) judge(t *testing.T, closed bool) *Judge {
	t.Helper()
	j, err := New(Options{
		Quarantines: w, Barrier: w, Waits: func() bool { return w.waits }, BarrierClosed: closed, Pods: w, Rules: w, Detections: w,
		Judged: func(r Review) { w.reviews = append(w.reviews, r) }, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func exec() webhook.Request {
	return webhook.Request{
		ID: "1", Session: "s-1", Door: webhook.DoorExec, Operation: "CONNECT", Resource: "pods", Subresource: "exec",
		Name: "web-0", Namespace: "shop", Pod: "web-0", User: "alice", Command: []string{"sh"},
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	quarantined := &quarantine.Entry{Name: "pod-1"}
	for name, row := range map[string]struct {
		world       world
		closed      bool
		allowed     bool
		message     string
		annotations map[string]string
		// why is what the sessions hear; "-" for nothing at all.
		why string
	}{
		"nothing stands against it": {allowed: true},
		"exempt":                    {world: world{exempt: true, entry: quarantined, action: event.ActionDeny}, allowed: true, why: "-"},
		"quarantined":               {world: world{entry: quarantined}, message: "no\nask somebody", annotations: map[string]string{"quarantine": "pod-1"}, why: "no"},
		"quarantined, break-glass": {
			world: world{entry: quarantined, group: "oncall"}, allowed: true,
			annotations: map[string]string{"quarantine": "pod-1", "break-glass": "oncall"}, why: "break-glass: oncall",
		},
		"a rule denies": {
			world: world{action: event.ActionDeny}, message: `denied by rule "no-exec" (Nobody execs), detection d-s-1`,
			annotations: map[string]string{"rule": "no-exec", "detection": "d-s-1"}, why: `this request is denied by rule "no-exec" (Nobody execs), detection d-s-1.`,
		},
		"a rule denies and quarantines": {
			world: world{action: event.ActionQuarantine}, message: "denied by rule",
			annotations: map[string]string{"rule": "no-exec", "detection": "d-s-1"}, why: `this request is denied by rule "no-exec" (Nobody execs), detection d-s-1.`,
		},
		"a rule would deny": {world: world{action: event.ActionWouldDeny}, allowed: true},
		"a rule denies, break-glass": {
			world: world{action: event.ActionDeny, group: "oncall"}, allowed: true,
			annotations: map[string]string{"break-glass": "oncall"}, why: "break-glass: oncall",
		},
		"the barrier fails open": {world: world{waits: true, barrierErr: errors.New("slow")}, allowed: true, annotations: map[string]string{"barrier": "failed"}},
		"the barrier fails closed": {
			world: world{waits: true, barrierErr: errors.New("slow")}, closed: true, message: "could not find out in time",
			annotations: map[string]string{"barrier": "failed"},
			why:         "Portcullis could not find out in time whether something stands against this request, and is set to refuse then (slow). Try again in a moment.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := row.world
			v, err := w.judge(t, row.closed).Judge(t.Context(), exec())
			if err != nil || v.Allowed != row.allowed || !strings.Contains(v.Message, row.message) {
				t.Fatalf("%+v, error %v", v, err)
			}
			if len(v.Annotations)+len(row.annotations) > 0 {
				if diff := cmp.Diff(row.annotations, v.Annotations); diff != "" {
					t.Errorf("annotations:\n%s", diff)
				}
			}
			switch {
			case row.why == "-" && len(w.reviews) > 0:
				t.Errorf("the sessions hear of %+v", w.reviews)
			case row.why != "-" && (len(w.reviews) != 1 || w.reviews[0].Why != row.why || w.reviews[0].Allowed != row.allowed || w.reviews[0].Pod.UID != "u-web-0"):
				t.Errorf("the sessions hear %+v", w.reviews)
			}
		})
	}
}

// kubectl asks a second time when it is refused: that is the same session, and the same detection.
func TestASecondTryIsTheSameDetection(t *testing.T) {
	t.Parallel()
	w := world{action: event.ActionDeny, first: "s-0"}
	j := w.judge(t, false)
	v, err := j.Judge(t.Context(), exec())
	if err != nil || v.Allowed || v.Session != "s-0" || v.Annotations["detection"] != "d-s-0" {
		t.Errorf("%+v, error %v", v, err)
	}
	if len(w.handled) != 1 || w.handled[0].ID != "d-s-0" {
		t.Errorf("handled %+v", w.handled)
	}
	if n := testutil.ToFloat64(j.refused.WithLabelValues(outcomeDenied)); n != 0 {
		t.Errorf("counted %v times more", n)
	}
}

// Whoever passes by break-glass is not put into quarantine for it.
func TestBreakGlassLeadsToNothing(t *testing.T) {
	t.Parallel()
	w := world{action: event.ActionQuarantine, group: "oncall"}
	if _, err := w.judge(t, false).Judge(t.Context(), exec()); err != nil {
		t.Fatal(err)
	}
	if len(w.handled) != 1 || w.handled[0].Action != event.ActionNone || !strings.Contains(w.handled[0].Why, "oncall") {
		t.Errorf("handled %+v", w.handled)
	}
}

func TestAnErrorIsTheWebhooks(t *testing.T) {
	t.Parallel()
	broken := errors.New("no endpoints")
	w := world{judgeErr: broken}
	if _, err := w.judge(t, false).Judge(t.Context(), exec()); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// What happened in the pod is waited for, and what happened in the pod that asks.
func TestTheBarrierIsWaitedForWhereItMatters(t *testing.T) {
	t.Parallel()
	idle := world{}
	if _, err := idle.judge(t, false).Judge(t.Context(), exec()); err != nil || idle.waited != nil {
		t.Errorf("nobody enforces anything: waited for %v, error %v", idle.waited, err)
	}
	w := world{waits: true}
	r := exec()
	r.CallerPod = "u-caller"
	if _, err := w.judge(t, false).Judge(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	nodes := make([]string, 0, len(w.waited))
	for _, p := range w.waited {
		nodes = append(nodes, p.Node+" "+p.Pod)
	}
	if want := []string{"n1 u-web-0", "n2 u-caller"}; !slices.Equal(nodes, want) {
		t.Errorf("waited for %q, want %q", nodes, want)
	}
}

// Warnings reach people where the client shows any.
func TestObservedRulesWarn(t *testing.T) {
	t.Parallel()
	w := world{action: event.ActionWouldDeny}
	v, err := w.judge(t, false).Judge(t.Context(), exec())
	if err != nil || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "would deny this by rule no-exec") || w.handled[0].Pod.UID != "u-web-0" {
		t.Errorf("%+v, handled %+v, error %v", v, w.handled, err)
	}
}
