//go:build e2e

package e2e

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

const ruleUnaudited = "unaudited-exec"

// probed is a pod that the kubelet runs commands in.
func probed(namespace, name string) string {
	return strings.Replace(harness.Workload(namespace, name, "web"), "command: [sleep, infinity]}", `command: [sleep, infinity],
     readinessProbe: {exec: {command: [cat, /tmp/ready]}, periodSeconds: 1},
     lifecycle: {postStart: {exec: {command: [sh, -c, "touch /tmp/ready"]}}}}`, 1)
}

// testUnaudited comes past the API server in every way that there is.
func testUnaudited(t *testing.T, w *world) {
	honest := w.deployAs(t, probed, "probed-0", "unaudited")[0]
	w.quietly(t, honest, "true") // as anybody may
	config, err := w.Kubelet()
	w.check(t, err)
	kubelet, err := harness.NewHTTP(config)
	w.check(t, err)

	ways := map[string]func(t *testing.T, v victim) (string, error){
		"kubelet-run": func(t *testing.T, v victim) (string, error) {
			answer, err := kubelet.Do(step(t), http.MethodPost, "/run/"+v.namespace+"/"+v.name+"/main?cmd=id", "", nil)
			return answer.Body, err
		},
		"kubelet-exec": func(t *testing.T, v victim) (string, error) {
			var out bytes.Buffer
			err := harness.Exec{Namespace: v.namespace, Pod: v.name, Container: "main", Command: []string{"id"}, Stdout: &out}.StreamPast(step(t), config)
			return out.String(), err
		},
		"runtime-exec": func(t *testing.T, v victim) (string, error) {
			r, err := w.Admin().Must(step(t), "kubectl", "get", "pod", "-n", v.namespace, v.name, "-o", "jsonpath={.status.containerStatuses[0].containerID}")
			w.check(t, err)
			r, err = w.RuntimeExec(step(t), r.Stdout, "e2e", "id")
			return r.Stdout, err
		},
	}
	pods := map[string]victim{}
	for way, come := range ways {
		v := w.deploy(t, way, honest.namespace)[0]
		pods[way] = v
		out, err := come(t, v)
		w.check(t, err)
		if !strings.Contains(out, "uid=0") {
			t.Fatalf("%s: id was not run: %q", way, out)
		}
	}
	for way, v := range pods {
		t.Run(way, func(t *testing.T) {
			w.await(t, ruleUnaudited, v)
			s := w.awaitSession(t, v, func(s session) bool { return s.ran("id") && s.Unaudited })
			if s.User.Name != "" || s.Attribution != "none" {
				t.Errorf("somebody is named: %s", s.Raw)
			}
			w.settle(t, v)
			w.expectOnce(t, ruleUnaudited, v)
		})
	}
	w.settle(t, honest)
	w.expectQuiet(t, ruleUnaudited, honest)
}
