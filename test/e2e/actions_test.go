//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// victim is a pod that somebody gets into.
type victim struct {
	namespace, name string
	harness.Pod
}

// deploy starts pods of one name, one in each of the namespaces.
func (w *world) deploy(t *testing.T, name string, namespaces ...string) []victim {
	t.Helper()
	return w.deployAs(t, func(namespace, name string) string { return harness.Workload(namespace, name, "web") }, name, namespaces...)
}

// deployAs is deploy for pods of another manifest.
func (w *world) deployAs(t *testing.T, manifest func(namespace, name string) string, name string, namespaces ...string) []victim {
	t.Helper()
	ctx := step(t)
	manifests := make([]string, 0, len(namespaces))
	for _, namespace := range namespaces {
		manifests = append(manifests, manifest(namespace, name))
	}
	w.check(t, w.Deploy(ctx, manifests...))
	victims := make([]victim, 0, len(namespaces))
	for _, namespace := range namespaces {
		pod, err := w.Admin().Pod(ctx, namespace, name)
		w.check(t, err)
		victims = append(victims, victim{namespace, name, pod})
	}
	return victims
}

const (
	tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	// prompt is what the shell's prompt is set to, so that the end of a command can be seen.
	prompt = "portcullis-test$ "
)

// curl is a shell line that calls the API server with the pod's token, by the
// given program, and shows the status.
func curl(program, path string) string {
	return program + ` -sk -o /dev/null -w 'HTTP %{http_code}\n' -H "Authorization: Bearer $TOKEN" https://$KUBERNETES_SERVICE_HOST` + path
}

// shell opens an interactive shell in a pod. The token is in $TOKEN before
// anything is typed that a rule could see, put there by the shell itself.
func (w *world) shell(t *testing.T, v victim) *harness.Terminal {
	t.Helper()
	ctx := step(t)
	shell, err := w.mallory.Terminal(ctx, "exec", "-it", "-n", v.namespace, v.name, "--", "bash", "--norc")
	w.check(t, err)
	t.Cleanup(shell.Close)
	w.check(t, shell.Type("PS1='portcullis-''test$ '\n"))
	w.check(t, shell.Expect(ctx, prompt))
	return shell
}

// enter types a line and waits for what it shows.
func (w *world) enter(t *testing.T, shell *harness.Terminal, line, shows string) {
	t.Helper()
	w.check(t, shell.Type(line+"\n"))
	w.check(t, shell.Expect(step(t), shows))
}

// forbiddenCall is the attack of the first rule: an interactive shell, the
// token, and a call that the API server refuses.
func (w *world) forbiddenCall(t *testing.T, v victim) {
	t.Helper()
	shell := w.shell(t, v)
	w.enter(t, shell, "TOKEN=$(<"+tokenFile+"); "+curl("curl", "/api/v1/namespaces/"+v.namespace+"/secrets"), "HTTP 403")
}

// quietly runs a shell line in a pod without a terminal.
func (w *world) quietly(t *testing.T, v victim, line string) string {
	t.Helper()
	r, err := w.mallory.Must(step(t), "kubectl", "exec", "-n", v.namespace, v.name, "--", "bash", "--norc", "-c", line)
	w.check(t, err)
	return r.Stdout
}

func of(rule string, v victim) func(harness.Detection) bool {
	return func(d harness.Detection) bool {
		return d.Document.Rule.ID == rule && d.Document.Orchestrator.Resource.ID == v.UID
	}
}

// await waits for a rule's detection on a pod.
func (w *world) await(t *testing.T, rule string, v victim) harness.Detection {
	t.Helper()
	d, err := w.detections.Await(step(t), of(rule, v))
	if err != nil {
		err = &missing{rule, v, err}
	}
	w.check(t, err)
	return d
}

type missing struct {
	rule string
	victim
	cause error
}

func (m *missing) Error() string {
	return "rule " + m.rule + " did not fire on " + m.namespace + "/" + m.name + ": " + m.cause.Error()
}

func (m *missing) Unwrap() error { return m.cause }

// expectQuiet fails if a rule has fired on a pod. Call it after the same rule's
// true cause has been seen to fire elsewhere, later: the sources deliver in
// order, so what could have fired before it would have.
func (w *world) expectQuiet(t *testing.T, rule string, v victim) {
	t.Helper()
	for _, d := range w.detections.All() {
		if of(rule, v)(d) {
			t.Errorf("rule %s fired on %s/%s: %s", rule, v.namespace, v.name, d.Raw)
		}
	}
}

// expectOnce fails if a rule has not made exactly one detection on a pod. One that comes again, because more is known of
// it, has the same ID.
func (w *world) expectOnce(t *testing.T, rule string, v victim) {
	t.Helper()
	found := map[string]string{}
	for _, d := range w.detections.All() {
		if of(rule, v)(d) {
			found[d.Document.Portcullis.Detection.ID] = string(d.Raw)
		}
	}
	if len(found) != 1 {
		t.Errorf("rule %s made %d detections on %s/%s, want 1:\n%v", rule, len(found), v.namespace, v.name, found)
	}
}

// expectDenied tries an exec and wants Portcullis' refusal, which names the rule.
func (w *world) expectDenied(t *testing.T, v victim, rule string) string {
	t.Helper()
	r, err := w.mallory.Run(step(t), "kubectl", "exec", "-n", v.namespace, v.name, "--", "true")
	w.check(t, err)
	if r.Code == 0 {
		t.Fatalf("exec into %s/%s was not denied", v.namespace, v.name)
	}
	for _, part := range []string{rule, "kubectl delete quarantine"} {
		if !strings.Contains(r.Stderr, part) {
			t.Errorf("the refusal does not name %q:\n%s", part, r.Stderr)
		}
	}
	return r.Stderr
}

// expectAllowed tries an exec and wants it to succeed.
func (w *world) expectAllowed(t *testing.T, v victim) {
	t.Helper()
	_, err := w.mallory.Must(step(t), "kubectl", "exec", "-n", v.namespace, v.name, "--", "true")
	w.check(t, err)
}

// apiServerAddress is the address under which pods reach the API server.
func (w *world) apiServerAddress(t *testing.T) string {
	t.Helper()
	r, err := w.Admin().Must(step(t), "kubectl", "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
	w.check(t, err)
	return r.Stdout
}
