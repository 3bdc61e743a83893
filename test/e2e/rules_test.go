//go:build e2e

package e2e

import (
	"testing"
	"time"
)

// The names of the shipped rules.
const (
	ruleForbidden       = "forbidden-api-request-interactive"
	ruleCommonUtility   = "api-request-common-utilities"
	ruleUnusualUtility  = "api-request-unusual-utilities"
	ruleToken           = "token-access-then-api-request"
	ruleExec            = "exec-into-pod"
	ruleInteractiveExec = "interactive-exec-into-container"
	ruleReusedID        = "audit-id-reused"
)

// testRules makes each of the shipped rules fire for its real cause, after a
// near miss of it on another pod, mostly one of the same name next door.
func testRules(t *testing.T, w *world) {
	for name, test := range map[string]func(*testing.T, *world){
		ruleForbidden:       testForbidden,
		ruleCommonUtility:   testCommonUtility,
		ruleUnusualUtility:  testUnusualUtility,
		ruleToken:           testToken,
		ruleExec:            testExec,
		ruleInteractiveExec: testInteractiveExec,
		ruleReusedID:        testReusedID,
	} {
		t.Run(name, func(t *testing.T) { test(t, w) })
	}
}

func testForbidden(t *testing.T, w *world) {
	pods := w.deploy(t, "web-0", "shop", "billing", "crm", "hr")
	fires, twin, silent, allowed := pods[0], pods[1], pods[2], pods[3]
	secrets := func(v victim) string { return "/api/v1/namespaces/" + v.namespace + "/secrets" }

	// The wrong pod of the same name, at the same moment: an interactive curl
	// runs in one pod again and again, while another pod, of the same name, makes
	// a forbidden call without a terminal.
	shell := w.shell(t, twin)
	w.enter(t, shell, `while sleep 0.2; do curl -s -o /dev/null http://127.0.0.1:9; echo round-$((++n)); done`, "round-2")
	w.quietly(t, silent, "TOKEN=$(<"+tokenFile+"); "+curl("curl", secrets(silent)))
	w.check(t, shell.Expect(step(t), "round-4"))
	w.enter(t, shell, "\x03", prompt)

	// Allowed instead of forbidden.
	w.enter(t, w.shell(t, allowed), "TOKEN=$(<"+tokenFile+"); "+curl("curl", "/api/v1/namespaces/hr/configmaps"), "HTTP 200")

	w.forbiddenCall(t, fires)
	w.await(t, ruleForbidden, fires)
	for _, quiet := range []victim{twin, silent, allowed} {
		w.expectQuiet(t, ruleForbidden, quiet)
	}
	w.expectOnce(t, ruleForbidden, fires)
}

func testCommonUtility(t *testing.T, w *world) {
	pods := w.deploy(t, "web-1", "shop", "billing")
	fires, silent := pods[0], pods[1]
	line := "TOKEN=$(<" + tokenFile + "); " + curl("curl", "/api/v1/namespaces/shop/configmaps")

	// Not interactive: the same command without a terminal.
	w.quietly(t, silent, line)

	w.enter(t, w.shell(t, fires), line, "HTTP 200")
	w.await(t, ruleCommonUtility, fires)
	w.expectQuiet(t, ruleCommonUtility, silent)
}

func testUnusualUtility(t *testing.T, w *world) {
	pods := w.deploy(t, "web-2", "shop", "billing")
	fires, late := pods[0], pods[1]

	// Too late for maxspan: the utility starts, and makes its call only when the
	// URL is typed, more than the second later that the rule allows.
	w.quietly(t, late, `cp "$(command -v curl)" /tmp/fetch`)
	shell := w.shell(t, late)
	w.check(t, shell.Type("TOKEN=$(<"+tokenFile+")\n/tmp/fetch -sk -o /dev/null -w 'HTTP %{http_code}\\n' -H \"Authorization: Bearer $TOKEN\" -K -\n"))
	<-time.After(2500 * time.Millisecond) // the passing of time is what is tested
	w.enter(t, shell, "url = https://"+w.apiServerAddress(t)+"/api/v1/namespaces/billing/configmaps\n\x04", "HTTP 200")

	w.quietly(t, fires, `cp "$(command -v curl)" /tmp/fetch`)
	w.enter(t, w.shell(t, fires), "TOKEN=$(<"+tokenFile+"); "+curl("/tmp/fetch", "/api/v1/namespaces/shop/configmaps"), "HTTP 200")
	w.await(t, ruleUnusualUtility, fires)
	w.expectQuiet(t, ruleUnusualUtility, late)
}

func testToken(t *testing.T, w *world) {
	pods := w.deploy(t, "web-3", "shop", "billing", "crm")
	fires, reader, caller := pods[0], pods[1], pods[2]
	call := "TOKEN=$(<" + tokenFile + "); " + curl("curl", "/api/v1/namespaces/crm/configmaps")

	// One pod reads its token interactively and calls nobody; another one, of
	// the same name, calls the API server and has no terminal.
	w.enter(t, w.shell(t, reader), "cat "+tokenFile+" | wc -c; echo read-$((1+1))", "read-2")
	w.quietly(t, caller, call)

	w.enter(t, w.shell(t, fires), "cat "+tokenFile+" | wc -c; echo read-$((1+1))", "read-2")
	w.quietly(t, fires, call)
	w.await(t, ruleToken, fires)
	w.expectQuiet(t, ruleToken, reader)
	w.expectQuiet(t, ruleToken, caller)
}

func testExec(t *testing.T, w *world) {
	pods := w.deploy(t, "web-4", "shop", "billing")
	fires, refused := pods[0], pods[1]

	// Refused by RBAC: nobody got in.
	eve, err := w.User(step(t), "eve", "visitors")
	w.check(t, err)
	r, err := eve.Run(step(t), "kubectl", "exec", "-n", refused.namespace, refused.name, "--", "true")
	w.check(t, err)
	if r.Code == 0 {
		t.Fatal("eve, who has no rights, got in")
	}

	// An excluded workload: the rule knows that managed control planes ask this
	// very container this very question.
	excluded := w.konnectivityAgent(t)
	_, err = w.mallory.Run(step(t), "kubectl", "exec", "-n", excluded.namespace, excluded.name, "-c", "konnectivity-agent", "--", "/proxy-agent", "--help")
	w.check(t, err)

	w.quietly(t, fires, "true")
	d := w.await(t, ruleExec, fires)
	if d.Document.User.Name != "mallory" {
		t.Errorf("the detection names the user %q, want mallory", d.Document.User.Name)
	}
	w.expectQuiet(t, ruleExec, refused)
	w.expectQuiet(t, ruleExec, excluded)
	w.expectOnce(t, ruleExec, fires) // two stages of one request are one hit
}

func testInteractiveExec(t *testing.T, w *world) {
	pods := w.deploy(t, "web-5", "shop", "billing")
	fires, silent := pods[0], pods[1]

	w.quietly(t, silent, "true") // a shell, with no terminal

	w.shell(t, fires)
	w.await(t, ruleInteractiveExec, fires)
	w.expectQuiet(t, ruleInteractiveExec, silent)
}

// testReusedID hides a forbidden request behind a harmless one, by giving both the same audit ID.
func testReusedID(t *testing.T, w *world) {
	pods := w.deploy(t, "web-6", "shop", "billing")
	fires, honest := pods[0], pods[1]
	call := func(id, path string) string { return curl("curl -H 'Audit-ID: "+id+"'", path) }

	w.quietly(t, honest, "TOKEN=$(<"+tokenFile+"); "+call("one", "/api/v1/namespaces/billing/configmaps")+"; "+
		call("two", "/api/v1/namespaces/billing/secrets"))

	shell := w.shell(t, fires)
	w.enter(t, shell, "TOKEN=$(<"+tokenFile+"); "+call("mine", "/api/v1/namespaces/shop/configmaps"), "HTTP 200")
	w.enter(t, shell, call("mine", "/api/v1/namespaces/shop/secrets"), "HTTP 403")
	w.await(t, ruleReusedID, fires)
	w.await(t, ruleForbidden, fires) // It was not taken for the other one, either.
	w.expectQuiet(t, ruleReusedID, honest)
	w.expectOnce(t, ruleReusedID, fires)
}

// konnectivityAgent starts a pod that an exception of the exec rule is about.
func (w *world) konnectivityAgent(t *testing.T) victim {
	t.Helper()
	ctx := step(t)
	const name = "konnectivity-agent-0"
	w.check(t, w.Deploy(ctx, `
apiVersion: v1
kind: Pod
metadata: {name: `+name+`, namespace: kube-system}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: konnectivity-agent, image: "localhost/shell:1", imagePullPolicy: Never, command: [sleep, infinity]}
`))
	pod, err := w.Admin().Pod(ctx, "kube-system", name)
	w.check(t, err)
	return victim{"kube-system", name, pod}
}
