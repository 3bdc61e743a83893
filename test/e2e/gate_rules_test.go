//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// Rules of the steps about the gate. Each is about a word that is typed there and nowhere else.
const (
	ruleShut = "e2e-shut" // quarantine the pod
	ruleDeny = "e2e-deny" // refuse the very exec
	ruleKill = "e2e-kill" // end the session
	ruleUser = "e2e-user" // quarantine whoever asked for the session
)

// gateRules are a ConfigMap with them.
func gateRules() string {
	var b strings.Builder
	b.WriteString(`
apiVersion: v1
kind: Namespace
metadata: {name: ` + harness.Namespace + `}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: e2e-rules, namespace: ` + harness.Namespace + `}
data:
`)
	for _, r := range []struct{ name, spec string }{
		{ruleShut, `
  query: |
    any where kubernetes.audit.objectRef.subresource == "exec" and kubernetes.audit.requestURI like "*command=e2e-shut*" and
      kubernetes.audit.stage in ("ResponseStarted", "ResponseComplete")
  response: {quarantine: {subject: pod, duration: 10m}}`},
		{ruleDeny, `
  query: |
    any where kubernetes.audit.objectRef.subresource == "exec" and kubernetes.audit.requestURI like "*command=e2e-deny*"
  response: {deny: true}`},
		{ruleKill, `
  mode: enforce
  query: |
    process where event.type == "start" and event.action == "exec" and process.args == "e2e-kill"
  response: {killSession: true}`},
		{ruleUser, `
  mode: enforce
  query: |
    process where event.type == "start" and event.action == "exec" and process.args == "e2e-user"
  response: {quarantine: {subject: user, duration: 10m}}`},
	} {
		text := `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata:
  name: ` + r.name + `
spec:
  title: A rule of the end-to-end test
  description: A rule of the end-to-end test.
  severity: low
  riskScore: 1` + r.spec + "\n"
		b.WriteString("  " + r.name + ".yaml: |\n    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n")
	}
	return b.String()
}

// says runs a word in a pod.
func (w *world) says(t *testing.T, v victim, word string) harness.Result {
	t.Helper()
	r, err := w.mallory.Run(step(t), "kubectl", "exec", "-n", v.namespace, v.name, "--", "echo", word)
	w.check(t, err)
	return r
}

// label sets the mode of a namespace; "" takes the label away.
func (w *world) label(t *testing.T, namespace, mode string) {
	t.Helper()
	label := "portcullis.dev/mode=" + mode
	if mode == "" {
		label = "portcullis.dev/mode-"
	}
	_, err := w.Admin().Must(step(t), "kubectl", "label", "namespace", namespace, "--overwrite", label)
	w.check(t, err)
}
