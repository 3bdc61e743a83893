//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// killed is the exit status of who was ended by force.
const killed = 137

// testKill has a rule end sessions, and nothing else.
func testKill(t *testing.T, w *world) {
	// SYS_PTRACE is what it takes to tell the person at the terminal.
	w.check(t, w.Upgrade(step(t), "agent.endSessions=true", "agent.capabilities={BPF,PERFMON,SYS_PTRACE}"))
	v := w.deploy(t, "web-0", "killed")[0]
	alice := w.person(t, "alice", "devs")

	t.Run("a session", func(t *testing.T) {
		guilty, neighbour := w.shell(t, v), w.shellOf(t, alice.User, v)
		w.enter(t, guilty, "sleep 600 & echo begun-$((1+1))", "begun-2")
		w.check(t, guilty.Type("/bin/echo e2e-kill\n"))
		code, err := guilty.Ended(step(t))
		w.check(t, err)
		if code != killed {
			t.Errorf("exit status %d, want %d:\n%s", code, killed, guilty.Output())
		}
		d := w.await(t, ruleKill, v)
		if got := d.Document.Portcullis.Detection; got.Action != "kill-session" {
			t.Errorf("the action is %q (%s)", got.Action, got.Why)
		}
		if shown := guilty.Output(); !strings.Contains(shown, "Portcullis has ended this session") {
			t.Errorf("nobody was told why:\n%s", shown)
		}
		w.awaitPodEvent(t, v, "PortcullisSessionKilled", ruleKill)
		w.enter(t, neighbour, "echo still-$((1+1))", "still-2")
		w.expectAllowed(t, v)
		if now, err := w.Admin().Pod(step(t), v.namespace, v.name); err != nil || now != v.Pod {
			t.Errorf("the pod is another one: %+v, %v", now, err)
		}
	})
	t.Run("one that begins later", func(t *testing.T) { testKillLate(t, w, alice) })
	t.Run("impersonation", func(t *testing.T) {
		v := w.deploy(t, "web-2", "killed")[0]
		w.quarantine(t, "impersonator", `{kind: User, name: mallory}`)
		mallory := w.personOf(t, w.mallory)
		w.awaitVerdict(t, mallory, v.execRequest(), "impersonator")
		// An equal session of just before hides nothing, although its shell goes on when its terminal is closed.
		w.shellOf(t, alice.User, v).Close()
		// Admission sees alice, and nobody else.
		shell, err := w.mallory.Terminal(step(t), "exec", "-it", "-n", v.namespace, v.name, "--as=alice", "--as-group=devs", "--", "bash", "--norc")
		w.check(t, err)
		t.Cleanup(shell.Close)
		code, err := shell.Ended(step(t))
		w.check(t, err)
		if code != killed || !strings.Contains(shell.Output(), "impersonator") {
			t.Errorf("exit status %d, want %d:\n%s", code, killed, shell.Output())
		}
		w.release(t, "impersonator")
		w.awaitVerdict(t, mallory, v.execRequest(), "")
	})
}

// shellOf is a shell of somebody else.
func (w *world) shellOf(t *testing.T, user harness.User, v victim) *harness.Terminal {
	t.Helper()
	other := *w
	other.mallory = user
	return other.shell(t, v)
}

// testKillLate lets somebody in while the container runtime stands still. What the detection of then is about ends as it begins.
func testKillLate(t *testing.T, w *world, alice person) {
	v := w.deploy(t, "web-1", "killed")[0]
	ctx := step(t)
	shell := w.shell(t, v)
	w.enter(t, shell, "busybox mkfifo /tmp/go; echo made-$((1+1))", "made-2")
	w.check(t, shell.Type("read line < /tmp/go; /bin/echo e2e-kill\n"))
	leader := w.awaitSession(t, v, func(s session) bool { return s.Interactive && s.Root.PID != 0 }).Root.PID

	thaw, err := w.Freeze(ctx, "containerd")
	w.check(t, err)
	t.Cleanup(func() { _ = thaw() })
	ended := make(chan harness.Result, 1)
	go func() {
		r, _ := alice.Run(ctx, "kubectl", "exec", "-n", v.namespace, v.name, "--", "sleep", "600")
		ended <- r
	}()
	w.awaitSession(t, v, func(s session) bool { return s.State == "requested" && strings.Join(s.Command, " ") == "sleep 600" })
	w.check(t, os.WriteFile(inContainer(leader, "/tmp/go"), []byte("now\n"), 0o600))
	w.await(t, ruleKill, v)
	select {
	case r := <-ended:
		t.Errorf("the exec ended before it began: %+v", r)
	default:
	}
	w.check(t, thaw())
	select {
	case r := <-ended:
		if r.Code != killed {
			t.Errorf("exit status %d, want %d: %s", r.Code, killed, r.Stderr)
		}
	case <-ctx.Done():
		t.Error("the session that was let in before the detection goes on")
	}
	w.expectAllowed(t, v)
}
