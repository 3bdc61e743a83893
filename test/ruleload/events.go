package ruleload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// Named is an event and what it is, in a word or two.
type Named struct {
	Name  string
	Event *event.Event
}

// Events returns what a cluster at work produces all the time, and no rule
// wants: programs that are started in containers, files that they open, and
// requests. They have what real ones have, at its usual length.
func Events() []Named {
	m := maker{}
	return []Named{
		{"probe", m.process("sh", "kubelet", "/bin/sh", "sh", "-c", "pg_isready -h 127.0.0.1 -p 5432 -U postgres -t 3 -q")},
		{"web server", m.process("nginx", "nginx", "/usr/sbin/nginx", "nginx: worker process")},
		{"virtual machine", m.process("java", "tini", "/opt/java/openjdk/bin/java", strings.Fields(
			"java -XX:+UseG1GC -XX:MaxRAMPercentage=75.0 -XX:+ExitOnOutOfMemoryError -Dfile.encoding=UTF-8 -Dspring.profiles.active=prod "+
				"-Djava.security.egd=file:/dev/./urandom -javaagent:/otel/agent.jar -jar /app/service.jar --server.port=8080")...)},
		{"script", m.process("date", "bash", "/usr/bin/date", "date", "-u", "+%Y-%m-%dT%H:%M:%SZ")},
		{"library", m.file("/usr/lib/x86_64-linux-gnu/libssl.so.3", "nginx")},
		{"configuration", m.file("/app/config/application-prod.yaml", "java")},
		{"lease", m.request("update", "leases", "coordination.k8s.io", "kube-node-lease", "node-17", "system:node:node-17", "kubelet/v1.36.3 (linux/amd64) kubernetes/gomodul")},
		{"watch", m.request("watch", "endpointslices", "discovery.k8s.io", "", "", "system:kube-proxy", "kube-proxy/v1.36.3 (linux/amd64) kubernetes/gomodul")},
		{"controller", m.request("update", "replicasets", "apps", "shop", "checkout-7d9c5b8f6d", "system:serviceaccount:kube-system:replicaset-controller", "kube-controller-manager/v1.36.3 (linux/amd64) kubernetes/gomodul")},
		{"operator", m.request("get", "configmaps", "", "shop", "checkout-settings", "system:serviceaccount:shop:operator", "operator/v0.0.0 (linux/amd64) kubernetes/$Format")},
		{"logs", m.request("get", "pods", "", "shop", "cart-0", "alice@example.com", "kubectl/v1.36.3 (linux/amd64) kubernetes/gomodul")},
		{"new pod", m.created()},
	}
}

// Opening returns an event that opens a sequence of a program and something that
// is done with it: a program which a person runs in a pod. The program's
// arguments have "tool-N" among them, N being its number.
func Opening(pod, program int, at time.Time) *event.Event {
	m := maker{made: pod}
	e := m.process("curl", "bash", "/usr/bin/curl", "curl", "-sk", "-H", "Authorization: Bearer $TOKEN", "-o", "/tmp/out.json",
		fmt.Sprintf("https://kubernetes.default.svc/api/v1/namespaces/shop/pods/checkout-%05d/log?container=checkout", pod%100_000), fmt.Sprintf("tool-%d", program))
	e.ID = digest(pod, program)
	e.Request = e.ID
	at = at.Add(time.Duration(program*pod) * time.Microsecond / 100)
	e.Time, e.StageTime, e.Received = at, at, at.Add(40*time.Millisecond)
	p := e.Process
	p.PID, p.EntityID, p.Interactive, p.TTY, p.Start = uint32(20_000+program), digest(pod, program, 1)[:24], true, 34816, at //nolint:gosec // small numbers
	p.Parent.EntityID = digest(pod, 2)[:24]
	p.EntryLeader.EntityID, p.EntryLeader.Start = p.Parent.EntityID, at.Add(-time.Minute)
	return e
}

// maker numbers the events that it makes.
type maker struct{ made int }

// digest is 32 hexadecimal digits, as IDs have.
func digest(of ...int) string {
	sum := sha256.Sum256(fmt.Append(nil, of))
	return hex.EncodeToString(sum[:16])
}

func (m *maker) base() *event.Event {
	m.made++
	at := time.Date(2026, 8, 22, 12, 0, m.made, 123456789, time.UTC)
	id := digest(m.made)
	return &event.Event{ID: id, Request: id, Time: at, StageTime: at, Received: at.Add(40 * time.Millisecond)}
}

// telemetry is what an agent's events have in common.
func (m *maker) telemetry(parent string) *event.Event {
	e := m.base()
	no := false
	e.Source, e.Type = "agent/node-17", []string{"start"}
	e.Pod = event.Pod{
		UID: fmt.Sprintf("d6cf43d9-2859-4e33-8fbe-%012d", m.made), Namespace: "shop", Name: fmt.Sprintf("checkout-7d9c5b8f6d-x%04d", m.made), Node: "node-17",
		Labels: map[string]string{
			"app.kubernetes.io/name": "checkout", "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/version": "1.42.0", "pod-template-hash": "7d9c5b8f6d",
		},
		Confidence: event.Exact,
	}
	e.Container = &event.Container{
		ID: digest(m.made) + digest(-m.made), Name: "checkout", Image: "registry.example.com/shop/checkout:1.42.0", Privileged: &no,
	}
	e.Process = &event.Process{
		PID: uint32(20000 + m.made), PPID: uint32(10000 + m.made), EntityID: digest(m.made, 3)[:24], //nolint:gosec // small numbers
		WorkingDirectory: "/app", UID: 1000, GID: 1000, Start: e.Time,
		Parent:      &event.ProcessRef{PID: 10000, EntityID: digest(m.made, 4)[:24], Name: parent, Executable: "/usr/bin/" + parent, Args: []string{parent, "--", "run"}},
		EntryLeader: &event.EntryLeader{PID: 9000, EntityID: digest(m.made, 5)[:24], Start: e.Time.Add(-time.Hour), MetaType: "container"},
	}
	return e
}

func (m *maker) process(name, parent, executable string, args ...string) *event.Event {
	e := m.telemetry(parent)
	e.Kind, e.Category, e.Action, e.Dataset = event.KindProcess, []string{"process"}, []string{"exec"}, "portcullis.process"
	e.Process.Name, e.Process.Executable, e.Process.Args = name, executable, args
	return e
}

func (m *maker) file(path, name string) *event.Event {
	e := m.process(name, "tini", "/usr/sbin/"+name, name)
	e.Kind, e.Category, e.Type, e.Action, e.Dataset = event.KindFile, []string{"file"}, []string{"change"}, []string{"open"}, "portcullis.file"
	e.File = &event.File{Path: path, ResolvedPath: path}
	return e
}

func (m *maker) request(verb, resource, group, namespace, name, user, agent string) *event.Event {
	e := m.base()
	e.Kind, e.Source, e.Dataset = event.KindAudit, "audit/kube-apiserver-1", "kubernetes.audit_logs"
	e.StageTime = e.Time.Add(7 * time.Millisecond)
	uri := "/api/v1"
	if group != "" {
		uri = "/apis/" + group + "/v1"
	}
	if namespace != "" {
		uri += "/namespaces/" + namespace
	}
	uri += "/" + resource
	if name != "" {
		uri += "/" + name
	}
	e.Audit = &event.Audit{
		AuditID: fmt.Sprintf("3b030d4d-b56b-41d9-8cee-%012d", m.made), Stage: "ResponseComplete", Level: "Metadata", Verb: verb,
		RequestURI: uri + "?timeout=10s&resourceVersion=184467", UserAgent: agent, SourceIPs: []string{"10.0.17.3"},
		User: event.AuditUser{Username: user, Groups: []string{"system:authenticated"}, Extra: map[string][]string{
			"authentication.kubernetes.io/credential-id": {"X509SHA256=5b1e345d93da4271a648cf841830091b10d2e1209025aa2adec4a8e21f459605"},
		}},
		ObjectRef: event.ObjectRef{APIGroup: group, APIVersion: "v1", Resource: resource, Namespace: namespace, Name: name},
		Code:      200,
		Annotations: map[string]string{
			"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC: allowed by ClusterRoleBinding \"" + user + "\"",
		},
	}
	return e
}

// created is a request whose object is recorded.
func (m *maker) created() *event.Event {
	e := m.request("create", "pods", "", "shop", "", "system:serviceaccount:kube-system:replicaset-controller", "kube-controller-manager/v1.36.3 (linux/amd64) kubernetes/gomodul")
	e.Audit.Level, e.Audit.Code = "Request", 201
	container := `{"name":"checkout","image":"registry.example.com/shop/checkout:1.42.0","ports":[{"containerPort":8080,"protocol":"TCP"}],` +
		`"env":[{"name":"DB_HOST","value":"postgres.shop.svc"},{"name":"DB_PORT","value":"5432"}],"resources":{"limits":{"memory":"512Mi"},"requests":{"cpu":"100m"}},` +
		`"volumeMounts":[{"name":"settings","mountPath":"/app/config"}],"livenessProbe":{"httpGet":{"path":"/healthz","port":8080}},` +
		`"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"runAsNonRoot":true}}`
	e.Audit.RequestObject = json.RawMessage(`{"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"checkout-7d9c5b8f6d-","namespace":"shop","labels":{"app":"checkout"}},` +
		`"spec":{"containers":[` + container + `,` + strings.ReplaceAll(container, "checkout", "proxy") + `],"serviceAccountName":"checkout","restartPolicy":"Always",` +
		`"volumes":[{"name":"settings","configMap":{"name":"checkout-settings"}}]}}`)
	return e
}
