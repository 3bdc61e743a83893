package quarantine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// The reasons of the Events, as kubectl describe lists them.
const (
	reasonQuarantined      = "PortcullisQuarantined"
	reasonWouldQuarantine  = "PortcullisWouldQuarantine"
	reasonDenied           = "PortcullisDenied"
	reasonBreakGlass       = "PortcullisBreakGlass"
	reasonReleased         = "PortcullisReleased"
	reportingController    = "portcullis.dev/portcullis"
	eventsPerSecond        = 10
	eventsBurst            = 100
	maxNote                = 1000 // the API server takes 1024 bytes
	actionQuarantine       = "Quarantine"
	actionWouldQuarantine  = "WouldQuarantine"
	actionDeny             = "Deny"
	actionPassByBreakGlass = "PassByBreakGlass"
	actionRelease          = "Release"
)

// EventsOptions are what an Events needs.
type EventsOptions struct {
	// Client writes the Events.
	Client     kubernetes.Interface
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Events writes Kubernetes Events on the pods that something was done to and on the Quarantines that
// are the cause, so that kubectl describe shows it. They are for people and best effort: repeats
// become one Event with a count, a burst is cut off, and what is cut off is counted.
type Events struct {
	logger      *slog.Logger
	broadcaster events.EventBroadcaster
	recorder    events.EventRecorder
	limit       flowcontrol.PassiveRateLimiter
	outcomes    *prometheus.CounterVec
}

// NewEvents makes an Events that writes nothing until Run.
func NewEvents(opts EventsOptions) (*Events, error) {
	switch {
	case opts.Client == nil:
		return nil, errors.New("quarantine events: Client is missing")
	case opts.Logger == nil:
		return nil, errors.New("quarantine events: Logger is missing")
	case opts.Registerer == nil:
		return nil, errors.New("quarantine events: Registerer is missing")
	}
	e := &Events{
		logger:      opts.Logger,
		broadcaster: events.NewBroadcaster(&events.EventSinkImpl{Interface: opts.Client.EventsV1()}),
		limit:       flowcontrol.NewTokenBucketPassiveRateLimiter(eventsPerSecond, eventsBurst),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_quarantine_events_total",
			Help: "Kubernetes Events on pods and quarantines, by whether they were handed on or cut off because there were too many.",
		}, []string{"outcome"}),
	}
	for _, o := range []string{"sent", "cut-off"} {
		e.outcomes.WithLabelValues(o)
	}
	if err := opts.Registerer.Register(e.outcomes); err != nil {
		return nil, fmt.Errorf("quarantine events metrics: %w", err)
	}
	e.recorder = e.broadcaster.NewRecorder(scheme.Scheme, reportingController).
		WithLogger(logr.FromSlogHandler(opts.Logger.Handler()))
	return e, nil
}

// Run writes Events until the context ends. Those on their way then are lost.
func (e *Events) Run(ctx context.Context) error {
	ctx = logr.NewContext(ctx, logr.FromSlogHandler(e.logger.Handler()))
	if err := e.broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("record events: %w", err)
	}
	<-ctx.Done()
	e.broadcaster.Shutdown()
	return nil
}

// Quarantined tells of a quarantine in force, on the pod.
func (e *Events) Quarantined(d *event.Detection, entry *Entry) {
	e.onPod(eventPod(d.Pod, entry), corev1.EventTypeWarning, reasonQuarantined, actionQuarantine, quarantinedNote(entry))
}

// Created tells of a quarantine whose object is in the cluster now, on the object.
func (e *Events) Created(entry *Entry) {
	e.onQuarantine(entry, corev1.EventTypeWarning, reasonQuarantined, actionQuarantine, quarantinedNote(entry))
}

// WouldQuarantine tells what enforcing the rule would have done.
func (e *Events) WouldQuarantine(d *event.Detection, spec Spec) {
	who := "pod " + shown(d.Pod.String(), 2*maxShownName)
	if subjects, err := Subjects(d, spec); err == nil && len(subjects) == 1 {
		who = whom(subjects[0])
	}
	e.onPod(d.Pod, corev1.EventTypeWarning, reasonWouldQuarantine, actionWouldQuarantine,
		fmt.Sprintf("%s would be quarantined by rule %s if it were enforced: %s. Detection %s.",
			who, shown(d.Rule.Name, maxShownName), shown(firstOf(d.Rule.Title, d.Rule.Name), maxShownReason), shown(d.ID, maxShownName)))
}

// Denied tells of a request that was refused, on the pod and on the quarantine.
func (e *Events) Denied(pod event.Pod, r Request, entry *Entry) {
	note := requestNote(r, entry, "was denied")
	e.onPod(pod, corev1.EventTypeWarning, reasonDenied, actionDeny, note)
	e.onQuarantine(entry, corev1.EventTypeWarning, reasonDenied, actionDeny, note)
}

// BreakGlass tells of a request that was let through only because of the user's group, on the pod and on
// the quarantine.
func (e *Events) BreakGlass(pod event.Pod, r Request, entry *Entry, group string) {
	note := requestNote(r, entry, fmt.Sprintf("was let through as a member of %s", shown(group, maxShownName)))
	e.onPod(pod, corev1.EventTypeWarning, reasonBreakGlass, actionPassByBreakGlass, note)
	e.onQuarantine(entry, corev1.EventTypeWarning, reasonBreakGlass, actionPassByBreakGlass, note)
}

// Released tells who ended a quarantine, and when, on the pod and on the quarantine, whose object is
// gone by then.
func (e *Events) Released(entry *Entry, by string, at time.Time) {
	note := fmt.Sprintf("%s was released from quarantine %s by user \"%s\" at %s.",
		whom(entry.Subject), shown(entry.Name, maxRule), shown(by, maxShownName), at.UTC().Format(timeFormat))
	e.onPod(eventPod(event.Pod{}, entry), corev1.EventTypeNormal, reasonReleased, actionRelease, note)
	e.onQuarantine(entry, corev1.EventTypeNormal, reasonReleased, actionRelease, note)
}

func quarantinedNote(entry *Entry) string {
	return fmt.Sprintf("%s is quarantined %s by rule %s: %s. Detection %s, kubectl delete quarantine %s releases it.",
		whom(entry.Subject), untilPhrase(entry.Expires), shown(entry.Rule, maxShownName),
		shown(entry.Reason, maxShownReason), shown(entry.Detection, maxShownName), entry.Name)
}

// requestNote leaves the command out: it may hold secrets, and more people may read
// Events than may exec.
func requestNote(r Request, entry *Entry, what string) string {
	return fmt.Sprintf("%s by user \"%s\" %s: %s is quarantined %s (%s), see quarantine %s.",
		requestPhrase(&r), shown(r.User, maxShownName), what,
		whom(entry.Subject), untilPhrase(entry.Expires), shown(entry.Reason, maxShownReason), shown(entry.Name, maxRule))
}

// eventPod is the pod to tell of the entry on: that of the quarantine, or the one
// in which the quarantined user was seen.
func eventPod(seen event.Pod, entry *Entry) event.Pod {
	if isPod(entry) {
		return event.Pod{UID: entry.Subject.UID, Namespace: entry.Subject.Namespace, Name: entry.Subject.Name}
	}
	return seen
}

func (e *Events) onPod(pod event.Pod, kind, reason, action, note string) {
	if pod.Namespace == "" || pod.Name == "" {
		return // there is no pod to tell it on
	}
	e.record(&corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: types.UID(pod.UID),
	}, kind, reason, action, note)
}

// onQuarantine tells it on the object, if there is one. Events on what has no namespace are in the
// namespace default.
func (e *Events) onQuarantine(entry *Entry, kind, reason, action, note string) {
	if entry.UID == "" {
		return
	}
	e.record(&corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "Quarantine", Name: entry.Name, UID: entry.UID,
	}, kind, reason, action, note)
}

func (e *Events) record(on *corev1.ObjectReference, kind, reason, action, note string) {
	if !e.limit.TryAccept() {
		e.outcomes.WithLabelValues("cut-off").Inc()
		return
	}
	e.outcomes.WithLabelValues("sent").Inc()
	e.recorder.Eventf(on, nil, kind, reason, action, "%s", cut(note, maxNote))
}
