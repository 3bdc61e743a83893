package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	client      kubernetes.Interface
	broadcaster events.EventBroadcaster
	recorder    events.EventRecorder
	// name is the user that the server is to the API server, once that is known.
	name atomic.Pointer[string]
}

// newSelf makes a self that writes nothing until run.
func newSelf(pod event.Pod, client kubernetes.Interface, logger *slog.Logger) (*self, error) {
	s := &self{logger: logger, client: client, broadcaster: events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})}
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
	s.whoAmI(ctx)
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

// askAgain is the pause between two questions who the server is.
const askAgain = 5 * time.Second

// whoAmI asks the API server, until it has answered or ctx ends.
func (s *self) whoAmI(ctx context.Context) {
	for {
		review, err := s.client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil {
			s.name.Store(&review.Status.UserInfo.Username)
			return
		}
		s.logger.Debug("the API server has not said who this is", "error", err)
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return
		}
	}
}

// user is who the server is to the API server, empty while that is not known.
func (s *self) user() string {
	if name := s.name.Load(); name != nil {
		return *name
	}
	return ""
}
