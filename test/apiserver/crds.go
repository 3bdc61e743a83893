package apiserver

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/portcullis-dev/portcullis/test/standalone"
)

// pollInterval is how often the API server is asked for what it announces nowhere.
const pollInterval = 100 * time.Millisecond

// installCRDs creates the repository's CRDs and waits until they are served.
func installCRDs(ctx context.Context, t standalone.TB, config *rest.Config) {
	t.Helper()
	client, err := clientset.NewForConfig(config)
	if err != nil {
		t.Fatalf("client for CRDs: %v", err)
	}
	for _, path := range crdFiles(t) {
		crd := readCRD(t, path)
		if _, err := client.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, crd, metav1.CreateOptions{}); err != nil {
			t.Fatalf("create the CRD of %s: %v", filepath.Base(path), err)
		}
		waitServed(ctx, t, client, crd)
	}
}

// crdFiles finds config/crd beside this file's own place in the repository.
func crdFiles(t standalone.TB) []string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("the path of the source is not known: built with -trimpath?")
	}
	paths, err := filepath.Glob(filepath.Join(filepath.Dir(file), "..", "..", "config", "crd", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no CRDs in config/crd: %v", err)
	}
	return paths
}

func readCRD(t standalone.TB, path string) *apiextensions.CustomResourceDefinition {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read a CRD: %v", err)
	}
	crd := &apiextensions.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, crd); err != nil {
		t.Fatalf("decode %s: %v", filepath.Base(path), err)
	}
	return crd
}

// waitServed waits until a list of the CRD's objects succeeds: the condition
// Established comes somewhat before that.
func waitServed(ctx context.Context, t standalone.TB, client clientset.Interface, crd *apiextensions.CustomResourceDefinition) {
	t.Helper()
	path := []string{"apis", crd.Spec.Group, crd.Spec.Versions[0].Name, crd.Spec.Names.Plural}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := client.Discovery().RESTClient().Get().AbsPath(path...).Do(ctx).Error()
		if err == nil {
			return
		}
		if !apierrors.IsNotFound(err) && !apierrors.IsServiceUnavailable(err) {
			t.Fatalf("list %s: %v", crd.Name, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s is not served: %v", crd.Name, err)
		}
	}
}
