package webhook_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

// unknownAtAdmission are the fields that an audit event has and a review cannot know.
func unknownAtAdmission(name string) bool {
	return slices.Contains([]string{
		"@timestamp", "event.id", "event.ingested", "event.provider", "event.request",
		"kubernetes.audit.requestReceivedTimestamp", "kubernetes.audit.stageTimestamp", "kubernetes.audit.auditID", "kubernetes.audit.level", "kubernetes.audit.sourceIPs", "kubernetes.audit.userAgent",
		"kubernetes.audit.responseStatus.code", "kubernetes.audit.responseStatus.message", "kubernetes.audit.responseStatus.reason",
		"kubernetes.audit.responseObject",
	}, name) || strings.HasPrefix(name, "kubernetes.audit.annotations.") && name != "kubernetes.audit.annotations.authorization.k8s.io/decision"
}

// recorded are the audit events that API servers have sent, as the sink decodes them.
func recorded(t *testing.T, name string) []*event.Event {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "auditsink", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := auditsink.NewDecoder().Decode(text, auditsink.Delivery{APIServer: "cp-1"})
	if err != nil || len(batch.Rejected) > 0 {
		t.Fatalf("%v, %v", err, batch.Rejected)
	}
	return batch.Events
}

// reviewOf is the review that the API server sent of the request that it recorded.
func reviewOf(t *testing.T, e *event.Event, sample map[string]any, object map[string]any) []byte {
	t.Helper()
	a := e.Audit
	r := sample["request"].(map[string]any)
	r["name"], r["subResource"] = a.ObjectRef.Name, a.ObjectRef.Subresource
	r["resource"] = map[string]any{"version": "v1", "resource": a.ObjectRef.Resource}
	delete(r, "namespace")
	if a.ObjectRef.Namespace != "" {
		r["namespace"] = a.ObjectRef.Namespace
	}
	r["userInfo"] = map[string]any{"username": a.User.Username, "uid": a.User.UID, "groups": a.User.Groups, "extra": a.User.Extra}
	r["object"] = object
	if object["kind"] == "Pod" {
		r["operation"] = "UPDATE"
	}
	body, err := json.Marshal(sample)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestEventIsTheAuditEventOfTheRequest compares what rules read of a review with what they read of the
// audit event that an API server made of the same request.
func TestEventIsTheAuditEventOfTheRequest(t *testing.T) {
	options := func(kind string, more map[string]any) map[string]any {
		out := map[string]any{"kind": kind, "apiVersion": "v1"}
		maps.Copy(out, more)
		return out
	}
	for name, object := range map[string]map[string]any{
		"exec-denied": options("PodExecOptions", map[string]any{"command": []string{"sh", "-c", "echo deny-me"}, "container": "main", "stderr": true, "stdout": true}),
		"exec-spdy":   options("PodExecOptions", map[string]any{"command": []string{"echo", "spdy"}, "container": "main", "stderr": true, "stdout": true}),
		"exec-tty":    options("PodExecOptions", map[string]any{"command": []string{"sh"}, "container": "main", "stdin": true, "stdout": true, "tty": true}),
		"exec-notty": options("PodExecOptions", map[string]any{"container": "main", "stderr": true, "stdout": true, "command": []string{
			"sh", "-c", "ip addr show eth0; ip route; wget -T 3 -qO- --no-check-certificate https://10.123.0.1:6443/version 2>&1 | head -3",
		}}),
		"attach":         options("PodAttachOptions", map[string]any{"container": "main", "stderr": true, "stdout": true}),
		"portforward":    options("PodPortForwardOptions", nil),
		"node-proxy-run": options("NodeProxyOptions", map[string]any{"path": "/run/shop/cart-0/main"}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, logged := range recorded(t, name) {
				compareEvent(t, logged, object)
			}
		})
	}
	t.Run("debug", func(t *testing.T) {
		events := recorded(t, "debug")
		compareEvent(t, events[0], options("Pod", nil)) // with a UID the review would know more
		for _, logged := range events[1:] {
			compareEvent(t, logged, options("PodAttachOptions", map[string]any{"container": "debugger-bmbth", "stdin": true, "stdout": true, "tty": true}))
		}
	})
}

func compareEvent(t *testing.T, logged *event.Event, object map[string]any) {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(sample(t, "exec"), &doc); err != nil {
		t.Fatal(err)
	}
	r := judged(t, reviewOf(t, logged, doc, object))
	schema := field.New()
	if r.Resource == "nodes" {
		// What a kubelet is to run is in the query, which no review has.
		logged.Audit.RequestURI, _, _ = strings.Cut(logged.Audit.RequestURI, "?")
	}
	want := schema.Document(logged)
	maps.DeleteFunc(want, func(name string, _ any) bool { return unknownAtAdmission(name) })
	var diffs []string
	for _, e := range r.Variants(time.Unix(1, 0)) {
		got := schema.Document(e)
		maps.DeleteFunc(got, func(name string, _ any) bool { return unknownAtAdmission(name) })
		diff := cmp.Diff(want, got)
		if diff == "" {
			got, want := []event.Pod{e.Audit.Caller, e.Audit.Target}, []event.Pod{logged.Audit.Caller, logged.Audit.Target}
			if diff = cmp.Diff(want, got); diff != "" {
				t.Errorf("caller and target (-want +got):\n%s", diff)
			}
			return
		}
		diffs = append(diffs, diff)
	}
	t.Errorf("no variant is %s %s; the differences (-want +got):\n%s", logged.Audit.Verb, logged.Audit.Stage, strings.Join(diffs, "\n"))
}

func TestEventsOfARequestAreDistinct(t *testing.T) {
	for _, name := range samples() {
		r, now := judged(t, sample(t, name)), time.Unix(1_000_000, 0)
		variants := r.Variants(now)
		if diff := cmp.Diff(r.Event(now), variants[0]); diff != "" {
			t.Errorf("%s: the first variant is not Event's (-want +got):\n%s", name, diff)
		}
		ids := make(map[string]bool)
		for _, e := range variants {
			ids[e.ID] = true
			if e.Kind != event.KindAudit || !e.Time.Equal(now) || e.Request == "" || e.Delivered != "" {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if len(ids) != len(variants) {
			t.Errorf("%s: %d variants have %d IDs", name, len(variants), len(ids))
		}
	}
}

func TestTheEventOfADebugContainerHasThePodsUID(t *testing.T) {
	r := judged(t, sample(t, "debug"))
	if target := r.Event(time.Unix(1, 0)).Audit.Target; target.UID != r.PodUID || target.Confidence != event.Exact {
		t.Errorf("the target is %+v", target)
	}
}
