package namespaces_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/portcullis-dev/portcullis/enforcement/namespaces"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// klog, which client-go logs through, never stops its flusher.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func TestAgainstAPIServer(t *testing.T) {
	server := apiserver.Start(t, apiserver.Options{WithoutCRDs: true})
	kube, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := metadata.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string, labels map[string]string) {
		t.Helper()
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		if _, err = kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("before", map[string]string{"portcullis.dev/mode": "enforce", "other": "x"})
	create("plain", nil)

	w, err := namespaces.New(namespaces.Options{Client: client, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, known := w.Label("before"); known || w.Synced() {
		t.Error("it knows before it runs")
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()
	wait, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err = w.WaitSynced(wait); err != nil || !w.Synced() {
		t.Fatal(err)
	}
	is := func(name, mode string, known bool) bool {
		got, ok := w.Label(name)
		return got == mode && ok == known
	}
	if !is("before", "enforce", true) || !is("plain", "", true) || !is("nothing", "", false) {
		t.Error("after the first list it knows something else")
	}

	create("later", map[string]string{"portcullis.dev/mode": "observe"})
	eventually(t, "a new namespace is known", func() bool { return is("later", "observe", true) })
	patch := []byte(`{"metadata": {"labels": {"portcullis.dev/mode": null}}}`)
	if _, err = kube.CoreV1().Namespaces().Patch(t.Context(), "before", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a label that was taken off is known", func() bool { return is("before", "", true) })
	if err = kube.CoreV1().Namespaces().Delete(t.Context(), "later", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "later"}} // which a controller would do
	if _, err = kube.CoreV1().Namespaces().Finalize(t.Context(), gone, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a namespace that is gone is not known any more", func() bool { return is("later", "", false) })
}

// eventually asks until the answer is yes: what a watch does is told to nobody else.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ask() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
