//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// testRestart ends the server's process without notice between the two halves of an attack, and
// again between the detection and the next exec. Nothing of it is forgotten, and nothing comes twice.
func testRestart(t *testing.T, w *world) {
	pods := w.deploy(t, "web-0", "restarted", "released")
	caught, released := pods[0], pods[1]
	call := func(v victim) string {
		return "TOKEN=$(<" + tokenFile + "); " + curl("curl", "/api/v1/namespaces/"+v.namespace+"/configmaps")
	}
	w.check(t, w.Upgrade(step(t), "config.rules."+ruleToken+".mode=enforce"))

	shells := []*harness.Terminal{w.shell(t, caught), w.shell(t, released)}
	for i := range pods {
		w.enter(t, shells[i], "cat "+tokenFile+" | wc -c; echo read-$((1+1))", "read-2")
		w.await(t, ruleInteractiveExec, pods[i]) // By then the agent has delivered what came before.
	}
	w.killServer(t)
	for i, v := range pods {
		w.enter(t, shells[i], call(v), "HTTP 200")
	}
	for _, v := range pods {
		if d := w.await(t, ruleToken, v); d.Document.Portcullis.Detection.Action != "quarantine" {
			t.Errorf("the action is %q (%s)", d.Document.Portcullis.Detection.Action, d.Document.Portcullis.Detection.Why)
		}
	}
	w.expectDenied(t, caught, ruleToken)

	_, err := w.Admin().Must(step(t), "portcullisctl", "quarantine", "release", "pod-"+released.UID)
	w.check(t, err)
	w.expectReleased(t, released)
	w.killServer(t)
	w.expectDenied(t, caught, ruleToken)
	w.expectAllowed(t, released)
	for _, v := range pods {
		w.expectOnce(t, ruleToken, v)
	}
	_, err = w.Admin().Must(step(t), "kubectl", "delete", "quarantines", "--all")
	w.check(t, err)
}

// killServer ends the server's pod as the kernel does, and waits until its successor is ready.
func (w *world) killServer(t *testing.T) {
	t.Helper()
	before := w.server(t)
	_, err := w.Admin().Must(step(t), "kubectl", "delete", "pod", "portcullis-0", "-n", harness.Namespace, "--grace-period=0", "--force")
	w.check(t, err)
	begin := time.Now()
	for after := before; after == before || after == ""; {
		r, failed := w.Admin().Run(step(t), "kubectl", "get", "pod", "portcullis-0", "-n", harness.Namespace, "-o", "jsonpath={.metadata.uid} {.status.containerStatuses[*].containerID}")
		w.check(t, failed)
		if r.Code == 0 {
			after = strings.TrimSpace(r.Stdout)
		}
	}
	_, err = w.Admin().Must(step(t), "kubectl", "rollout", "status", "statefulset/portcullis", "-n", harness.Namespace, "--timeout=120s")
	w.check(t, err)
	t.Logf("the server's successor is ready %s after the deletion", time.Since(begin).Round(time.Millisecond))
}
