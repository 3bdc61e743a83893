package bpf_test

import (
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

const (
	account  = "/run/secrets/kubernetes.io/serviceaccount/"
	resolved = account + kerneltest.Dated + "/"
)

func TestOpensOfAServiceAccountsFiles(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	for name, test := range map[string]struct {
		path, want string
	}{
		"token":                           {"/var" + account + "token", resolved + "token"},
		"certificate":                     {account + "ca.crt", resolved + "ca.crt"},
		"namespace":                       {account + "namespace", resolved + "namespace"},
		"token of a name of its own":      {account + "vault-token", resolved + "vault-token"},
		"past the links":                  {resolved + "token", resolved + "token"},
		"through /proc":                   {"/proc/self/root" + account + "token", resolved + "token"},
		"from another process' directory": {"/proc/1/cwd" + account + "token", resolved + "token"},
	} {
		t.Run(name, func(t *testing.T) {
			c.Exec("/usr/bin/cat", test.path)
			r := w.one("the open", in(c), kind(bpf.KindOpen), args("/usr/bin/cat", test.path))
			if r.File != test.want {
				t.Errorf("the file is %q, want %q", r.File, test.want)
			}
			if r.Executable != "/usr/bin/cat" || r.EntryPID != r.PID || r.Interactive {
				t.Errorf("the process is %+v", r)
			}
			exec := w.one("the exec", in(c), kind(bpf.KindExec), args("/usr/bin/cat", test.path))
			if exec.Image != r.Image || exec.Start != r.Start || exec.Time > r.Time {
				t.Errorf("the open is by %v (%d), the exec was %v (%d)", r.Image, r.Start, exec.Image, exec.Start)
			}
		})
	}
}

func TestOpensUnderAnotherPath(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	c.Exec("/bin/sh", "-c", "unshare -m sh -c 'mount --bind "+account+kerneltest.Dated+" /tmp && cat /tmp/token'")
	r := w.one("the open", in(c), kind(bpf.KindOpen), args("cat", "/tmp/token"))
	if r.File != "/tmp/token" {
		t.Errorf("the file is %q, want /tmp/token", r.File)
	}
}

func TestOpensByAShellItself(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	// The parentheses make a process that never executes anything.
	script := "(read x < /var" + account + "token; read y < /var" + account + "namespace 2>/dev/null); :"
	c.ExecTTY("/bin/sh", "-c", script)

	shell := w.one("the shell", in(c), kind(bpf.KindExec), args("/bin/sh", "-c", script))
	for _, name := range []string{"token", "namespace"} {
		r := w.one("the open of "+name, in(c), kind(bpf.KindOpen), file(name))
		if r.PID == shell.PID || r.Image != shell.Image || r.PPID != shell.PID {
			t.Errorf("opened by %d running %v, want a child of %d running %v", r.PID, r.Image, shell.PID, shell.Image)
		}
		if !r.Interactive || !r.EntryTTY || r.EntryPID != shell.PID {
			t.Errorf("the open lost its session: %+v", r)
		}
	}
}

func TestOtherOpensAreNotReported(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	c.Exec("/bin/sh", "-c", strings.Join([]string{
		"cat " + account + "other",
		"cat /etc/hostname",
		"cat " + account + "no-such-token",
		"stat " + account + "token",
		"echo secret > /tmp/token; cat /tmp/token",
		"cat " + account + "namespace",
	}, "; ")+"; :")

	w.one("the last open", in(c), kind(bpf.KindOpen), file("namespace"))
	if opens := w.all(in(c), kind(bpf.KindOpen)); len(opens) != 1 {
		for _, r := range opens {
			t.Errorf("reported: %q by %q", r.File, r.Args)
		}
	}
}
