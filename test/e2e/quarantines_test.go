//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// subject is one of a quarantine, as people write it in YAML.
func (v victim) subject() string {
	return fmt.Sprintf(`{kind: Pod, uid: %s, namespace: %s, name: %s}`, v.UID, v.namespace, v.name)
}

// quarantine makes one by hand-written YAML, and takes it away at the end of the test.
func (w *world) quarantine(t *testing.T, name, subject string, more ...string) {
	t.Helper()
	w.check(t, w.Admin().Apply(step(t), `
apiVersion: portcullis.dev/v1alpha1
kind: Quarantine
metadata: {name: `+name+`}
spec:
  subject: `+subject+`
  reason: written by hand for `+name+`
`+strings.Join(more, "\n")))
	w.releaseAtEnd(t, name)
}

// releaseAtEnd deletes a quarantine when the test has ended.
func (w *world) releaseAtEnd(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit) // The test's own is over.
		defer cancel()
		if _, err := w.Admin().Must(ctx, "kubectl", "delete", "quarantine", name, "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	})
}

// release deletes one as anybody does.
func (w *world) release(t *testing.T, name string) {
	t.Helper()
	_, err := w.Admin().Must(step(t), "kubectl", "delete", "quarantine", name)
	w.check(t, err)
}

// refusedBy reports whether a text is the refusal by a quarantine of that name, whichever bolt of the gate it is of: the
// API server's policy or the webhook.
func refusedBy(text, name string) bool {
	return strings.Contains(text, "quarantined") && strings.Contains(text, "kubectl delete quarantine "+name)
}

// execRequest is the plainest way to ask for an exec. Who is let in is told that more is needed to begin.
func (v victim) execRequest() request {
	return get("/api/v1/namespaces/" + v.namespace + "/pods/" + v.name + "/exec?command=true&stdout=true")
}

// expectRefused wants the refusal by a quarantine, one of the names.
func (w *world) expectRefused(t *testing.T, who person, r request, names ...string) {
	t.Helper()
	got := w.ask(t, who, r)
	if got.Code != http.StatusForbidden || !slices.ContainsFunc(names, func(name string) bool { return refusedBy(got.Body, name) }) {
		t.Errorf("%s: %s was not refused by quarantine %s: %d %s", who.Name, r, strings.Join(names, " or "), got.Code, got.Body)
	}
}

// expectOpen wants anything but a refusal.
func (w *world) expectOpen(t *testing.T, who person, r request) {
	t.Helper()
	if got := w.ask(t, who, r); got.Code == http.StatusForbidden || got.Code >= 500 && strings.Contains(got.Body, "portcullis") {
		t.Errorf("%s: %s was refused: %d %s", who.Name, r, got.Code, got.Body)
	}
}

// awaitVerdict asks until a request is refused by the quarantine, or by none if the name is empty: a
// change travels through watches.
func (w *world) awaitVerdict(t *testing.T, who person, r request, name string) {
	t.Helper()
	ctx := step(t)
	for {
		got, err := who.http.Do(ctx, r.method, r.path, r.body, nil)
		if err != nil {
			w.check(t, fmt.Errorf("%s: it is not that quarantine %q refuses %s: %w", who.Name, name, r, err))
		}
		if refused := got.Code == http.StatusForbidden; refused && name != "" && refusedBy(got.Body, name) || !refused && name == "" {
			return
		}
	}
}

// awaitPodEvent waits for a Kubernetes Event on a pod, and returns what it says.
func (w *world) awaitPodEvent(t *testing.T, v victim, reason, says string) string {
	t.Helper()
	ctx := step(t)
	for {
		r, err := w.Admin().Run(ctx, "kubectl", "get", "events", "-n", v.namespace,
			"--field-selector", "involvedObject.uid="+v.UID+",reason="+reason, "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)
		if err != nil {
			w.check(t, fmt.Errorf("no Event %s on %s/%s says %q: %w", reason, v.namespace, v.name, says, err))
		}
		for note := range strings.Lines(r.Stdout) {
			if strings.Contains(note, says) {
				return note
			}
		}
	}
}

// settle waits until the audit stream has told of everything so far: of an exec that is let in now, last.
func (w *world) settle(t *testing.T, v victim) {
	t.Helper()
	since := time.Now()
	w.quietly(t, v, "true")
	_, err := w.detections.Await(step(t), func(d harness.Detection) bool { return of(ruleExec, v)(d) && d.Arrived.After(since) })
	w.check(t, err)
}

// field finds a text in a JSON document.
func field(t *testing.T, document string, path ...string) string {
	t.Helper()
	var at any
	if err := json.Unmarshal([]byte(document), &at); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	for _, name := range path {
		object, _ := at.(map[string]any)
		at = object[name]
	}
	text, ok := at.(string)
	if !ok {
		t.Fatalf("there is no %s in %s", strings.Join(path, "."), document)
	}
	return text
}
