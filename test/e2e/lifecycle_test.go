//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// TestPortcullis walks through the life of an installation: what comes later
// needs what came before, so the steps are subtests of one test.
func TestPortcullis(t *testing.T) {
	w := shared
	ok := t.Run("install", func(t *testing.T) {
		ctx := step(t)
		w.check(t, w.Admin().Apply(ctx, gateRules()))
		w.check(t, w.Install(ctx, "config.notify.http.url="+w.detections.URL, "ruleConfigMaps={e2e-rules}"))
		w.check(t, w.Admin().Apply(ctx, harness.ExecRole("devs")+"---"+doorsRole))
	})
	if !ok {
		t.Fatal("nothing can be tested without an installation")
	}
	t.Run("rules", func(t *testing.T) { testRules(t, w) })
	t.Run("same name", func(t *testing.T) { testSameName(t, w) })
	t.Run("denial", func(t *testing.T) { testDenial(t, w) })
	t.Run("doors", func(t *testing.T) { testDoors(t, w) })
	t.Run("subjects", func(t *testing.T) { testSubjects(t, w) })
	t.Run("observe", func(t *testing.T) { testObserve(t, w) })
	t.Run("release", func(t *testing.T) { testRelease(t, w) })
	t.Run("sessions", func(t *testing.T) { testSessions(t, w) })
	t.Run("the user behind it", func(t *testing.T) { testUser(t, w) })
	t.Run("unaudited", func(t *testing.T) { testUnaudited(t, w) })
	t.Run("burst", func(t *testing.T) { testBurst(t, w) })
	t.Run("kill", func(t *testing.T) { testKill(t, w) })
	t.Run("down", func(t *testing.T) { testDown(t, w) })
	t.Run("restart", func(t *testing.T) { testRestart(t, w) })
	t.Run("blind", func(t *testing.T) { testBlind(t, w) })
	t.Run("reload", func(t *testing.T) { testReload(t, w) })
	t.Run("erasing", func(t *testing.T) { testErasing(t, w) })
	t.Run("no feedback", func(t *testing.T) { testNoFeedback(t, w) })
	t.Run("upgrade", func(t *testing.T) { testUpgrade(t, w) })
	t.Run("uninstall", func(t *testing.T) { testUninstall(t, w) })
}

// audited is the part of an audit event that the tests read.
type audited struct {
	User       struct{ Username string }
	RequestURI string
	Verb       string
}

// auditLog returns what the API server itself has logged, by the same policy as
// the sink's stream.
func (w *world) auditLog(t *testing.T) []audited {
	t.Helper()
	file, err := os.Open(w.AuditLog)
	w.check(t, err)
	defer file.Close()
	var all []audited
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e audited
		if json.Unmarshal(lines.Bytes(), &e) == nil { // else it is the line that is being written
			all = append(all, e)
		}
	}
	w.check(t, lines.Err())
	return all
}

// testErasing sends a patch that is no JSON. API servers before 1.37 cannot
// encode an event that holds such a patch's body, nor the batch that it is in:
// with a policy that records it, anybody could erase the events around his own.
func testErasing(t *testing.T, w *world) {
	caught := w.deploy(t, "web-6", "shop")[0]
	cfg, err := w.Admin().REST()
	w.check(t, err)
	set, err := kubernetes.NewForConfig(cfg)
	w.check(t, err)

	w.quietly(t, caught, "true")
	_, err = set.CoreV1().Pods(caught.namespace).Patch(step(t), caught.name, types.ApplyYAMLPatchType,
		[]byte("no: json: at all"), metav1.PatchOptions{FieldManager: "test"}, "ephemeralcontainers")
	if err == nil {
		t.Error("the API server took a patch that is nonsense")
	}
	w.await(t, ruleExec, caught)
	if !slices.ContainsFunc(w.auditLog(t), func(e audited) bool {
		return e.Verb == "patch" && strings.Contains(e.RequestURI, "/pods/"+caught.name+"/ephemeralcontainers")
	}) {
		t.Error("the patch has left no audit event")
	}
}

// testNoFeedback looks at what is audited of Portcullis' own requests: the
// canary and nothing else.
func testNoFeedback(t *testing.T, w *world) {
	own := 0
	for _, e := range w.auditLog(t) {
		if !strings.HasPrefix(e.User.Username, "system:serviceaccount:"+harness.Namespace+":") {
			continue
		}
		own++
		if e.Verb != "get" || !strings.Contains(e.RequestURI, "/configmaps/portcullis-canary") {
			t.Errorf("Portcullis' own request is audited: %s %s by %s", e.Verb, e.RequestURI, e.User.Username)
		}
	}
	if own == 0 {
		t.Error("not even the canary is audited")
	}
}

// testUpgrade changes the mode with helm upgrade: rules and certificates must go on working.
func testUpgrade(t *testing.T, w *world) {
	ctx := step(t)
	caught := w.deploy(t, "web-0", "upgraded")[0]
	w.check(t, w.Upgrade(ctx, "config.mode=enforce"))
	w.check(t, w.Admin().AwaitLog(ctx, harness.Namespace, "statefulset/portcullis", "audit events of an API server are seen"))

	w.forbiddenCall(t, caught)
	d := w.await(t, "forbidden-api-request-interactive", caught)
	if d.Document.Portcullis.Detection.Action != "quarantine" {
		t.Errorf("after the upgrade to mode enforce the action is %q", d.Document.Portcullis.Detection.Action)
	}
	w.expectDenied(t, caught, "is quarantined until") // several rules enforce now; any may have been first
}

// testUninstall removes the release: nobody is denied any more, and nothing of it is left.
func testUninstall(t *testing.T, w *world) {
	ctx := step(t)
	w.check(t, w.Uninstall(ctx))
	w.expectReleased(t, victim{namespace: "upgraded", name: "web-0"}) // API servers hear of the policy's end by a watch.
	// helm waits for the objects that it made, not for the pods that those made.
	_, err := w.Admin().Must(ctx, "kubectl", "wait", "--for=delete", "pods", "--all", "-n", harness.Namespace, "--timeout=60s")
	w.check(t, err)
	for _, kind := range []string{"validatingwebhookconfigurations", "clusterroles", "clusterrolebindings"} {
		r, listed := w.Admin().Must(ctx, "kubectl", "get", kind, "-o", "name")
		w.check(t, listed)
		if strings.Contains(r.Stdout, "portcullis") {
			t.Errorf("left behind: %s", r.Stdout)
		}
	}
	r, err := w.Admin().Must(ctx, "kubectl", "get", "all,secrets,configmaps,serviceaccounts,roles,rolebindings", "-n", harness.Namespace, "-o", "name")
	w.check(t, err)
	for _, name := range strings.Fields(r.Stdout) {
		if strings.Contains(filepath.Base(name), "portcullis") {
			t.Errorf("left behind in %s: %s", harness.Namespace, name)
		}
	}
}
