//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/footprint"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// These tests bring real clusters up and down, as root, on this machine:
//
//	go test -tags e2e -count 1 -v -run E2E ./hack/cluster
//
// They use a state directory of their own, and do not run beside another cluster.
const e2eState = "/var/lib/portcullis-e2e"

const e2eTimeout = 5 * time.Minute

// A cluster is the program under test, called as a person calls it.
type cluster struct {
	tb     testing.TB
	binary string
	env    []string
}

func newCluster(tb testing.TB) *cluster {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("a cluster needs root")
	}
	owner, err := footprint.Owner()
	if err != nil {
		tb.Fatal(err)
	}
	if owner != "" && owner != e2eState {
		tb.Skipf("the cluster of %s is up on this machine", owner)
	}
	c := &cluster{tb: tb, binary: filepath.Join(tb.TempDir(), "cluster")}
	if output, err := exec.Command("go", "build", "-o", c.binary, ".").CombinedOutput(); err != nil {
		tb.Fatalf("build: %v\n%s", err, output)
	}
	tb.Cleanup(func() { c.must("down", "--purge") })
	return c
}

func (c *cluster) command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), e2eTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, c.binary, append(args, "--state-dir", e2eState)...).CombinedOutput()
	return string(output), err
}

func (c *cluster) must(args ...string) string {
	c.tb.Helper()
	start := time.Now()
	output, err := c.command(args...)
	c.tb.Logf("cluster %s: %.1f s", strings.Join(args, " "), time.Since(start).Seconds())
	if err != nil {
		c.tb.Fatalf("cluster %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return output
}

func (c *cluster) fails(want string, args ...string) {
	c.tb.Helper()
	output, err := c.command(args...)
	if err == nil || !strings.Contains(output, want) {
		c.tb.Errorf("cluster %s: %v, want a failure that says %q:\n%s", strings.Join(args, " "), err, want, output)
	}
}

func (c *cluster) up() {
	c.tb.Helper()
	c.must("up")
	c.env = os.Environ()
	for line := range strings.Lines(c.must("env")) {
		name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		value = strings.NewReplacer(`:"$PATH"`, ":"+os.Getenv("PATH"), "'", "").Replace(value)
		c.env = append(c.env, name+"="+value)
	}
}

// kubectl runs kubectl as the administrator, or as the owner of the kubeconfig that extra names.
func (c *cluster) kubectl(extra []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), e2eTimeout)
	defer cancel()
	env := append(slices.Clone(c.env), extra...)
	var path string
	for _, variable := range env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path, _, _ = strings.Cut(value, ":")
		}
	}
	command := exec.CommandContext(ctx, filepath.Join(path, "kubectl"), args...)
	command.Env = env
	output, err := command.CombinedOutput()
	return string(output), err
}

func (c *cluster) mustKubectl(args ...string) string {
	c.tb.Helper()
	output, err := c.kubectl(nil, args...)
	if err != nil {
		c.tb.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return output
}

func (c *cluster) apply(manifest string) {
	c.tb.Helper()
	path := filepath.Join(c.tb.TempDir(), "manifest.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	c.mustKubectl("apply", "-f", path)
}

func (c *cluster) supervisor() int {
	c.tb.Helper()
	record, known, err := footprint.LoadRecord(filepath.Join(e2eState, "cluster.json"))
	if err != nil || !known {
		c.tb.Fatalf("no record: %v", err)
	}
	return record.Supervisor
}

const workload = `
apiVersion: v1
kind: Pod
metadata: {name: shell, labels: {app: shell}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: "localhost/shell:1", imagePullPolicy: Never, command: [busybox, httpd, -f, -p, "8080", -h, /etc]}
---
apiVersion: v1
kind: Service
metadata: {name: shell}
spec: {selector: {app: shell}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent}
spec:
  hostNetwork: true
  hostPID: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: localhost/shell:1
    imagePullPolicy: Never
    command: [sleep, infinity]
    securityContext: {capabilities: {add: [BPF, PERFMON, SYS_PTRACE]}}
    volumeMounts:
    - {name: tracing, mountPath: /sys/kernel/tracing, readOnly: true}
    - {name: btf, mountPath: /sys/kernel/btf, readOnly: true}
    - {name: cgroup, mountPath: /host/cgroup, readOnly: true}
    - {name: token, mountPath: /token}
  volumes:
  - {name: tracing, hostPath: {path: /sys/kernel/tracing}}
  - {name: btf, hostPath: {path: /sys/kernel/btf}}
  - {name: cgroup, hostPath: {path: /sys/fs/cgroup}}
  - name: token
    projected: {sources: [{serviceAccountToken: {audience: portcullis, path: token}}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 1000, runAsNonRoot: true, fsGroup: 1000}
      containers:
      - name: app
        image: localhost/shell:1
        imagePullPolicy: Never
        command: [sh, -c, "date >/data/written && exec sleep infinity"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

func (c *cluster) waitReady(pods ...string) {
	c.tb.Helper()
	for _, pod := range pods {
		c.mustKubectl("wait", "--for=create", "pod/"+pod, "--timeout=60s")
		c.mustKubectl("wait", "--for=condition=Ready", "pod/"+pod, "--timeout=60s")
	}
}

func (c *cluster) expect(want string, args ...string) {
	c.tb.Helper()
	if got := c.mustKubectl(args...); !strings.Contains(got, want) {
		c.tb.Errorf("kubectl %s: %q, want %q in it", strings.Join(args, " "), got, want)
	}
}

func TestE2ELife(t *testing.T) {
	c := newCluster(t)
	before := machine(t)
	c.up()
	if output := c.must("up"); !strings.Contains(output, "it is up since") {
		t.Errorf("up when up: %s", output)
	}
	c.must("status")
	c.apply(workload)
	c.waitReady("shell", "agent", "store-0")
	t.Run("exec and logs", c.testExec)
	t.Run("network", c.testNetwork)
	t.Run("agent", c.testAgent)
	t.Run("users", c.testUsers)
	t.Run("audit", c.testAudit)
	t.Run("volumes", c.testVolumes)
	t.Run("other state directory", c.testOtherState)
	c.must("down")
	expectSame(t, before, machine(t))
	if output := c.must("down"); !strings.Contains(output, "nothing is left") {
		t.Errorf("down when down: %s", output)
	}
}

func (c *cluster) testExec(t *testing.T) {
	c.expect("root:x:0:", "exec", "shell", "--", "cat", "/etc/group")
	c.expect("hello", "exec", "shell", "--", "bash", "-c", "echo hello")
	c.expect("", "logs", "shell")
	c.expect("1000", "exec", "store-0", "--", "id", "-u")
}

func (c *cluster) testNetwork(t *testing.T) {
	address := strings.TrimSpace(c.mustKubectl("get", "service", "shell", "-o", "jsonpath={.spec.clusterIP}"))
	for _, pod := range []string{"shell", "agent", "store-0"} {
		c.expect("root:x:0:", "exec", pod, "--", "curl", "-s", "-m", "5", "http://"+address+"/group")
	}
	c.expect("ok", "exec", "store-0", "--", "sh", "-c",
		"curl -s -m 5 --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt https://$KUBERNETES_SERVICE_HOST/readyz")
	// The machine reaches services and pods too.
	response, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + address + "/group")
	if err != nil {
		t.Fatalf("from the machine: %v", err)
	}
	response.Body.Close()
}

func (c *cluster) testAgent(t *testing.T) {
	uid := strings.TrimSpace(c.mustKubectl("get", "pod", "agent", "-o", "jsonpath={.metadata.uid}"))
	c.expect("/pod"+uid+"/", "exec", "agent", "--", "cat", "/proc/self/cgroup")
	c.expect("events", "exec", "agent", "--", "ls", "/sys/kernel/tracing")
	c.expect("vmlinux", "exec", "agent", "--", "ls", "/sys/kernel/btf")
	c.expect(".", "exec", "agent", "--", "cat", "/token/token")
	// Process ids in a hostPID pod are those of the machine.
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	c.expect(namespace, "exec", "agent", "--", "readlink", "/proc/self/ns/pid")
}

func (c *cluster) testUsers(t *testing.T) {
	alice := strings.TrimSpace(c.must("user", "alice", "--group", "devs"))
	output, err := c.kubectl([]string{"KUBECONFIG=" + alice}, "auth", "whoami")
	if err != nil || !strings.Contains(output, "alice") || !strings.Contains(output, "devs") {
		t.Errorf("alice is %v\n%s", err, output)
	}
	if output, err := c.kubectl([]string{"KUBECONFIG=" + alice}, "get", "pods"); err == nil || !strings.Contains(output, "Forbidden") {
		t.Errorf("alice reads pods: %v\n%s", err, output)
	}
}

// auditSink is a webhook on the machine's side of the cable.
type auditSink struct {
	mu   sync.Mutex
	uris []string
}

func (s *auditSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var list struct {
		Items []struct{ RequestURI string }
	}
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range list.Items {
		s.uris = append(s.uris, item.RequestURI)
	}
}

func (s *auditSink) saw(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.uris, func(uri string) bool { return strings.Contains(uri, part) })
}

func (c *cluster) testAudit(t *testing.T) {
	listener, err := net.Listen("tcp", layout.HostIP+":0")
	if err != nil {
		t.Fatal(err)
	}
	sink := &auditSink{}
	server := &http.Server{Handler: sink, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	dir := t.TempDir()
	c.fails("audit-policy.yaml", "apiserver", "restart", "--audit-dir", dir)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("audit-webhook.kubeconfig", fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "x",
		"clusters": [{"name": "x", "cluster": {"server": "http://%s"}}], "users": [{"name": "x", "user": {}}],
		"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}`, listener.Addr()))
	write("audit-policy.yaml", "[")
	c.fails("loading audit policy file", "apiserver", "restart", "--audit-dir", dir)
	c.expect("shell", "get", "pods") // with the settings of before

	write("audit-policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
	c.must("apiserver", "restart", "--audit-dir", dir)
	c.mustKubectl("run", "late", "--image", "localhost/shell:1", "--image-pull-policy", "Never", "--restart", "Never", "--", "sleep", "600")
	c.waitReady("late")
	c.mustKubectl("exec", "shell", "--", "true")
	for deadline := time.Now().Add(time.Minute); !sink.saw("/pods/shell/exec?"); {
		if time.Now().After(deadline) {
			t.Fatal("the exec was not audited")
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.must("apiserver", "restart")
	c.must("status")
}

func (c *cluster) testVolumes(t *testing.T) {
	claimed := strings.TrimSpace(c.mustKubectl("get", "pvc", "data-store-0", "-o", "jsonpath={.spec.volumeName}"))
	c.mustKubectl("delete", "statefulset", "store")
	c.mustKubectl("wait", "--for=delete", "pod/store-0", "--timeout=60s")
	c.mustKubectl("delete", "pvc", "data-store-0")
	c.mustKubectl("wait", "--for=delete", "pv/"+claimed, "--timeout=60s")
	c.mustKubectl("wait", "--for=create", "pv/"+claimed, "--timeout=60s")
	c.mustKubectl("wait", "--for=jsonpath={.status.phase}=Available", "pv/"+claimed, "--timeout=60s")
}

func (c *cluster) testOtherState(t *testing.T) {
	for _, command := range []string{"up", "down"} {
		output, err := exec.Command(c.binary, command, "--state-dir", "/tmp/another-cluster").CombinedOutput()
		if err == nil || !strings.Contains(string(output), e2eState) {
			t.Errorf("%s of another state directory: %v\n%s", command, err, output)
		}
	}
}

// Whatever is killed, down finds all of it, and up starts anew.
func TestE2ECrash(t *testing.T) {
	c := newCluster(t)
	before := machine(t)
	for round, remedy := range []string{"down", "up"} {
		c.up()
		c.apply(workload)
		c.waitReady("shell", "agent")
		if err := syscall.Kill(c.supervisor(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.fails("not up", "status")
		c.must(remedy)
		if remedy == "up" {
			c.env = nil
			c.up()
			if pods := c.mustKubectl("get", "pods"); strings.Contains(pods, "shell") {
				t.Errorf("round %d: pods of the cluster before are there:\n%s", round, pods)
			}
			c.must("down")
		}
		expectSame(t, before, machine(t))
	}
}

func TestE2EInterruptedUp(t *testing.T) {
	c := newCluster(t)
	before := machine(t)
	for _, milestone := range []string{"own network", "etcd answers", "API server is ready"} {
		command := exec.Command(c.binary, "up", "--state-dir", e2eState)
		output := &interrupter{milestone: milestone, interrupt: func() { _ = command.Process.Signal(os.Interrupt) }}
		command.Stdout, command.Stderr = output, output
		err := command.Run()
		if err == nil || !strings.Contains(output.text.String(), "interrupted") {
			t.Errorf("interrupted at %q: %v\n%s", milestone, err, output.text.String())
		}
		expectSame(t, before, machine(t))
	}
}

// An interrupter interrupts a command that has said something.
type interrupter struct {
	text      bytes.Buffer
	milestone string
	interrupt func()
}

func (i *interrupter) Write(text []byte) (int, error) {
	if strings.Contains(string(text), i.milestone) {
		i.interrupt()
	}
	return i.text.Write(text)
}

// A process of somebody else in the cluster's network is named, not killed.
func TestE2EStranger(t *testing.T) {
	c := newCluster(t)
	c.up()
	stranger := exec.Command("ip", "netns", "exec", layout.Netns, "sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.fails("process "+strconv.Itoa(stranger.Process.Pid), "down")
	}
	_ = stranger.Process.Kill()
	_ = stranger.Wait()
	c.must("down")
}

// machine describes everything that a cluster could change, as seen by other programs than ours.
func machine(tb testing.TB) map[string]string {
	tb.Helper()
	commands := map[string]string{
		"processes": "ps -e -o stat=,args= | grep -E 'kube|etcd|containerd|/pause|" + e2eState + "' | grep -vE '^Z|grep|go-build|cluster\\.test|/tmp/Test' || true",
		"mounts":    "cut -d' ' -f5 /proc/self/mountinfo | sort",
		"links":     "ip -o link show | cut -d: -f2 | cut -d@ -f1 | sort",
		"routes":    "ip route show; ip rule show",
		"netns":     "ls /run/netns 2>/dev/null || true",
		"cgroups":   "find /sys/fs/cgroup -name '*portcullis-test*' -o -name 'kubepods*'",
		"nft":       "nft list tables",
		"run":       "ls /run",
		"cni":       "ls -d /var/lib/cni /var/lib/kubelet /etc/cni /var/log/pods /var/log/containers /run/containerd 2>/dev/null || true",
		"sysctls": "sysctl -e vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys " +
			"kernel.keys.root_maxbytes net.ipv4.ip_forward net.ipv4.conf.all.route_localnet",
	}
	seen := map[string]string{}
	for name, script := range commands {
		output, err := exec.Command("sh", "-c", script).CombinedOutput()
		if err != nil {
			tb.Fatalf("%s: %v\n%s", name, err, output)
		}
		seen[name] = string(output)
	}
	return seen
}

func expectSame(tb testing.TB, before, after map[string]string) {
	tb.Helper()
	for name, text := range before {
		if after[name] != text {
			tb.Errorf("%s have changed.\nbefore:\n%s\nafter:\n%s", name, text, after[name])
		}
	}
}
