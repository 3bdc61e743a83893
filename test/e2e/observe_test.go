//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// testObserve lets rules only tell, and has namespaces overrule that. The server's mode is what the chart's
// default says: observe.
func testObserve(t *testing.T, w *world) {
	pods := w.deploy(t, "web-0", "observed", "enforced", "held-back")
	observed, enforced, held := pods[0], pods[1], pods[2]
	w.label(t, enforced.namespace, "enforce")
	w.label(t, held.namespace, "observe")

	t.Run("observe", func(t *testing.T) {
		w.says(t, observed, ruleShut)
		d := w.await(t, ruleShut, observed).Document.Portcullis.Detection
		if d.Action != "would-quarantine" {
			t.Errorf("the action is %q (%s)", d.Action, d.Why)
		}
		note := w.awaitPodEvent(t, observed, "PortcullisWouldQuarantine", ruleShut)
		if !strings.Contains(note, d.ID) {
			t.Errorf("the Event does not name the detection %s: %s", d.ID, note)
		}
		w.expectAllowed(t, observed)
	})
	t.Run("a namespace enforces", func(t *testing.T) {
		w.releaseAtEnd(t, "pod-"+enforced.UID)
		w.says(t, enforced, ruleShut)
		if d := w.await(t, ruleShut, enforced).Document.Portcullis.Detection; d.Action != "quarantine" {
			t.Errorf("the action is %q (%s)", d.Action, d.Why)
		}
		w.expectDenied(t, enforced, ruleShut)
	})
	t.Run("a namespace observes", func(t *testing.T) { // although the rule's own mode is enforce
		w.says(t, held, ruleKill)
		d := w.await(t, ruleKill, held).Document.Portcullis.Detection
		if d.Action != "would-kill-session" || !strings.Contains(d.Why, held.namespace) {
			t.Errorf("the action is %q (%s)", d.Action, d.Why)
		}
		w.awaitPodEvent(t, held, "PortcullisWouldKillSession", ruleKill)
	})
	t.Run("at admission", func(t *testing.T) { testDeny(t, w, observed) })
}

// testDeny has a rule judge requests at admission.
func testDeny(t *testing.T, w *world, observed victim) {
	refused := w.deploy(t, "web-1", "enforced")[0]
	if r := w.says(t, refused, "anything-else"); r.Code != 0 {
		t.Errorf("an exec that the rule is not about was refused: %s", r.Stderr)
	}
	r := w.says(t, refused, ruleDeny)
	if r.Code == 0 || !strings.Contains(r.Stderr, ruleDeny) {
		t.Errorf("exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	d := w.await(t, ruleDeny, refused).Document.Portcullis.Detection
	if d.Action != "deny" || !strings.Contains(r.Stderr, d.ID) {
		t.Errorf("the action is %q, and the refusal names another detection than %s:\n%s", d.Action, d.ID, r.Stderr)
	}
	w.awaitPodEvent(t, refused, "PortcullisDenied", d.ID)
	if r := w.says(t, refused, "something-else"); r.Code != 0 {
		t.Errorf("an exec that the rule is not about was refused: %s", r.Stderr)
	}

	if r := w.says(t, observed, ruleDeny); r.Code != 0 || r.Stdout != ruleDeny+"\n" {
		t.Errorf("it was not let through where the rule only tells: %d %s", r.Code, r.Stderr)
	}
	if d := w.await(t, ruleDeny, observed).Document.Portcullis.Detection; d.Action != "would-deny" {
		t.Errorf("the action is %q (%s)", d.Action, d.Why)
	}
	w.awaitPodEvent(t, observed, "PortcullisWouldDeny", ruleDeny)

	// kubectl has asked twice, and the audit stream has told of it as well.
	w.settle(t, refused)
	w.settle(t, observed)
	w.expectOnce(t, ruleDeny, refused)
	w.expectOnce(t, ruleDeny, observed)
}
