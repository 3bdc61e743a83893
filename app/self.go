package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"

	"github.com/portcullis-dev/portcullis/event"
)

// maxNote bounds an Event's note: the API server takes 1024 bytes.
const maxNote = 1000

// self writes Kubernetes Events on the server's own pod, for what whoever runs it
// should see with kubectl describe. Repeats become one Event with a count.
type self struct {
	// pod is nil where the server does not know its pod; then nothing is written.
	pod         *corev1.ObjectReference
	logger      *slog.Logger
	broadcaster events.EventBroadcaster
	recorder    events.EventRecorder
}

// newSelf makes a self that writes nothing until run.
func newSelf(pod event.Pod, client kubernetes.Interface, logger *slog.Logger) (*self, error) {
	s := &self{logger: logger, broadcaster: events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})}
	s.recorder = s.broadcaster.NewRecorder(scheme.Scheme, "portcullis.dev/portcullis").
		WithLogger(logr.FromSlogHandler(logger.Handler()))
	switch {
	case pod.IsZero():
		return s, nil
	case pod.Namespace == "" || pod.Name == "" || pod.UID == "":
		return nil, fmt.Errorf("app: Options.Pod is %s with UID %q: it must have all of them, or be empty", pod, pod.UID)
	}
	s.pod = &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: types.UID(pod.UID),
	}
	return s, nil
}

// run writes Events until ctx ends.
func (s *self) run(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	s.broadcaster.Shutdown()
	return nil
}

// start writes Events that come from now on.
func (s *self) start(ctx context.Context) error {
	ctx = logr.NewContext(ctx, logr.FromSlogHandler(s.logger.Handler()))
	if err := s.broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("record events: %w", err)
	}
	return nil
}

func (s *self) tell(reason, note string) { s.record(corev1.EventTypeNormal, reason, note) }

func (s *self) warn(reason, note string) { s.record(corev1.EventTypeWarning, reason, note) }

func (s *self) record(kind, reason, note string) {
	if s.pod == nil {
		return
	}
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote-len("…")], "") + "…"
	}
	s.recorder.Eventf(s.pod, nil, kind, reason, "ReloadRules", "%s", note)
}
