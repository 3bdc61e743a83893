//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// testRelease looks who is told that somebody let a pod out, and by whom it was.
func testRelease(t *testing.T, w *world) {
	v := w.deploy(t, "web-2", "enforced")[0]
	w.label(t, v.namespace, "enforce")
	w.says(t, v, ruleShut)
	w.await(t, ruleShut, v)
	w.expectDenied(t, v, ruleShut)
	w.release(t, "pod-"+v.UID)
	w.expectReleased(t, v)
	note := w.awaitPodEvent(t, v, "PortcullisReleased", "pod-"+v.UID)
	if !strings.Contains(note, `by user "kubernetes-admin"`) {
		t.Errorf("the Event says %s", note)
	}
}
