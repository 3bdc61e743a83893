//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// ruleReloaded is a rule that the installation does not begin with.
const ruleReloaded = "exec-into-reloaded"

// reloadedRule is its text.
const reloadedRule = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata:
  name: ` + ruleReloaded + `
spec:
  title: Exec into the namespace reloaded
  description: A rule of the end-to-end test.
  severity: low
  riskScore: 1
  query: |
    any where kubernetes.audit.objectRef.subresource == "exec" and
      kubernetes.audit.objectRef.namespace == "reloaded" and
      kubernetes.audit.stage in ("ResponseStarted", "ResponseComplete")
`

// testReload adds a rule to the installation as the chart's README says, and then
// breaks its file. The server's pod stays the same, and when it is killed, its successor
// has the same rules.
func testReload(t *testing.T, w *world) {
	pods := w.deploy(t, "web-0", "reloaded")
	before, first := w.server(t), pods[0]

	w.setRule(t, reloadedRule)
	w.check(t, w.Admin().AwaitLog(step(t), harness.Namespace, "statefulset/portcullis", "names=["+ruleReloaded+"]"))
	w.quietly(t, first, "true")
	w.await(t, ruleReloaded, first)
	w.awaitEvent(t, "RulesChanged", "in force")

	w.setRule(t, strings.Replace(reloadedRule, "subresource ==", "subresuorce ==", 1))
	w.awaitEvent(t, "RulesRefused", "reloaded.yaml:11:15")
	second := w.deploy(t, "web-1", "reloaded")[0]
	w.quietly(t, second, "true")
	w.await(t, ruleReloaded, second)
	if after := w.server(t); after != before {
		t.Errorf("the server's pod was %s and is %s", before, after)
	}

	w.killServer(t)
	w.check(t, w.Admin().AwaitLog(step(t), harness.Namespace, "statefulset/portcullis", "before the start go on"))
	third := w.deploy(t, "web-2", "reloaded")[0]
	w.quietly(t, third, "true")
	w.await(t, ruleReloaded, third)

	before = w.server(t)
	w.setRule(t, reloadedRule)
	w.check(t, w.Admin().AwaitLog(step(t), harness.Namespace, "statefulset/portcullis", "added=0 changed=0 removed=0"))
	if after := w.server(t); after != before {
		t.Errorf("the server's pod was %s and is %s", before, after)
	}
}

// setRule makes a text the one rule file of the release's own.
func (w *world) setRule(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "reloaded.yaml")
	w.check(t, os.WriteFile(path, []byte(text), 0o600))
	_, err := w.Admin().Must(step(t), "helm", "upgrade", "portcullis", filepath.Join(w.Root, "charts", "portcullis"),
		"--namespace", harness.Namespace, "--reuse-values", "--set-file", `ruleFiles.reloaded\.yaml=`+path)
	w.check(t, err)
	// A kubelet looks after its pods' ConfigMaps once a minute, and whenever a pod changes.
	_, err = w.Admin().Must(step(t), "kubectl", "annotate", "pod", "portcullis-0", "-n", harness.Namespace,
		"--overwrite", fmt.Sprintf("e2e.example.com/looked=%d", time.Now().UnixNano()))
	w.check(t, err)
}

// server tells the server's containers apart, restarted ones too.
func (w *world) server(t *testing.T) string {
	t.Helper()
	r, err := w.Admin().Must(step(t), "kubectl", "get", "pod", "portcullis-0", "-n", harness.Namespace,
		"-o", "jsonpath={.metadata.uid} {.status.containerStatuses[*].containerID}")
	w.check(t, err)
	return r.Stdout
}

// awaitEvent waits for an Event on the server's pod.
func (w *world) awaitEvent(t *testing.T, reason, note string) {
	t.Helper()
	ctx := step(t)
	for {
		r, err := w.Admin().Must(ctx, "kubectl", "get", "events", "-n", harness.Namespace,
			"--field-selector", "involvedObject.name=portcullis-0,reason="+reason, "-o", "jsonpath={.items[*].message}")
		w.check(t, err)
		if strings.Contains(r.Stdout, note) {
			return
		}
	}
}
