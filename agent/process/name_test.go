package process

import (
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
)

func TestName(t *testing.T) {
	for what, test := range map[string]struct {
		record bpf.Record
		want   string
	}{
		"a program": {bpf.Record{Executable: "/usr/bin/curl", Interpreter: "/usr/bin/curl", Args: []string{"curl", "-k"}}, "curl"},
		"a link to a program": {
			bpf.Record{Executable: "/usr/bin/dash", Interpreter: "/bin/sh", Args: []string{"/bin/sh", "-c", "id"}}, "sh",
		},
		"a relative path": {bpf.Record{Executable: "/tmp/wget", Interpreter: "./wget", Args: []string{"./wget"}}, "wget"},
		"a program that lies about its name": {
			bpf.Record{Executable: "/usr/bin/curl", Interpreter: "/usr/bin/curl", Args: []string{"sleep", "-k"}, Comm: "curl"}, "curl",
		},
		"a login shell":    {bpf.Record{Executable: "/usr/bin/bash", Interpreter: "/bin/bash", Args: []string{"-bash"}}, "bash"},
		"a script":         {bpf.Record{Executable: "/usr/bin/dash", Interpreter: "/bin/sh", Args: []string{"/bin/sh", "/app/run"}, Comm: "run"}, "sh"},
		"a busybox applet": {bpf.Record{Executable: "/bin/busybox", Interpreter: "/bin/cat", Args: []string{"cat", "token"}}, "cat"},
		"a busybox applet by path": {
			bpf.Record{Executable: "/bin/busybox", Interpreter: "/usr/bin/wget", Args: []string{"/usr/bin/wget", "-O-"}}, "wget",
		},
		"an applet that a busybox shell runs": {
			bpf.Record{Executable: "/bin/busybox", Interpreter: "/proc/self/exe", Args: []string{"wget", "-O-"}, Comm: "exe"}, "wget",
		},
		"busybox itself": {bpf.Record{Executable: "/bin/busybox", Interpreter: "/bin/busybox", Args: []string{"busybox", "sh"}}, "busybox"},
		"an applet under a false name": {
			bpf.Record{Executable: "/bin/busybox", Interpreter: "/tmp/harmless", Args: []string{"wget", "-O-"}}, "wget",
		},
		"a login shell of busybox": {bpf.Record{Executable: "/bin/busybox", Interpreter: "/bin/sh", Args: []string{"-sh"}}, "sh"},
		"busybox without arguments": {
			bpf.Record{Executable: "/bin/busybox", Interpreter: "/proc/self/exe", Comm: "exe"}, "busybox",
		},
		"coreutils": {bpf.Record{Executable: "/usr/bin/coreutils", Interpreter: "/usr/bin/cat", Args: []string{"cat"}}, "cat"},
		"an open file": {
			bpf.Record{Executable: "/memfd:payload", Interpreter: "/dev/fd/3", Args: []string{"x"}, Comm: "3"}, "memfd:payload",
		},
		"a process that already ran": {
			bpf.Record{Learned: true, Executable: "/usr/bin/dash", Args: []string{"/bin/sh", "-i"}, Comm: "sh"}, "sh",
		},
		"a process that already ran and renamed itself": {
			bpf.Record{Learned: true, Executable: "/usr/sbin/nginx", Args: []string{"nginx: worker process"}, Comm: "nginx"}, "nginx",
		},
		"a long name of a process that already ran": {
			bpf.Record{Learned: true, Executable: "/usr/bin/x", Args: []string{"/a/very-long-program-name"}, Comm: "very-long-progr"}, "very-long-program-name",
		},
		"nothing but the command name": {bpf.Record{Comm: "sh"}, "sh"},
		"a directory as argument":      {bpf.Record{Executable: "/bin/busybox", Interpreter: "/bin/ls", Args: []string{"/"}}, "ls"},
	} {
		t.Run(what, func(t *testing.T) {
			if got := name(&test.record); got != test.want {
				t.Errorf("name = %q, want %q", got, test.want)
			}
		})
	}
}

func TestParentName(t *testing.T) {
	for want, test := range map[string]struct{ executable, comm string }{
		"containerd-shim-runc-v2": {"/usr/bin/containerd-shim-runc-v2", "containerd-shim"},
		"sh":                      {"/bin/busybox", "sh"},
		"kthreadd":                {"", "kthreadd"},
	} {
		if got := parentName(test.executable, test.comm); got != want {
			t.Errorf("parentName(%q, %q) = %q, want %q", test.executable, test.comm, got, want)
		}
	}
}

func TestFilePath(t *testing.T) {
	const dated = "..2026_11_21_17_52_59.2458567487/"
	for resolved, want := range map[string]string{
		"/run/secrets/kubernetes.io/serviceaccount/" + dated + "token":      "/var/run/secrets/kubernetes.io/serviceaccount/token",
		"/var/run/secrets/kubernetes.io/serviceaccount/" + dated + "ca.crt": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
		"/run/secrets/kubernetes.io/serviceaccount/token":                   "/var/run/secrets/kubernetes.io/serviceaccount/token",
		"/var/run/secrets/tokens/" + dated + "vault-token":                  "/var/run/secrets/tokens/vault-token",
		"/run/secrets/tokens/" + dated + "vault-token":                      "/var/run/secrets/tokens/vault-token",
		"/host/var/lib/kubelet/pods/1/volumes/kubernetes.io~projected/a/" + dated + "token": "/host/var/lib/kubelet/pods/1/volumes/" +
			"kubernetes.io~projected/a/token",
		"/run/secrets/kubernetes.io/serviceaccount/..data/token": "/var/run/secrets/kubernetes.io/serviceaccount/..data/token",
		"/..2026_11_21_17_52_59.1/token":                         "/token",
		"/a/..2026_11_21/token":                                  "/a/..2026_11_21/token",
		"/a/..2026_11_21_17_52_5x.1/token":                       "/a/..2026_11_21_17_52_5x.1/token",
		"/tmp/token":                                             "/tmp/token",
		"token":                                                  "token",
		"":                                                       "",
	} {
		if got := filePath(&bpf.Record{File: resolved}); got != want {
			t.Errorf("filePath(%q) = %q, want %q", resolved, got, want)
		}
	}
}

func TestFilePathOfAVolume(t *testing.T) {
	const dated = "..2026_11_21_17_52_59.2458567487/"
	for name, test := range map[string]struct {
		opened, known string
		account       bool
		want          string
	}{
		"bind mount of the directory": {
			"/tmp/" + dated + "token", "/run/secrets/kubernetes.io/serviceaccount/" + dated + "token", true,
			"/var/run/secrets/kubernetes.io/serviceaccount/token",
		},
		"bind mount of the file": {
			"/tmp/x", "/run/secrets/kubernetes.io/serviceaccount/" + dated + "token", true,
			"/var/run/secrets/kubernetes.io/serviceaccount/token",
		},
		"root of its own": {
			"/inner/run/secrets/kubernetes.io/serviceaccount/" + dated + "token",
			"/inner/run/secrets/kubernetes.io/serviceaccount/" + dated + "token", true,
			"/var/run/secrets/kubernetes.io/serviceaccount/token",
		},
		"the same path of another volume": {
			"/inner/kubernetes.io/serviceaccount/token", "", false, "/inner/kubernetes.io/serviceaccount/token",
		},
		"token of a path of its own": {
			"/tmp/x", "/etc/tokens/" + dated + "vault", false, "/etc/tokens/vault",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &bpf.Record{File: test.opened, KnownFile: test.known, AccountFile: test.account}
			if got := filePath(r); got != test.want {
				t.Errorf("filePath = %q, want %q", got, test.want)
			}
		})
	}
}
