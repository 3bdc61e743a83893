package apiserver_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// TestTwoServersOneEtcd: an object that one makes is known to the other, each stamps by its own clock.
func TestTwoServersOneEtcd(t *testing.T) {
	ahead := apiserver.Start(t, apiserver.Options{Ahead: 3 * time.Minute, WithoutCRDs: true})
	behind := apiserver.Start(t, apiserver.Options{Ahead: -4 * time.Minute, Beside: ahead})
	for name, row := range map[string]struct {
		by, read *apiserver.Server
		ahead    time.Duration
	}{
		"made-ahead":  {ahead, behind, 3 * time.Minute},
		"made-behind": {behind, ahead, -4 * time.Minute},
	} {
		before := time.Now().Truncate(time.Second)
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := kubernetes.NewForConfigOrDie(row.by.Config).CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		after := time.Now()
		ns, err := kubernetes.NewForConfigOrDie(row.read.Config).CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("the other server does not know it: %v", err)
		}
		stamp := ns.CreationTimestamp.Add(-row.ahead)
		if stamp.Before(before) || stamp.After(after) {
			t.Errorf("%s was created at %v by its server's clock, which is ahead by %v; it was %v", name, ns.CreationTimestamp, row.ahead, before)
		}
	}
}
