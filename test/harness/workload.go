package harness

import (
	"context"
	"fmt"
	"strings"
)

// workloadLabel marks the namespaces that the harness makes.
const workloadLabel = "portcullis.dev/test=workload"

// Workload makes manifests of a namespace with a service account and one pod
// that waits to be exec'd into. The service account may list ConfigMaps and
// nothing else, so that a request for Secrets is a forbidden one.
func Workload(namespace, pod, serviceAccount string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {%[4]s}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[3]s, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %[3]s, namespace: %[1]s}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[3]s, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %[3]s}
subjects: [{kind: ServiceAccount, name: %[3]s, namespace: %[1]s}]
---
apiVersion: v1
kind: Pod
metadata: {name: %[2]s, namespace: %[1]s, labels: {app: %[2]s}}
spec:
  serviceAccountName: %[3]s
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "localhost/shell:1", imagePullPolicy: Never, command: [sleep, infinity]}
`, namespace, pod, serviceAccount, strings.Replace(workloadLabel, "=", ": ", 1))
}

// ExecRole lets a group exec into pods everywhere, as developers often may.
func ExecRole(group string) string {
	return fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: pod-exec}
rules:
- {apiGroups: [""], resources: [pods/exec, pods/attach, pods/portforward], verbs: [get, create]}
- {apiGroups: [""], resources: [pods], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: pod-exec}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pod-exec}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: %q}]
`, group)
}

// Deploy applies workloads and waits until their pods run.
func (c *Cluster) Deploy(ctx context.Context, manifests ...string) error {
	return c.step("start the workloads", func() error {
		for _, m := range manifests {
			if err := c.Admin().Apply(ctx, m); err != nil {
				return err
			}
		}
		_, err := c.Admin().Must(ctx, "kubectl", "wait", "--for=condition=Ready", "pods", "--all", "--all-namespaces",
			"--field-selector=metadata.namespace!="+Namespace, "--timeout=120s")
		return err
	})
}
