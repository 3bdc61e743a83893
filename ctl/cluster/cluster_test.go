package cluster

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: x
contexts: [{name: x, context: {cluster: c, namespace: shop}}]
clusters: [{name: c, cluster: {server: "https://192.0.2.1"}}]
`

func flags(t *testing.T, args ...string) *Flags {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
	f := NewFlags("test", io.Discard)
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.AddFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestNamespaces: that of Portcullis is never the one that the kubeconfig happens to be in.
func TestNamespaces(t *testing.T) {
	for _, tc := range []struct {
		args                 []string
		installation, podsIn string
	}{
		{nil, "portcullis", "shop"},
		{[]string{"-n", "other"}, "other", "other"},
	} {
		f := flags(t, tc.args...)
		got, err := f.ContextNamespace()
		if err != nil || got != tc.podsIn || f.Namespace("portcullis") != tc.installation {
			t.Errorf("%v: pods in %q (%v), Portcullis in %q", tc.args, got, err, f.Namespace("portcullis"))
		}
	}
}

func TestNoCluster(t *testing.T) {
	f := flags(t)
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	if _, err := f.Client(); !errors.Is(err, ErrNoCluster) {
		t.Errorf("error %v", err)
	}
	f = flags(t, "--server", "http://localhost:8080")
	if _, err := f.Client(); err != nil {
		t.Errorf("an address that was asked for: %v", err)
	}
}

// TestClientAsksForNothingElse: no discovery, which needs time and rights.
func TestClientAsksForNothingElse(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.UserAgent())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Warning", `299 - "mind the gap"`)
		_, _ = io.WriteString(w, `{"metadata":{"name":"x"}}`)
	}))
	defer server.Close()
	var warnings strings.Builder
	c, err := NewClient(&rest.Config{Host: server.URL}, "test/1", &warnings)
	if err != nil {
		t.Fatal(err)
	}
	for _, obj := range []client.Object{&v1alpha1.Quarantine{}, &corev1.Pod{}} {
		key := client.ObjectKey{Name: "x"}
		if _, namespaced := obj.(*corev1.Pod); namespaced {
			key.Namespace = "shop"
		}
		if err := c.Get(t.Context(), key, obj); err != nil {
			t.Error(err)
		}
	}
	want := "GET /apis/portcullis.dev/v1alpha1/quarantines/x test/1, GET /api/v1/namespaces/shop/pods/x test/1"
	if got := strings.Join(asked, ", "); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	if strings.Count(warnings.String(), "mind the gap") != 1 {
		t.Errorf("warnings: %q", warnings.String())
	}
}
