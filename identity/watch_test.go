package identity

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestNothingIsAwaitedWhereNothingHasHappened: an API server never says to a watch that it has come to where it begins.
func TestNothingIsAwaitedWhereNothingHasHappened(t *testing.T) {
	t.Parallel()
	errWatched := errors.New("watched")
	client := fake.NewClientset()
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}, nil
	})
	client.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) { return true, nil, errWatched })
	r, err := New(Options{Client: client, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if changes, err := r.missed(t.Context(), "7"); changes != 0 || err != nil {
		t.Errorf("since now: %d changes, %v", changes, err)
	}
	// The present may be older, where etcd was put back to a backup: then nothing is known of what has happened.
	for _, from := range []string{"6", "8"} {
		if _, err := r.missed(t.Context(), from); !errors.Is(err, errWatched) {
			t.Errorf("since %s: %v, want a watch", from, err)
		}
	}
}
