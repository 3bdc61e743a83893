//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// testDenial lets a rule in enforce mode put a pod into quarantine, looks who is
// denied and who is not, and releases it.
func testDenial(t *testing.T, w *world) {
	ctx := step(t)
	w.check(t, w.Upgrade(ctx, "config.rules."+ruleForbidden+".mode=enforce"))
	w.check(t, w.Admin().AwaitLog(ctx, "portcullis", "statefulset/portcullis", "audit events of an API server are seen"))
	pods := w.deploy(t, "db-0", "shop", "billing")
	caught, twin := pods[0], pods[1]

	w.forbiddenCall(t, caught)
	d := w.await(t, ruleForbidden, caught)
	if got := d.Document.Portcullis.Detection; got.Action != "quarantine" {
		t.Fatalf("the action is %q (%s), want quarantine", got.Action, got.Why)
	}
	if len(d.Document.Portcullis.Detection.Events) != 2 {
		t.Errorf("the detection has %d events, want 2: %s", len(d.Document.Portcullis.Detection.Events), d.Raw)
	}

	refusal := w.expectDenied(t, caught, ruleForbidden)
	if !strings.Contains(refusal, d.Document.Portcullis.Detection.ID) {
		t.Errorf("the refusal does not name the detection %s:\n%s", d.Document.Portcullis.Detection.ID, refusal)
	}
	for door, args := range map[string][]string{
		"attach":       {"attach", "-n", caught.namespace, caught.name},
		"port-forward": {"port-forward", "-n", caught.namespace, caught.name, ":80"},
	} {
		r, err := w.mallory.Run(step(t), "kubectl", args...)
		w.check(t, err)
		if r.Code == 0 || !strings.Contains(r.Stderr, ruleForbidden) {
			t.Errorf("%s was not refused by Portcullis: exit status %d\n%s", door, r.Code, r.Stderr)
		}
	}
	w.expectAllowed(t, twin)

	t.Run("visible", func(t *testing.T) {
		r, err := w.Admin().Must(step(t), "kubectl", "get", "quarantines")
		w.check(t, err)
		if !strings.Contains(r.Stdout, "pod-"+caught.UID) || !strings.Contains(r.Stdout, ruleForbidden) {
			t.Errorf("kubectl get quarantines shows\n%s", r.Stdout)
		}
		r, err = w.Admin().Must(step(t), "portcullisctl", "quarantine", "list")
		w.check(t, err)
		if !strings.Contains(r.Stdout, caught.name) {
			t.Errorf("portcullisctl quarantine list shows\n%s", r.Stdout)
		}
	})
	t.Run("on standard output", func(t *testing.T) {
		w.check(t, w.Admin().AwaitLog(step(t), "portcullis", "statefulset/portcullis", d.Document.Portcullis.Detection.ID))
	})
	t.Run("release", func(t *testing.T) {
		_, err := w.Admin().Must(step(t), "portcullisctl", "quarantine", "release", "pod-"+caught.UID)
		w.check(t, err)
		w.expectReleased(t, caught)
	})
	t.Run("by hand", func(t *testing.T) {
		_, err := w.Admin().Must(step(t), "portcullisctl", "quarantine", "add", "user", "mallory", "--reason", "phished; see the incident channel", "--duration", "10m")
		w.check(t, err)
		r := w.awaitDenied(t, twin)
		if !strings.Contains(r, "phished") {
			t.Errorf("the refusal does not give the reason:\n%s", r)
		}
		_, err = w.Admin().Must(step(t), "kubectl", "delete", "quarantines", "--all")
		w.check(t, err)
		w.expectReleased(t, twin)
	})
}

// expectReleased tries until an exec is let in again: the release travels
// through an informer, so the very next request may still be refused.
func (w *world) expectReleased(t *testing.T, v victim) {
	t.Helper()
	ctx := step(t)
	for {
		r, err := w.mallory.Run(ctx, "kubectl", "exec", "-n", v.namespace, v.name, "--", "true")
		w.check(t, err)
		if r.Code == 0 {
			return
		}
	}
}

// awaitDenied tries until an exec is refused, for the same reason.
func (w *world) awaitDenied(t *testing.T, v victim) string {
	t.Helper()
	ctx := step(t)
	for {
		r, err := w.mallory.Run(ctx, "kubectl", "exec", "-n", v.namespace, v.name, "--", "true")
		w.check(t, err)
		if r.Code != 0 {
			return r.Stderr
		}
	}
}
