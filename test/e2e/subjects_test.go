//go:build e2e

package e2e

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

const ruleBreakGlass = "break-glass-used"

// testSubjects puts every kind of subject into quarantine, by YAML, and looks who is refused and who is not.
func testSubjects(t *testing.T, w *world) {
	pods := w.deploy(t, "web-0", "subjects", "bystanders")
	into, elsewhere := pods[0], pods[1]
	mallory := w.personOf(t, w.mallory)
	alice, oscar, glass := w.person(t, "alice", "devs"), w.person(t, "oscar", "contractors"), w.person(t, "gloria", breakGlass)
	first, second := w.bearer(t, into, "first"), w.bearer(t, into, "second")

	for kind, c := range map[string]struct {
		subject string
		refused person
		into    request
		passes  person
		by      request
	}{
		"user":                {`{kind: User, name: mallory}`, mallory, into.execRequest(), alice, into.execRequest()},
		"group":               {`{kind: Group, name: contractors}`, oscar, into.execRequest(), mallory, into.execRequest()},
		"service account":     {`{kind: ServiceAccount, namespace: subjects, name: web}`, first, elsewhere.execRequest(), mallory, elsewhere.execRequest()},
		"credential":          {`{kind: Credential, name: "` + credential(t, first) + `"}`, first, into.execRequest(), second, into.execRequest()},
		"pod, by its token":   {into.subject(), first, elsewhere.execRequest(), mallory, elsewhere.execRequest()},
		"node":                {`{kind: Node, name: ` + into.Node + `}`, mallory, nodeDoors(into)[0], glass, into.execRequest()},
		"node, into its pods": {`{kind: Node, name: ` + into.Node + `}`, mallory, into.execRequest(), glass, into.execRequest()},
		"namespace":           {`{kind: Namespace, name: subjects}`, mallory, into.execRequest(), mallory, elsewhere.execRequest()},
	} {
		t.Run(kind, func(t *testing.T) {
			name := "subject-" + strings.NewReplacer(" ", "-", ",", "").Replace(kind)
			w.quarantine(t, name, c.subject)
			if kind == "node, into its pods" {
				w.awaitWebhook(t, c.refused, c.into, name)
			} else {
				w.awaitVerdict(t, c.refused, c.into, name)
			}
			w.expectOpen(t, c.passes, c.by)
			w.release(t, name)
			w.awaitVerdict(t, c.refused, c.into, "")
		})
	}

	t.Run("break-glass", func(t *testing.T) {
		w.quarantine(t, "broken", into.subject())
		w.awaitVerdict(t, mallory, into.execRequest(), "broken")
		_, err := glass.Must(step(t), "kubectl", "exec", "-n", into.namespace, into.name, "--", "true")
		w.check(t, err)
		if d := w.await(t, ruleBreakGlass, into); d.Document.User.Name != glass.Name {
			t.Errorf("the detection names %q", d.Document.User.Name)
		}
		w.awaitPodEvent(t, into, "PortcullisBreakGlass", `by user "gloria" was let through`)
		w.expectRefused(t, mallory, into.execRequest(), "broken")
	})
}

// awaitWebhook waits for a refusal that the API server's policy cannot make: it is the webhook's.
func (w *world) awaitWebhook(t *testing.T, who person, r request, name string) {
	t.Helper()
	w.awaitVerdict(t, who, r, name)
	if got := w.ask(t, who, r); got.Code != http.StatusForbidden || !strings.Contains(got.Body, "admission webhook") {
		t.Errorf("%s: %d %s", r, got.Code, got.Body)
	}
}

// bearer is somebody who has a token of the pod.
func (w *world) bearer(t *testing.T, v victim, name string) person {
	t.Helper()
	r, err := w.Admin().Must(step(t), "kubectl", "create", "token", "web", "-n", v.namespace,
		"--bound-object-kind=Pod", "--bound-object-name="+v.name, "--bound-object-uid="+v.UID)
	w.check(t, err)
	user, err := w.Bearer(name, r.Stdout)
	w.check(t, err)
	return w.personOf(t, user)
}

// credential is the ID of a bearer's token.
func credential(t *testing.T, who person) string {
	t.Helper()
	config, err := who.REST()
	if err != nil {
		t.Fatal(err)
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(config.BearerToken, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return "JTI=" + field(t, string(claims), "jti")
}
