package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/agent"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// TestInAPod runs the agent as its DaemonSet does: in a container with its own
// mount and network namespaces, on a read-only file system without any of
// the host's directories, with no capabilities but those of the chart; and as
// one that is to end no sessions, with its own PID namespace too.
func TestInAPod(t *testing.T) {
	for name, test := range map[string]struct {
		opts     kerneltest.Options
		coverage []string
	}{
		"as the chart has it": {
			kerneltest.Options{HostPID: true, Capabilities: []string{"CAP_BPF", "CAP_PERFMON", "CAP_KILL"}},
			[]string{`(?m)^running-processes +yes`, `(?m)^end-session +yes +pidfd.*SYS_PTRACE`},
		},
		"that tells a person why": {
			kerneltest.Options{HostPID: true, Capabilities: []string{"CAP_BPF", "CAP_PERFMON", "CAP_KILL", "CAP_SYS_PTRACE"}},
			[]string{`(?m)^end-session +yes +pidfd *$`},
		},
		"that is to end nothing": {
			kerneltest.Options{Capabilities: []string{"CAP_BPF", "CAP_PERFMON"}},
			[]string{`(?m)^running-processes +partial .*hostPID`, `(?m)^end-session +no .*hostPID`, `(?m)^coverage +partial`},
		},
		"without KILL": {
			kerneltest.Options{HostPID: true, Capabilities: []string{"CAP_BPF", "CAP_PERFMON"}},
			[]string{`(?m)^running-processes +yes`, `(?m)^end-session +no .*KILL`},
		},
	} {
		t.Run(name, func(t *testing.T) { runInAPod(t, test.opts, test.coverage) })
	}
}

// forMaps is what kernels before 5.11 want besides, which count maps as locked memory.
func forMaps(t *testing.T) []string {
	t.Helper()
	release, err := agent.KernelRelease()
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(release, "5.10.") {
		return []string{"CAP_SYS_RESOURCE"}
	}
	return nil
}

func runInAPod(t *testing.T, opts kerneltest.Options, coverage []string) {
	kerneltest.RequireRoot(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opts.Capabilities = append(opts.Capabilities, forMaps(t)...)
	opts.ReadOnly, opts.Binds = true, map[string]string{"/tmp": filepath.Dir(binary)}
	pod := kerneltest.Start(t, opts)
	tool := []string{"/usr/bin/env", "PORTCULLIS_TEST_TOOL=agent", "/tmp/" + filepath.Base(binary)}
	out := pod.Exec(append(tool, "--check")...)
	for _, pattern := range append(coverage, `(?m)^exec +yes`) {
		if !regexp.MustCompile(pattern).MatchString(out) {
			t.Errorf("the check says nothing that matches %s:\n%s", pattern, out)
		}
	}

	cmd := pod.Command(append(tool, "--output=json")...)
	var stdout, stderr lines
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	stderr.wait(t, coverageLogged)
	other := kerneltest.Start(t, kerneltest.Options{})
	other.Exec("/usr/bin/cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	stdout.wait(t, `"id":"`+other.ID+`".*"path":"/var/run/secrets/kubernetes.io/serviceaccount/token"`)
}

// TestMissingPermission: what is missing is said, and what to do about it.
func TestMissingPermission(t *testing.T) {
	kerneltest.RequireRoot(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := map[string]string{"/tmp": filepath.Dir(binary)}
	for name, test := range map[string]struct {
		opts kerneltest.Options
		want string
	}{
		"no PERFMON": {kerneltest.Options{Capabilities: []string{"CAP_BPF"}, ReadOnly: true, Binds: dir}, "the capabilities BPF and PERFMON"},
		"no BTF":     {kerneltest.Options{Capabilities: []string{"CAP_BPF", "CAP_PERFMON"}, Binds: dir}, "CONFIG_DEBUG_INFO_BTF"},
	} {
		t.Run(name, func(t *testing.T) {
			c := kerneltest.Start(t, test.opts)
			cmd := c.Command("/usr/bin/env", "PORTCULLIS_TEST_TOOL=agent", "/tmp/"+filepath.Base(binary), "--check")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.want) {
				t.Errorf("the check ended with %v, want something about %q:\n%s", err, test.want, out)
			}
			if !strings.Contains(string(out), "exec") || !strings.Contains(string(out), "not available") {
				t.Errorf("there is no table:\n%s", out)
			}
		})
	}
}
