//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// downDoors are those that the API server's own policy judges.
func downDoors(v victim) []request {
	pod := "/api/v1/namespaces/" + v.namespace + "/pods/" + v.name
	return []request{
		v.execRequest(), get(pod + "/attach?stdout=true"), get(pod + "/portforward?ports=80"), get(pod + "/proxy/"),
		{
			"PATCH", pod + "/ephemeralcontainers",
			`{"spec":{"ephemeralContainers":[{"name":"debugger","image":"localhost/shell:1","imagePullPolicy":"Never","command":["true"]}]}}`,
			"application/strategic-merge-patch+json",
		},
	}
}

// testDown ends every process of Portcullis. Who is in quarantine stays out, and everybody else gets in.
func testDown(t *testing.T, w *world) {
	pods := w.deploy(t, "web-0", "down", "up")
	shut, twin := pods[0], pods[1]
	mallory := w.personOf(t, w.mallory)
	alice, oscar, glass := w.person(t, "alice", "devs"), w.person(t, "oscar", "contractors"), w.person(t, "gloria", breakGlass)

	w.quarantine(t, "down-pod", shut.subject())
	w.quarantine(t, "down-user", `{kind: User, name: oscar}`)
	w.awaitVerdict(t, mallory, nodeDoors(shut)[0], "down-pod")
	w.awaitVerdict(t, oscar, twin.execRequest(), "down-user")
	w.awaitMirrors(t, "down-pod", "down-user")

	w.stop(t)
	expect := func(t *testing.T) {
		t.Helper()
		for _, r := range append(downDoors(shut), nodeDoors(shut)...) {
			w.expectRefused(t, mallory, r, "down-pod")
		}
		for _, r := range downDoors(twin) {
			w.expectRefused(t, oscar, r, "down-user")
		}
		for _, r := range nodeDoors(twin) { // The node's are shut by either.
			w.expectRefused(t, oscar, r, "down-user", "down-pod")
		}
		w.expectOpen(t, glass, shut.execRequest())
		for _, r := range downDoors(twin) {
			w.expectOpen(t, alice, r)
		}
	}
	t.Run("no process is left", func(t *testing.T) {
		expect(t)
		r, err := w.mallory.Run(step(t), "kubectl", "exec", "-n", shut.namespace, shut.name, "--", "true")
		w.check(t, err)
		for _, says := range []string{"pod down/web-0", "until it is released", "written by hand for down-pod"} {
			if !strings.Contains(r.Stderr, says) {
				t.Errorf("the refusal does not say %q: %s", says, r.Stderr)
			}
		}
		w.expectAllowed(t, twin)
		for _, who := range []person{alice, glass} {
			_, err = who.Must(step(t), "kubectl", "exec", "-n", twin.namespace, twin.name, "--", "true")
			w.check(t, err)
		}
	})
	t.Run("made by hand now", func(t *testing.T) {
		w.quarantine(t, "made-while-down", `{kind: User, name: mallory}`, `  expiresAt: "2020-01-01T00:00:00Z"`)
		w.awaitVerdict(t, mallory, twin.execRequest(), "made-while-down")
		if got := w.ask(t, mallory, twin.execRequest()); !strings.Contains(got.Body, "until 2020-01-01T00:00:00Z, or until Portcullis is back") {
			t.Errorf("the refusal does not say that nobody looks at the clock: %s", got.Body)
		}
		w.release(t, "made-while-down")
		w.awaitVerdict(t, mallory, twin.execRequest(), "")
	})
	t.Run("after a restart of the API server", func(t *testing.T) {
		w.check(t, w.RestartAPIServer(step(t)))
		expect(t)
	})
	t.Run("release", func(t *testing.T) {
		for _, name := range []string{"down-pod", "down-user"} {
			w.release(t, name)
		}
		w.awaitVerdict(t, mallory, shut.execRequest(), "")
		w.awaitVerdict(t, oscar, twin.execRequest(), "")
	})
	w.start(t)
	w.expectAllowed(t, shut)
}

// awaitMirrors waits until the quarantines are mirrored.
func (w *world) awaitMirrors(t *testing.T, names ...string) {
	t.Helper()
	ctx := step(t)
	for {
		r, err := w.Admin().Must(ctx, "kubectl", "get", "limitranges", "-n", harness.Namespace, "-l", "portcullis.dev/quarantine=true", "-o", "yaml")
		w.check(t, err)
		missing := 0
		for _, name := range names {
			if !strings.Contains(r.Stdout, ": "+name+"\n") {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
}

// stop ends every process of Portcullis.
func (w *world) stop(t *testing.T) {
	t.Helper()
	w.scheduleAgents(t, `{"portcullis.dev/test": "nowhere"}`)
	_, err := w.Admin().Must(step(t), "kubectl", "scale", "statefulset/portcullis", "-n", harness.Namespace, "--replicas=0")
	w.check(t, err)
	_, err = w.Admin().Must(step(t), "kubectl", "wait", "--for=delete", "pods", "--all", "-n", harness.Namespace, "--timeout=120s")
	w.check(t, err)
}

// start brings it back.
func (w *world) start(t *testing.T) {
	t.Helper()
	_, err := w.Admin().Must(step(t), "kubectl", "scale", "statefulset/portcullis", "-n", harness.Namespace, "--replicas=1")
	w.check(t, err)
	w.scheduleAgents(t, "null")
	_, err = w.Admin().Must(step(t), "kubectl", "rollout", "status", "statefulset/portcullis", "-n", harness.Namespace, "--timeout=120s")
	w.check(t, err)
	w.awaitDoctor(t, 0, false)
}
