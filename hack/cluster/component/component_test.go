package component_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/portcullis-dev/portcullis/hack/cluster/component"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

func newLayout(tb testing.TB) layout.Layout {
	tb.Helper()
	state, err := os.MkdirTemp("/tmp", "layout") // TempDir's names are too long for a state directory
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(state) })
	l, err := layout.New(state, "/opt/kubernetes")
	if err != nil {
		tb.Fatal(err)
	}
	for _, dir := range []string{l.PKI(), l.ConfigDir()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	return l
}

func TestDaemons(t *testing.T) {
	l := newLayout(t)
	seen := map[string]bool{}
	for _, daemon := range component.Daemons(l) {
		if seen[daemon.Name] {
			t.Errorf("%s is there twice", daemon.Name)
		}
		seen[daemon.Name] = true
		if (daemon.Health.URL == "") == (daemon.Health.Socket == "") {
			t.Errorf("%s: health %+v, want exactly one question", daemon.Name, daemon.Health)
		}
		if filepath.Base(daemon.Argv[0]) != daemon.Name {
			t.Errorf("%s runs %s", daemon.Name, daemon.Argv[0])
		}
	}
	for _, name := range []string{component.Etcd, component.APIServer, component.Kubelet, component.Containerd} {
		if !seen[name] {
			t.Errorf("no %s", name)
		}
	}
}

// Every file that a daemon is pointed at is one that somebody writes.
func TestDaemonsNameFilesThatExist(t *testing.T) {
	l := newLayout(t)
	if err := component.WriteConfigs(l, component.Facts{Snapshotter: "overlayfs", MaxOpenFiles: 1000}); err != nil {
		t.Fatal(err)
	}
	if err := component.WriteCredentials(l, time.Now); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, daemon := range component.Daemons(l) {
		for _, argument := range daemon.Argv[1:] {
			flag, path, _ := strings.Cut(argument, "=")
			if !strings.HasPrefix(path, l.State+"/") || strings.HasSuffix(flag, "-dir") {
				continue
			}
			checked++
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s %s: %v", daemon.Name, argument, err)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d arguments name files: the test looks for the wrong ones", checked)
	}
}

func TestConfigsParse(t *testing.T) {
	l := newLayout(t)
	if err := component.WriteConfigs(l, component.Facts{Snapshotter: "native", MaxOpenFiles: 4321}); err != nil {
		t.Fatal(err)
	}
	var kubelet struct {
		CgroupRoot, ContainerRuntimeEndpoint, ResolvConf string
		FailCgroupV1                                     *bool
		MaxOpenFiles                                     int64
		EvictionHard                                     map[string]string
	}
	readYAML(t, l.Config("kubelet.yaml"), &kubelet)
	if kubelet.CgroupRoot != layout.Cgroup || kubelet.MaxOpenFiles != 4321 || kubelet.FailCgroupV1 == nil || *kubelet.FailCgroupV1 {
		t.Errorf("kubelet configuration %+v", kubelet)
	}
	if kubelet.ContainerRuntimeEndpoint != "unix://"+l.ContainerdSocket() || kubelet.EvictionHard["nodefs.available"] != "1%" {
		t.Errorf("kubelet configuration %+v", kubelet)
	}
	if _, err := os.Stat(kubelet.ResolvConf); err != nil {
		t.Error(err)
	}
	var proxy struct{ Mode, ClusterCIDR string }
	readYAML(t, l.Config("kube-proxy.yaml"), &proxy)
	if proxy.Mode != "nftables" || proxy.ClusterCIDR != layout.PodCIDR {
		t.Errorf("kube-proxy configuration %+v", proxy)
	}
	var network struct {
		Plugins []struct{ Type string }
	}
	readYAML(t, filepath.Join(l.CNI(), "10-pods.conflist"), &network)
	if len(network.Plugins) != 2 || network.Plugins[0].Type != "ptp" {
		t.Errorf("pod network %+v", network)
	}
	text, err := os.ReadFile(l.Config("containerd.toml"))
	if err != nil || !strings.Contains(string(text), `snapshotter = "native"`) || strings.Contains(string(text), "%!") {
		t.Errorf("containerd configuration (%v):\n%s", err, text)
	}
}

func readYAML(tb testing.TB, path string, into any) {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if strings.Contains(string(text), "%!") {
		tb.Errorf("%s was not filled in:\n%s", path, text)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
}

func auditDir(tb testing.TB, files ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func TestAuditFlags(t *testing.T) {
	l := newLayout(t)
	off := component.NewAPIServer(l, component.Audit{})
	for _, argument := range off.Argv {
		if strings.Contains(argument, "audit") {
			t.Errorf("without auditing: %s", argument)
		}
	}
	dir := auditDir(t, "audit-policy.yaml", "audit-webhook.kubeconfig")
	batch := component.NewAPIServer(l, component.Audit{Dir: dir, Mode: "batch", BatchMaxWait: 250 * time.Millisecond})
	for _, want := range []string{
		"--audit-policy-file=" + dir + "/audit-policy.yaml",
		"--audit-webhook-config-file=" + dir + "/audit-webhook.kubeconfig",
		"--audit-webhook-mode=batch",
		"--audit-webhook-batch-max-wait=250ms",
		"--audit-log-path=" + l.AuditLog(),
	} {
		if !slices.Contains(batch.Argv, want) {
			t.Errorf("no %s", want)
		}
	}
	blocking := component.NewAPIServer(l, component.Audit{Dir: dir, Mode: "blocking", BatchMaxWait: time.Second})
	if slices.ContainsFunc(blocking.Argv, func(a string) bool { return strings.Contains(a, "batch") }) {
		t.Errorf("blocking mode with a batch flag: %v", blocking.Argv)
	}
}

func TestAuditValidate(t *testing.T) {
	whole := auditDir(t, "audit-policy.yaml", "audit-webhook.kubeconfig")
	tests := []struct {
		name  string
		audit component.Audit
		want  string
	}{
		{"off", component.Audit{}, ""},
		{"whole", component.Audit{Dir: whole, Mode: "batch", BatchMaxWait: time.Second}, ""},
		{"no policy", component.Audit{Dir: auditDir(t, "audit-webhook.kubeconfig"), Mode: "batch", BatchMaxWait: time.Second}, "audit-policy.yaml"},
		{"no kubeconfig", component.Audit{Dir: auditDir(t, "audit-policy.yaml"), Mode: "batch", BatchMaxWait: time.Second}, "audit-webhook.kubeconfig"},
		{"mode", component.Audit{Dir: whole, Mode: "fast", BatchMaxWait: time.Second}, `"fast"`},
		{"wait", component.Audit{Dir: whole, Mode: "batch"}, "not a positive duration"},
		{"relative", component.Audit{Dir: ".", Mode: "batch", BatchMaxWait: time.Second}, "not an absolute path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.audit.Validate()
			if test.want == "" && err != nil {
				t.Error(err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want one with %s", err, test.want)
			}
		})
	}
}

func TestWriteUser(t *testing.T) {
	l := newLayout(t)
	if _, err := component.WriteUser(l, "alice", nil, time.Now); err == nil {
		t.Error("a user was issued without an authority")
	}
	if err := component.WriteCredentials(l, time.Now); err != nil {
		t.Fatal(err)
	}
	path, err := component.WriteUser(l, "alice", []string{"devs"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if path != l.UserKubeconfig("alice") {
		t.Errorf("path %s", path)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
}
