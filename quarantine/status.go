package quarantine

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

const (
	// Statuses are for people: they come after everything else, and no faster than this.
	reportsPerSecond = 10
	reportsBurst     = 50
	// reportRetry is how long nothing is tried after a status could not be written.
	reportRetry = time.Minute
	// lastDeniedStep is how much newer a denial has to be to be worth a write.
	lastDeniedStep = time.Minute
)

// reported is what is known of an object's status.
type reported struct {
	stored     v1alpha1.QuarantineStatus
	generation int64
	// denied is when a request was last denied because of it, as far as this process knows.
	denied time.Time
	// after is when it may be tried to write it again.
	after time.Time
}

// take takes over what the object says.
func (r *reported) take(q *v1alpha1.Quarantine) {
	r.stored, r.generation = *q.Status.DeepCopy(), q.Generation
}

// node is where the entry's pod runs, as far as anybody knows.
func (s *state) node(e *Entry) string {
	if !isPod(e) {
		return ""
	}
	if s.nodeOf != nil {
		if n := s.nodeOf(e.Subject.UID); n != "" {
			return n
		}
	}
	return e.Node
}

// denied takes over that a request was denied.
func (s *state) denied(name string, at, now time.Time, fx *effects) {
	if t := s.tracked[name]; t != nil && at.After(t.status.denied) {
		t.status.denied = at
		s.report(t, now, fx)
	}
}

// report has the status written if it does not say what is so.
func (s *state) report(t *tracked, now time.Time, fx *effects) {
	if t.uid == "" || t.dirty || t.ending != "" || now.Before(t.status.after) {
		return
	}
	if want := t.wanted(now); !equality.Semantic.DeepEqual(want, t.status.stored) {
		fx.report = append(fx.report, t.entry.Name)
	}
}

// wanted is what the status should say.
func (t *tracked) wanted(now time.Time) v1alpha1.QuarantineStatus {
	want := *t.status.stored.DeepCopy()
	want.ObservedGeneration = t.status.generation
	if t.entry.Node != "" {
		want.NodeName = t.entry.Node
	}
	if d := t.status.denied; !d.IsZero() && (want.LastDenied == nil || d.Sub(want.LastDenied.Time) >= lastDeniedStep) {
		want.LastDenied = &metav1.Time{Time: d.UTC().Truncate(time.Second)}
	}
	meta.SetStatusCondition(&want.Conditions, t.condition(now))
	return want
}

// condition says whether the quarantine is in force.
func (t *tracked) condition(now time.Time) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionEnforced, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInForce,
		ObservedGeneration: t.status.generation, LastTransitionTime: metav1.NewTime(now.UTC().Truncate(time.Second)),
		Message: fmt.Sprintf("%s %s is denied %s", t.entry.Operations, effect(t.entry.Subject), untilPhrase(t.entry.Expires)),
	}
	switch {
	case !t.entry.Active(now):
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonExpired
		c.Message = "its time was over at " + t.entry.Expires.UTC().Format(timeFormat)
	case (&Index{}).byKind(t.entry.Subject.Kind) == nil:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonNotSupported
		c.Message = "this version of Portcullis does not know subjects of that kind"
	}
	return c
}

// effect says which requests a quarantine of the subject denies.
func effect(s v1alpha1.Subject) string {
	switch s.Kind {
	case v1alpha1.SubjectPod:
		return "into " + whom(s) + ", with its token, and through the kubelet of its node,"
	case v1alpha1.SubjectNode:
		return "into the pods of " + whom(s) + " and to its kubelet"
	case v1alpha1.SubjectNamespace:
		return "into the pods and services of " + whom(s)
	default:
		return "of " + whom(s)
	}
}

// reportLoop writes statuses until the context ends.
func (m *Manager) reportLoop(ctx context.Context) {
	stop := context.AfterFunc(ctx, m.reports.ShutDown)
	defer stop()
	limit := rate.NewLimiter(reportsPerSecond, reportsBurst)
	for {
		name, shutdown := m.reports.Get()
		if shutdown || limit.Wait(ctx) != nil {
			return
		}
		m.report(ctx, name)
		m.reports.Done(name)
	}
}

// report writes one object's status. Nothing depends on it: a failure is counted, and it is tried again
// when the object or time gives occasion to.
func (m *Manager) report(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m.mu.Lock()
	t := m.state.tracked[name]
	if t == nil || t.uid == "" || t.dirty || t.ending != "" {
		m.mu.Unlock()
		return
	}
	uid := t.uid
	q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: strconv.FormatUint(t.version, 10)}}
	q.Status = t.status.stored
	base := q.DeepCopy()
	q.Status = t.wanted(m.opts.Now())
	m.mu.Unlock()

	// With the version, so that of several replicas one writes it.
	err := m.opts.Client.Status().Patch(ctx, q, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	m.count("status", err)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return // The watch tells what is so now.
	case err != nil:
		m.opts.Logger.Warn("status of a quarantine is not written", "name", name, "err", err)
		m.postpone(name, uid)
		return
	}
	m.change(func(s *state, fx *effects) {
		if now := s.tracked[name]; now != nil && now.uid == q.UID {
			s.observed(q, m.opts.Now(), fx)
		}
	})
}

func (m *Manager) postpone(name string, uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.state.tracked[name]; t != nil && t.uid == uid {
		t.status.after = m.opts.Now().Add(reportRetry)
	}
}
