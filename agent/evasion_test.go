package agent_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/agent"
	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

const token = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// seen are the events of one container.
type seen struct {
	t        testing.TB
	events   []*telemetryv1.Event
	coverage []bpf.Capability
}

// observe runs something in a container and returns what the agent made of it.
func observe(t *testing.T, opts kerneltest.Options, do func(c *kerneltest.Container)) *seen {
	t.Helper()
	boot, err := agent.BootID()
	if err != nil {
		t.Fatal(err)
	}
	programs, out := load(t), &sink{}
	a, err := agent.New(agent.Options{
		Programs: programs, BootID: boot, Sink: out, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- a.Run(ctx) }()
	c := kerneltest.Start(t, opts)
	do(c)
	cancel()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	return &seen{t: t, coverage: programs.Coverage(), events: slices.DeleteFunc(out.events, func(e *telemetryv1.Event) bool {
		return e.GetContainer().GetId() != c.ID || e.GetContainer().GetPodUid() != c.UID
	})}
}

// opens are the events of one path being opened, as rules know it.
func (s *seen) opens(path string) (found []*telemetryv1.Process) {
	for _, e := range s.events {
		if e.GetOpen().GetPath() == path {
			found = append(found, e.GetProcess())
		}
	}
	return found
}

// opened is the one process that opened the token.
func (s *seen) opened() *telemetryv1.Process {
	s.t.Helper()
	opens := s.opens(token)
	if len(opens) != 1 {
		s.t.Fatalf("%d opens of the token, want 1, in\n%v", len(opens), s.events)
	}
	return opens[0]
}

// executed is the process that executed a command line.
func (s *seen) executed(args ...string) *telemetryv1.Process {
	s.t.Helper()
	for _, e := range s.events {
		if e.GetExec() != nil && slices.Equal(e.GetProcess().GetArgs(), args) {
			return e.GetProcess()
		}
	}
	s.t.Fatalf("no exec of %q in\n%v", args, s.events)
	return nil
}

// Each of these is a way to not be seen.

func TestEvasionByRedirection(t *testing.T) {
	s := observe(t, kerneltest.Options{}, func(c *kerneltest.Container) {
		c.ExecTTY("/bin/sh", "-c", "/usr/bin/true errors 2>/dev/null; echo | /usr/bin/true input; exec </dev/null 2>&1; /usr/bin/true both; :")
	})
	for _, arg := range []string{"errors", "input", "both"} {
		p := s.executed("/usr/bin/true", arg)
		if !p.GetEntryLeader().GetInteractive() || p.GetTty() == 0 || p.GetEntryLeader().GetBegan() != telemetryv1.Began_BEGAN_SESSION {
			t.Errorf("%s: the process is no longer known to be of a session with a terminal: %v", arg, p)
		}
	}
}

func TestEvasionByPipedInput(t *testing.T) {
	s := observe(t, kerneltest.Options{}, func(c *kerneltest.Container) {
		cmd := c.Command("/bin/sh")
		cmd.Stdin = strings.NewReader("cat " + token + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		c.ExecAsProbe("/usr/bin/true probe")
	})
	if p := s.opened(); p.GetEntryLeader().GetBegan() != telemetryv1.Began_BEGAN_SESSION {
		t.Errorf("a session that reads commands from a pipe began as %v", p.GetEntryLeader().GetBegan())
	}
	if p := s.executed("/usr/bin/true", "probe"); p.GetEntryLeader().GetBegan() != telemetryv1.Began_BEGAN_SESSION_OR_PROBE {
		t.Errorf("a session without an input began as %v", p.GetEntryLeader().GetBegan())
	}
}

func TestEvasionByAnotherName(t *testing.T) {
	s := observe(t, kerneltest.Options{}, func(c *kerneltest.Container) {
		c.Exec("/bin/sh", "-c", "cp /usr/bin/cat /tmp/nginx; exec /tmp/nginx "+token)
	})
	if p := s.opened(); p.GetName() != "nginx" || p.GetExecutable() != "/tmp/nginx" {
		t.Errorf("the renamed program is %v", p)
	}
	// Arguments can be anything; the executable cannot.
	s = observe(t, kerneltest.Options{}, func(c *kerneltest.Container) {
		c.Exec("/bin/bash", "-c", "exec -a nginx /usr/bin/cat "+token)
	})
	if p := s.opened(); p.GetName() != "cat" || p.GetExecutable() != "/usr/bin/cat" || p.GetArgs()[0] != "nginx" {
		t.Errorf("the program that calls itself nginx is %v", p)
	}
}

func TestEvasionByPath(t *testing.T) {
	for name, script := range map[string]string{
		"a link":                  "ln -s " + token + " /tmp/t; cat /tmp/t",
		"a link to the directory": "ln -s /run/secrets /tmp/s; cat /tmp/s/kubernetes.io/serviceaccount/token",
		"the link of a process":   "cat /proc/self/root" + token,
		"dots":                    "cd /tmp; cat ../run/secrets/../secrets/kubernetes.io/serviceaccount/..data/token",
		"a bind mount of it":      "touch /tmp/t; unshare -m sh -c 'mount --bind " + token + " /tmp/t && cat /tmp/t'",
		"a bind mount of its directory": "mkdir /tmp/d; unshare -m sh -c 'mount --bind /run/secrets/kubernetes.io/serviceaccount /tmp/d && " +
			"cat /tmp/d/token'",
		"a bind mount of all":              "mkdir /tmp/d; unshare -m sh -c 'mount --rbind / /tmp/d && cat /tmp/d" + token + "'",
		"the first mount taken away":       "mkdir /tmp/d; unshare -m sh -c 'mount --bind /run/secrets/kubernetes.io/serviceaccount /tmp/d && umount /run/secrets/kubernetes.io/serviceaccount && cat /tmp/d/token'",
		"a root of its own":                "mkdir /tmp/d; unshare -m sh -c 'mount --rbind / /tmp/d && chroot /tmp/d cat " + token + "'",
		"the shell itself":                 "read x < " + token,
		"an open file that is opened anew": "exec 3< " + token + "; cat /dev/fd/3 >/dev/null",
	} {
		t.Run(name, func(t *testing.T) {
			s := observe(t, kerneltest.Options{}, func(c *kerneltest.Container) { c.Exec("/bin/sh", "-c", script) })
			if len(s.opens(token)) == 0 {
				t.Errorf("the open is not known by its path: %v", s.events)
			}
		})
	}
}

// TestTokensOfTheirOwnPath: a pod may have several tokens, each of which is known by where its manifest puts it.
func TestTokensOfTheirOwnPath(t *testing.T) {
	vault, cloud := kerneltest.ProjectedVolume(t, "vault"), kerneltest.ProjectedVolume(t, "token")
	elsewhere := kerneltest.ProjectedVolume(t, "sts")
	s := observe(t, kerneltest.Options{Binds: map[string]string{
		"/run/secrets/tokens": vault, "/run/secrets/cloud.example/serviceaccount": cloud, "/opt/identity": elsewhere,
	}}, func(c *kerneltest.Container) {
		c.Exec("/bin/sh", "-c", "cat /run/secrets/tokens/vault; cat /var/run/secrets/cloud.example/serviceaccount/token; cat /opt/identity/sts; "+
			"mkdir /tmp/d; unshare -m sh -c 'mount --bind /run/secrets/tokens /tmp/d && exec cat /tmp/d/vault'")
	})
	if n := len(s.opens("/var/run/secrets/tokens/vault")); n != 2 {
		t.Errorf("%d opens of the first token, want 2, one through a bind mount: %v", n, s.events)
	}
	if n := len(s.opens("/var/run/secrets/cloud.example/serviceaccount/token")); n != 1 {
		t.Errorf("%d opens of the second token, want 1: %v", n, s.events)
	}
	if n := len(s.opens("/opt/identity/sts")); n != 1 {
		t.Errorf("%d opens of a token that is not below /run/secrets, want 1: %v", n, s.events)
	}
	if n := len(s.opens(token)); n != 0 {
		t.Error("a token of another path is said to be the service account's")
	}
}

func TestEvasionByAScript(t *testing.T) {
	s := observe(t, kerneltest.Options{}, func(c *kerneltest.Container) {
		c.Exec("/bin/sh", "-c", "printf '#!/bin/sh\\nread x < "+token+"\\n' > /tmp/inner; printf '#!/tmp/inner\\n' > /tmp/nginx; chmod +x /tmp/inner /tmp/nginx; exec /tmp/nginx")
	})
	p := s.opened()
	if p.GetName() != "sh" || !slices.Equal(p.GetArgs(), []string{"/bin/sh", "/tmp/inner", "/tmp/nginx"}) {
		t.Errorf("the script that is another's interpreter is %v", p)
	}
}

// tool is how the test's binary is run in a container.
func tool(t *testing.T, name string) (kerneltest.Options, []string) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return kerneltest.Options{Binds: map[string]string{"/mnt": filepath.Dir(binary)}},
		[]string{"/usr/bin/env", "AGENT_TEST_TOOL=" + name, "/mnt/" + filepath.Base(binary)}
}

func TestEvasionByAFileWithoutAName(t *testing.T) {
	opts, command := tool(t, "memfd")
	s := observe(t, opts, func(c *kerneltest.Container) { c.Exec(append(command, "/usr/bin/cat", "kworker", token)...) })
	p := s.opened()
	if !strings.HasPrefix(p.GetExecutable(), "/memfd:") || !slices.Equal(p.GetArgs(), []string{"kworker", token}) {
		t.Errorf("the program that was executed from memory is %v", p)
	}
	s.executed("kworker", token)
}

func TestEvasionByANewerCall(t *testing.T) {
	opts, command := tool(t, "openat2")
	s := observe(t, opts, func(c *kerneltest.Container) { c.Exec(append(command, token)...) })
	s.opened()
}

// TestEvasionByARing: where the kernel allows no better hook than system calls, an
// open by io_uring is not seen, and the agent says that its coverage is partial.
func TestEvasionByARing(t *testing.T) {
	opts, command := tool(t, "io_uring")
	possible := true
	s := observe(t, opts, func(c *kerneltest.Container) {
		out, err := c.Command(append(command, token)...).CombinedOutput()
		if err != nil && strings.Contains(string(out), "set up: ") {
			possible = false
		} else if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	if !possible {
		t.Skip("this kernel has no io_uring, or forbids it")
	}
	at := slices.IndexFunc(s.coverage, func(c bpf.Capability) bool { return c.Name == bpf.CapabilityTokenOpen })
	if s.coverage[at].Complete {
		s.opened()
	} else if !strings.Contains(s.coverage[at].Detail, "io_uring") {
		t.Errorf("opens by io_uring are not seen, and all that is said is %q", s.coverage[at].Detail)
	}
}

func TestEvasionByAbsentParents(t *testing.T) {
	s := observe(t, kerneltest.Options{}, func(c *kerneltest.Container) {
		c.ExecTTY("/bin/sh", "-c", "(setsid sh -c '(sleep 0.1; cat "+token+"; echo > /tmp/done) &' >/dev/null 2>&1 &); until [ -e /tmp/done ]; do :; done")
	})
	p := s.opened()
	if p.GetInteractive() || !p.GetEntryLeader().GetInteractive() || p.GetEntryLeader().GetBegan() != telemetryv1.Began_BEGAN_SESSION {
		t.Errorf("the daemon is no longer known to be of the session: %v", p)
	}
}
