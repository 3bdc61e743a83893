//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// doorPod has something behind every door: it prints, and serves HTTP, also by a Service.
func doorPod(namespace, name string) string {
	return strings.Replace(harness.Workload(namespace, name, "web"), "command: [sleep, infinity]",
		`command: [sh, -c, "echo open > /tmp/index.html; busybox httpd -p 8080 -h /tmp; while sleep 0.5; do echo tick; done"]`, 1) + `
---
apiVersion: v1
kind: Service
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec:
  selector: {app: ` + name + `}
  ports: [{port: 8080}]
`
}

// testDoors tries every way into a pod in quarantine, and the same ways into its twin.
func testDoors(t *testing.T, w *world) {
	pods := w.deployAs(t, doorPod, "door-0", "shut", "open")
	shut, twin := pods[0], pods[1]
	mallory := w.personOf(t, w.mallory)
	for _, r := range nodeDoors(shut) { // Else their refusal would prove nothing.
		w.expectOpen(t, mallory, r)
	}

	r, err := w.Admin().Must(step(t), "portcullisctl", "quarantine", "add", "pod", shut.name, "-n", shut.namespace, "--reason", "a test of doors", "-o", "json")
	w.check(t, err)
	name := field(t, r.Stdout, "metadata", "name")
	w.releaseAtEnd(t, name)
	w.awaitVerdict(t, mallory, shut.execRequest(), name)
	w.awaitVerdict(t, mallory, nodeDoors(shut)[0], name) // Its node is known a moment later.

	t.Run("once", func(t *testing.T) { testRefusedOnce(t, w, shut, twin) })
	t.Run("kubectl", func(t *testing.T) { testKubectlDoors(t, w, shut, twin, name) })
	t.Run("plain HTTP", func(t *testing.T) {
		for _, r := range podDoors(shut) {
			w.expectRefused(t, mallory, r, name)
		}
		for _, r := range podDoors(twin) {
			w.expectOpen(t, mallory, r)
		}
		for protocol, header := range upgrades() {
			for v, want := range map[victim]int{shut: http.StatusForbidden, twin: http.StatusSwitchingProtocols} {
				got, err := mallory.http.Do(step(t), http.MethodGet, v.execRequest().path, "", header)
				w.check(t, err)
				if got.Code != want {
					t.Errorf("%s of %s/%s by hand: %d %s, want %d", protocol, v.namespace, v.name, got.Code, got.Body, want)
				}
			}
		}
		for _, r := range []request{
			get("/api/v1/namespaces/open/pods/http:door-0:8080/proxy/"), get("/api/v1/namespaces/open/services/http:door-0:8080/proxy/"),
		} {
			if got := w.ask(t, mallory, r); got.Code != http.StatusOK || got.Body != "open\n" {
				t.Errorf("%s: %d %s", r, got.Code, got.Body)
			}
		}
	})
	t.Run("through the node", func(t *testing.T) {
		for _, r := range nodeDoors(shut) {
			w.expectRefused(t, mallory, r, name)
		}
		// By the node, one pod in quarantine shuts all of its pods, and nothing else.
		w.expectRefused(t, mallory, nodeDoors(twin)[0], name)
		w.expectOpen(t, mallory, get("/api/v1/nodes/"+shut.Node+"/proxy/healthz"))
		w.expectOpen(t, mallory, get("/api/v1/nodes/"+shut.Node+"/proxy/pods"))
	})
	t.Run("one of them", func(t *testing.T) {
		w.release(t, name)
		w.awaitVerdict(t, mallory, shut.execRequest(), "")
		w.quarantine(t, "only-attach", shut.subject(), "  operations: [attach]")
		attach := get("/api/v1/namespaces/shut/pods/door-0/attach?stdout=true")
		w.awaitVerdict(t, mallory, attach, "only-attach")
		w.expectAllowed(t, shut)
		w.expectRefused(t, mallory, attach, "only-attach")
	})
}

// podDoors are the doors of a pod in several forms and spellings.
func podDoors(v victim) []request {
	namespace := "/api/v1/namespaces/" + v.namespace
	pod, service := namespace+"/pods/", namespace+"/services/"
	paths := []string{
		pod + v.name + "/exec?command=id&stdout=true",
		pod + v.name + "/exec?command=sh&stdin=true&stdout=true&tty=true&container=main",
		pod + v.name + "/attach?stdout=true",
		pod + v.name + "/portforward?ports=8080",
		pod + v.name + "/proxy/",
		pod + v.name + ":8080/proxy/",
		pod + "http:" + v.name + ":8080/proxy/a//b",
		pod + "https:" + v.name + ":8443/proxy/",
		pod + "https:" + v.name + ":/proxy/",
		service + v.name + ":8080/proxy/",
		service + "http:" + v.name + ":8080/proxy//",
	}
	return bothMethods(paths)
}

// nodeDoors are the kubelet's own doors, by way of the API server. The first does something.
func nodeDoors(v victim) []request {
	node := "/api/v1/nodes/"
	into := v.namespace + "/" + v.name
	paths := []string{
		v.Node + "/proxy/exec/" + into + "/main?command=id&output=1",
		v.Node + "/proxy/run/" + into + "/" + v.UID + "/main?cmd=id",
		v.Node + "/proxy/exec/" + into + "/" + v.UID + "/main?command=id&output=1",
		v.Node + "/proxy//exec//" + into + "//main?command=id&output=1",
		v.Node + "/proxy/%65xec/" + into + "/main?command=id&output=1",
		v.Node + ":10250/proxy/exec/" + into + "/main?command=id&output=1",
		"https:" + v.Node + ":10250/proxy/exec/" + into + "/main?command=id&output=1",
		"https:" + v.Node + ":/proxy///run/" + into + "/main?cmd=id",
		v.Node + "/proxy/attach/" + into + "/main?output=1",
		v.Node + "/proxy/portForward/" + into,
		v.Node + "/proxy/portForward/" + into + "/" + v.UID + "?port=8080",
		v.Node + "/proxy/cri/exec/token",
	}
	for i := range paths {
		paths[i] = node + paths[i]
	}
	return append([]request{post(node + v.Node + "/proxy/run/" + into + "/main?cmd=id")}, bothMethods(paths)...)
}

// bothMethods are the methods that streams begin with.
func bothMethods(paths []string) []request {
	all := make([]request, 0, 2*len(paths))
	for _, path := range paths {
		all = append(all, get(path), post(path))
	}
	return all
}

// protocols are kubectl's ways to talk.
func protocols() map[string][]string {
	return map[string][]string{
		"websocket": nil,
		"SPDY":      {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"},
	}
}

// upgrades are what asks for either protocol.
func upgrades() map[string]http.Header {
	return map[string]http.Header{
		"websocket": {
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Protocol": {"v5.channel.k8s.io"},
		},
		"SPDY": {"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}, "X-Stream-Protocol-Version": {"v4.channel.k8s.io"}},
	}
}

// testKubectlDoors goes through the doors with kubectl.
func testKubectlDoors(t *testing.T, w *world, shut, twin victim, name string) {
	debug := func(v victim, container string) []string {
		return []string{"debug", "-n", v.namespace, v.name, "--image=localhost/shell:1", "--image-pull-policy=Never", "--container=" + container, "--", "true"}
	}
	for protocol, variables := range protocols() {
		user := w.mallory.With(variables...)
		for _, args := range [][]string{
			{"exec", "-n", shut.namespace, shut.name, "--", "true"},
			{"attach", "-n", shut.namespace, shut.name},
			{"port-forward", "-n", shut.namespace, shut.name, ":8080"},
			{"cp", "-n", shut.namespace, shut.name + ":/tmp/index.html", w.Work + "/copied"},
			debug(shut, "debugger"),
		} {
			r, err := user.Run(step(t), "kubectl", args...)
			w.check(t, err)
			if r.Code == 0 || !refusedBy(r.Stderr, name) {
				t.Errorf("kubectl %s by %s was not refused by quarantine %s: exit status %d\n%s", args[0], protocol, name, r.Code, r.Stderr)
			}
		}
		r, err := user.Must(step(t), "kubectl", "exec", "-n", twin.namespace, twin.name, "--", "echo", "inside")
		w.check(t, err)
		if r.Stdout != "inside\n" {
			t.Errorf("the exec by %s showed %q", protocol, r.Stdout)
		}
		for shows, args := range map[string][]string{
			"tick":            {"attach", "-n", twin.namespace, twin.name},
			"Forwarding from": {"port-forward", "-n", twin.namespace, twin.name, ":8080"},
		} {
			w.glimpse(t, user, shows, args...)
		}
		_, err = user.Must(step(t), "kubectl", debug(twin, "debugger-"+strings.ToLower(protocol))...)
		w.check(t, err)
	}
}

// glimpse runs kubectl on a terminal until that shows something.
func (w *world) glimpse(t *testing.T, user harness.User, shows string, args ...string) {
	t.Helper()
	terminal, err := user.Terminal(step(t), args...)
	w.check(t, err)
	defer terminal.Close()
	w.check(t, terminal.Expect(step(t), shows))
}

// testRefusedOnce counts what people did: kubectl asks again, by the other protocol, when it is refused.
func testRefusedOnce(t *testing.T, w *world, shut, twin victim) {
	const series = `portcullis_quarantine_actions_total{outcome="denied"}`
	server, err := w.Server(step(t), "portcullis-reader")
	w.check(t, err)
	w.settle(t, twin)
	before, err := server.Metric(step(t), series)
	w.check(t, err)
	for _, command := range []string{"id", "whoami", "hostname"} {
		r, failed := w.mallory.Run(step(t), "kubectl", "exec", "-n", shut.namespace, shut.name, "--", command)
		w.check(t, failed)
		if r.Code == 0 {
			t.Errorf("%s was run in a pod in quarantine", command)
		}
	}
	w.settle(t, twin)
	after, err := server.Metric(step(t), series)
	w.check(t, err)
	if after-before != 3 {
		t.Errorf("three actions are %g in the metrics", after-before)
	}
	w.awaitPodEvent(t, shut, "PortcullisDenied", `exec into shut/door-0 by user "mallory" was denied`)
}
