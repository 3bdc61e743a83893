package auditsink

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/plugin/pkg/audit/webhook"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// kubeconfig writes what an API server finds the sink by, and returns its path.
func (s *sink) kubeconfig() string {
	s.t.Helper()
	pair, err := s.clients.IssueClient("apiserver:cp-1", time.Now(), time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	dir := s.t.TempDir()
	cert, key, config := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "kubeconfig")
	if err = pair.WriteFiles(cert, key); err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: sink, cluster: {server: %s/audit/cp-1, certificate-authority-data: %s}}]
users: [{name: sink, user: {client-certificate: %s, client-key: %s}}]
contexts: [{name: sink, context: {cluster: sink, user: sink}}]
current-context: sink
`, s.url, base64.StdEncoding.EncodeToString(s.serving.Bundle().PEM()), cert, key)
	if err = os.WriteFile(config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return config
}

// backend is the API server's own audit webhook.
func (s *sink) backend() func(...*auditinternal.Event) bool {
	s.t.Helper()
	b, err := webhook.NewBackend(s.kubeconfig(), auditv1.SchemeGroupVersion,
		wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 5}, nil)
	if err != nil {
		s.t.Fatalf("new backend: %v", err)
	}
	return b.ProcessEvents
}

func capturedInternal(t testing.TB, name string) []*auditinternal.Event {
	t.Helper()
	var l auditv1.EventList
	if err := json.Unmarshal(captured(t)[name], &l); err != nil {
		t.Fatal(err)
	}
	out := make([]*auditinternal.Event, len(l.Items))
	for i := range l.Items {
		out[i] = new(auditinternal.Event)
		if err := auditv1.Convert_v1_Event_To_audit_Event(&l.Items[i], out[i], nil); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestRealBackendRetries drives the sink with the API server's own sender: it
// must understand the answers as they are meant, and a redelivery must carry
// the same IDs.
func TestRealBackendRetries(t *testing.T) {
	s := newSink(t, nil)
	var tries atomic.Int32
	var first []string
	s.pipeline.ingest = func(_ context.Context, events []*event.Event) error {
		if tries.Add(1) > 1 {
			return nil
		}
		for _, e := range events {
			e.Identify()
			first = append(first, e.ID)
		}
		return busyError{}
	}
	if !s.backend()(capturedInternal(t, "exec-denied")...) {
		t.Error("the API server counts the batch as lost")
	}
	if len(s.pipeline.ids) != 4 || tries.Load() != 2 {
		t.Fatalf("%d events after %d tries", len(s.pipeline.ids), tries.Load())
	}
	for i, id := range s.pipeline.ids {
		if first[i] != id {
			t.Errorf("event %d was redelivered with another ID", i)
		}
	}
}

// TestRealBackendGivesUp: what is too large is sent five times and dropped there, which both sides tell.
func TestRealBackendGivesUp(t *testing.T) {
	s := newSink(t, func(o *Options) { o.MaxBodyBytes = 1024 })
	if s.backend()(capturedInternal(t, "exec-denied")...) {
		t.Error("the API server counts the batch as delivered")
	}
	if got := s.refused(reasonTooLarge); got != 5 || len(s.told.all()) != 5 {
		t.Errorf("%v tries, told of %d", got, len(s.told.all()))
	}
}

// TestRealAPIServer has an API server report, stage by stage and before it
// answers, what its clients do. One of them uses its Audit-ID twice, and each of its events
// is delivered twice, because the sink says at first that it is busy.
func TestRealAPIServer(t *testing.T) {
	s := newSink(t, nil)
	var mu sync.Mutex
	var events []*event.Event
	offered := map[string]bool{}
	s.pipeline.ingest = func(_ context.Context, got []*event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range got {
			events = append(events, e.Own())
		}
		if id := got[0].Own().ID; !offered[id] && got[0].Audit.AuditID == "mine" {
			offered[id] = true
			return busyError{}
		}
		return nil
	}
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: RequestResponse, resources: [{group: "", resources: [configmaps]}]}
- {level: None}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	server := apiserver.Start(t, apiserver.Options{WithoutCRDs: true, Args: []string{
		"--audit-policy-file=" + policy, "--audit-webhook-config-file=" + s.kubeconfig(), "--audit-webhook-mode=blocking",
	}})
	config := rest.CopyConfig(server.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "mallory", Extra: map[string][]string{event.ExtraPodUID: {"somebody-else"}}}
	// A client that reuses one Audit-ID for all that it does.
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Header.Set("Audit-ID", "mine")
			return next.RoundTrip(r)
		})
	})
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"harmless", "sesame"} {
		_, err = clients.CoreV1().ConfigMaps("default").Get(context.Background(), name, metav1.GetOptions{})
		if !apierrors.IsForbidden(err) {
			t.Fatalf("get: %v", err)
		}
	}

	mu.Lock()
	defer mu.Unlock()
	requests, ids := map[string][]string{}, map[string]int{}
	for _, e := range events {
		if e.Audit.AuditID != "mine" {
			continue // the API server's own
		}
		if ids[e.ID]++; ids[e.ID] == 1 {
			requests[e.Request] = append(requests[e.Request], e.Audit.Stage)
		}
		if hidden := e.Audit.ObjectRef.Name == "sesame"; e.Audit.AuditIDReused != hidden {
			t.Errorf("%s of %s: the ID is reused: %v", e.Audit.Stage, e.Audit.RequestURI, e.Audit.AuditIDReused)
		}
		if e.Audit.User.Username != "test-admin" || !e.Audit.Caller.IsZero() {
			t.Errorf("%s: by %q, as the pod %v", e.Audit.Stage, e.Audit.User.Username, e.Audit.Caller)
		}
		if e.Audit.Stage == "ResponseComplete" && (e.Audit.Code != 403 || e.Audit.ImpersonatedUser.Username != "mallory") {
			t.Errorf("answered %d to %v", e.Audit.Code, e.Audit.ImpersonatedUser)
		}
	}
	if len(requests) != 2 || len(ids) != 4 {
		t.Errorf("two requests of two stages became %d requests and %d events: %v", len(requests), len(ids), requests)
	}
	for id, n := range ids {
		if n != 2 {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
	for request, stages := range requests {
		if diff := cmp.Diff([]string{"RequestReceived", "ResponseComplete"}, stages); diff != "" {
			t.Errorf("stages of %s (-want +got):\n%s", request, diff)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
