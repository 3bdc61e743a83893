package webhook_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/webhook"
)

// samples are reviews as an API server has sent them.
func samples() []string {
	return []string{"exec", "exec-tty", "attach", "portforward", "debug", "pod-proxy", "service-proxy", "node-proxy"}
}

// judged is the request that a review makes.
func judged(t testing.TB, body []byte) webhook.Request {
	t.Helper()
	var got webhook.Request
	h, _ := newHandler(t, func(_ context.Context, r webhook.Request) (webhook.Verdict, error) {
		got = r
		return webhook.Verdict{Allowed: true, Annotations: map[string]string{"quarantine": "none", "session": "forged"}}, nil
	})
	resp := answered(t, post(h, body))
	annotations := map[string]string{"session": got.Session, "decision": "allow", "quarantine": "none"}
	if diff := cmp.Diff(annotations, resp.AuditAnnotations); diff != "" {
		t.Errorf("audit annotations (-want +got):\n%s", diff)
	}
	if !resp.Allowed || string(resp.UID) != got.ID || resp.Result != nil || got.Session != webhook.SessionID(got.ID) {
		t.Errorf("the answer to %+v is %+v", got, resp)
	}
	return got
}

func TestRequests(t *testing.T) {
	const credential = "X509SHA256=09b7a27cf047c4ae0eb149dd3518e1a39067af56a7bd2f17639c52ac49c5d8e5"
	common := webhook.Request{
		Resource: "pods", Operation: "CONNECT",
		Namespace: "shop", Pod: "cart-0", Name: "cart-0",
		User: "alice@example.com", Groups: []string{"devs", "system:authenticated"},
		Extra:       map[string][]string{"authentication.kubernetes.io/credential-id": {credential}},
		Credentials: []string{credential},
	}
	for name, change := range map[string]func(*webhook.Request){
		"exec": func(r *webhook.Request) {
			r.Door, r.Container, r.Command = "exec", "main", []string{"sh", "-c", "echo deny-me"}
			r.Stdout, r.Stderr = true, true
		},
		"exec-tty": func(r *webhook.Request) {
			r.Door, r.Container, r.Command, r.Pod, r.Name = "exec", "main", []string{"sh"}, "cart-host", "cart-host"
			r.Stdin, r.Stdout, r.TTY = true, true, true
		},
		"attach": func(r *webhook.Request) {
			r.Door, r.Container, r.Stdout, r.Stderr = "attach", "main", true, true
		},
		"portforward": func(r *webhook.Request) { r.Door = "portforward" },
		"debug": func(r *webhook.Request) {
			r.Door, r.Operation, r.PodUID = "ephemeralcontainers", "UPDATE", "6b5f7c39-9d53-4d62-a0a9-3a4f0b6a4c11"
			r.Container, r.Command, r.Stdin, r.TTY = "debugger-2", []string{"sh", "-c", "id"}, true, true
			r.NewContainers = []webhook.NewContainer{{
				Name: "debugger-2", Image: "busybox:2", Command: []string{"sh", "-c", "id"}, Target: "main", Stdin: true, TTY: true,
			}}
		},
		"pod-proxy": func(r *webhook.Request) {
			r.Door, r.Name, r.Path = "proxy", "https:cart-0:8443", "/admin//x/../y/"
		},
		"service-proxy": func(r *webhook.Request) {
			r.Resource, r.Door, r.Name, r.Path = "services", "proxy", "http:cart:web", "/admin"
			r.Pod, r.Service = "", "cart"
		},
		"node-proxy": func(r *webhook.Request) {
			r.Resource, r.Door, r.Name, r.Path = "nodes", "exec", "https:node1:10250", "/run/shop/cart-0/main"
			r.Node, r.Container = "node1", "main"
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := judged(t, sample(t, name)), common
			change(&want)
			want.ID, want.Session = got.ID, got.Session
			if want.Subresource = want.Door; want.Resource == "nodes" {
				want.Subresource = "proxy"
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCallers(t *testing.T) {
	extra := map[string]any{
		"authentication.kubernetes.io/pod-uid":       []string{"0f1e"},
		"authentication.kubernetes.io/credential-id": []string{"JTI=1", "JTI=2"},
	}
	r := judged(t, edit(t, "request.userInfo.extra", extra))
	if r.CallerPod != "0f1e" || !cmp.Equal(r.Credentials, []string{"JTI=1", "JTI=2"}) {
		t.Errorf("judged %+v", r)
	}
}

func TestProxiedNames(t *testing.T) {
	for name, want := range map[string]string{
		"web-0": "web-0", "web-0:443": "web-0", "https:web-0:443": "web-0", "https:web-0:": "web-0", "http:web-0:http": "web-0", "web-0:": "web-0",
		":web-0:443": "web-0", "h2c:web-0:443": "web-0",
		// No API server finds anything by these.
		"a:b:c:d": "a:b:c:d", ":443": ":443", "https::443": "https::443",
	} {
		body := edit(t, "request", map[string]any{
			"uid": "u", "resource": map[string]any{"version": "v1", "resource": "pods"}, "subResource": "proxy", "operation": "CONNECT",
			"namespace": "shop", "name": name, "object": map[string]any{"kind": "PodProxyOptions"},
		})
		if r := judged(t, body); r.Pod != want || r.Name != name {
			t.Errorf("%q is judged as pod %q", name, r.Pod)
		}
	}
}

// An attacker who makes a pod that is large and dear to write in JSON must not get past the gate with it.
func TestTheLargestPodIsJudged(t *testing.T) {
	large := make([]byte, 3<<20)
	for i := range large {
		large[i] = '<' // six characters of JSON
	}
	pod := map[string]any{
		"kind": "Pod", "metadata": map[string]any{"uid": "0f1e"},
		"spec": map[string]any{"containers": []any{map[string]any{"args": []string{string(large)}}}},
	}
	body := edit(t, "request", map[string]any{
		"uid": "u", "resource": map[string]any{"version": "v1", "resource": "pods"}, "subResource": "ephemeralcontainers", "operation": "UPDATE",
		"namespace": "shop", "name": "web-0", "object": pod, "oldObject": pod,
	})
	if r := judged(t, body); r.PodUID != "0f1e" {
		t.Errorf("%d bytes are judged as %+v", len(body), r)
	}
}
