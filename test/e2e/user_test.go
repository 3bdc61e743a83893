//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// testUser has a rule quarantine the person behind what happens in a pod. Their session is over before anybody can be certain whose it was.
func testUser(t *testing.T, w *world) {
	v := w.deploy(t, "web-0", "whose")[0]
	dave, alice := w.person(t, "dave", "devs"), w.person(t, "alice", "devs")
	r, err := dave.Run(step(t), "kubectl", "exec", "-n", v.namespace, v.name, "--", "/bin/echo", ruleUser)
	w.check(t, err)
	if r.Code != 0 {
		t.Fatalf("dave was not let in: %s", r.Stderr)
	}
	d, err := w.detections.Await(step(t), func(d harness.Detection) bool {
		return of(ruleUser, v)(d) && d.Document.Portcullis.Detection.Action == "quarantine"
	})
	w.check(t, err)
	if d.Document.User.Name != "dave" {
		t.Errorf("the detection names the user %q, want dave", d.Document.User.Name)
	}
	if s := d.Document.Portcullis.Detection.Sessions; len(s) != 1 || s[0].ID == "" || s[0].Attribution != "exact" || s[0].User.Name != "dave" {
		t.Errorf("the detection names the sessions %+v, want one of dave's", s)
	}
	names, err := w.Admin().Must(step(t), "kubectl", "get", "quarantines", "-o", `jsonpath={range .items[?(@.spec.subject.name=="dave")]}{.metadata.name}{end}`)
	w.check(t, err)
	name := strings.TrimSpace(names.Stdout)
	w.releaseAtEnd(t, name)
	w.awaitVerdict(t, dave, v.execRequest(), name)
	w.expectOpen(t, alice, v.execRequest())
}
