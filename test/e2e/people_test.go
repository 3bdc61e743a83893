//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// doorsRole lets everybody who is in one of the groups, and the service accounts of the namespace subjects, through
// every door, and act as anybody.
const doorsRole = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: every-door}
rules:
- {apiGroups: [""], resources: [pods/exec, pods/attach, pods/portforward, pods/proxy, services/proxy, nodes/proxy], verbs: [get, create]}
- {apiGroups: [""], resources: [pods/ephemeralcontainers], verbs: [patch, update]}
- {apiGroups: [""], resources: [pods, pods/log], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [users, groups], verbs: [impersonate]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: every-door}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: every-door}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: devs}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: contractors}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: "portcullis:break-glass"}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:serviceaccounts:subjects"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: e2e-metrics}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: portcullis-metrics-reader}
subjects: [{kind: ServiceAccount, name: portcullis-reader, namespace: ` + harness.Namespace + `}]
`

// breakGlass is the group of those who pass.
const breakGlass = "portcullis:break-glass"

// person is a user with a way to the API server without kubectl.
type person struct {
	harness.User
	http *harness.HTTP
}

// person issues a certificate.
func (w *world) person(t *testing.T, name, group string) person {
	t.Helper()
	user, err := w.User(step(t), name, group)
	w.check(t, err)
	return w.personOf(t, user)
}

func (w *world) personOf(t *testing.T, user harness.User) person {
	t.Helper()
	plain, err := user.HTTP()
	w.check(t, err)
	return person{user, plain}
}

// request is one without kubectl.
type request struct{ method, path, body, contentType string }

func (r request) String() string { return r.method + " " + r.path }

func get(path string) request  { return request{method: http.MethodGet, path: path} }
func post(path string) request { return request{method: http.MethodPost, path: path} }

// ask makes a request.
func (w *world) ask(t *testing.T, who person, r request) harness.Answer {
	t.Helper()
	var header http.Header
	if r.contentType != "" {
		header = http.Header{"Content-Type": {r.contentType}}
	}
	answer, err := who.http.Do(step(t), r.method, r.path, r.body, header)
	w.check(t, err)
	return answer
}
