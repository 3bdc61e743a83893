package apiserver_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/portcullis-dev/portcullis/test/apiserver"
)

func TestServer(t *testing.T) {
	var dir string
	t.Run("works", func(t *testing.T) {
		s := apiserver.Start(t, apiserver.Options{})
		dir = s.Dir
		ctx := t.Context()
		admin := kubernetes.NewForConfigOrDie(s.Config)
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
		if _, err := admin.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
			t.Fatalf("the administrator may not create a namespace: %v", err)
		}
		if err := admin.Discovery().RESTClient().Get().AbsPath("/apis/portcullis.dev/v1alpha1/quarantines").Do(ctx).Error(); err != nil {
			t.Errorf("the CRDs are not served: %v", err)
		}
		alice := kubernetes.NewForConfigOrDie(s.UserConfig(t, "alice", "devs"))
		_, err := alice.CoreV1().Namespaces().Get(ctx, "shop", metav1.GetOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `"alice"`) {
			t.Errorf("alice without a role got %v, want Forbidden for alice", err)
		}
	})
	if dir == "" {
		return
	}
	out, err := exec.CommandContext(context.Background(), "pgrep", "-f", dir).Output()
	if err == nil {
		t.Errorf("processes outlive the test: %s", out)
	}
}
