//go:build e2e

package e2e

import (
	"encoding/json"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// testBlind takes the agent away for a while. Everybody is told: whoever asks for it, and whoever reads a
// detection that may lack something for it.
func testBlind(t *testing.T, w *world) {
	w.awaitDoctor(t, 0, false)
	w.scheduleAgents(t, `{"portcullis.dev/test": "nowhere"}`)
	w.awaitDoctor(t, 1, true)
	w.scheduleAgents(t, `null`)
	w.awaitDoctor(t, 0, false)

	caught := w.deploy(t, "web-0", "blind")[0]
	shell := w.shell(t, caught)
	w.enter(t, shell, "TOKEN=$(<"+tokenFile+"); "+curl("curl", "/api/v1/namespaces/blind/configmaps"), "HTTP 200")
	d := w.await(t, ruleToken, caught)
	said := d.Document.Portcullis.Detection.Coverage
	ofNode := false
	for _, h := range said.Holes {
		ofNode = ofNode || h.Source == "agent/node1"
	}
	if said.Status != "holes" || !ofNode {
		t.Errorf("the detection does not say that its node was not seen for a part of its time: %+v", said)
	}
}

// scheduleAgents sets the label that a node must have for an agent, null for none.
func (w *world) scheduleAgents(t *testing.T, selector string) {
	t.Helper()
	patch := `{"spec":{"template":{"spec":{"nodeSelector":{"portcullis.dev/test":null}}}}}`
	if selector != "null" {
		patch = `{"spec":{"template":{"spec":{"nodeSelector":` + selector + `}}}}`
	}
	_, err := w.Admin().Must(step(t), "kubectl", "patch", "daemonset", "portcullis-agent", "-n", harness.Namespace, "--type=merge", "-p", patch)
	w.check(t, err)
}

// awaitDoctor asks until the exit status is as it should be, and so is what is said of the node: that it is blind,
// or less than that (how much of it is seen depends on the kernel).
func (w *world) awaitDoctor(t *testing.T, code int, blind bool) {
	t.Helper()
	ctx := step(t)
	for {
		r, err := w.Admin().Run(ctx, "portcullisctl", "doctor", "-o", "json")
		if err != nil {
			plain, _ := w.Admin().Run(t.Context(), "portcullisctl", "doctor")
			t.Logf("portcullisctl doctor says\n%s%s", plain.Stdout, plain.Stderr)
		}
		w.check(t, err)
		var report struct {
			Checks []struct {
				Check, State string
			}
		}
		w.check(t, json.Unmarshal([]byte(r.Stdout), &report))
		failed := false
		for _, c := range report.Checks {
			failed = failed || c.Check == "node node1" && c.State == "fail"
		}
		if r.Code == code && failed == blind {
			return
		}
	}
}
