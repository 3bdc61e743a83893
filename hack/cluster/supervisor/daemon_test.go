package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/hack/cluster/component"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what must happen soon; nothing here takes that long.
const patience = 30 * time.Second

func within(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// newDaemon returns a daemon that runs a shell script and is stopped after the test.
func newDaemon(tb testing.TB, script string, health component.Probe) *daemon {
	tb.Helper()
	s := newSpawner()
	d := &daemon{
		spawner: s, logPath: filepath.Join(tb.TempDir(), "daemon.log"), logger: slog.New(slog.DiscardHandler), now: time.Now,
		component: shell(script, health),
	}
	tb.Cleanup(func() {
		d.stop(patience)
		s.close()
	})
	return d
}

func shell(script string, health component.Probe) component.Component {
	return component.Component{Name: "daemon", Argv: []string{"sh", "-c", script}, Health: health}
}

func start(tb testing.TB, d *daemon) {
	tb.Helper()
	if err := d.start(); err != nil {
		tb.Fatal(err)
	}
}

func eventually(tb testing.TB, what string, question func() bool) {
	tb.Helper()
	err := until(within(tb), what, func(context.Context) (bool, error) { return question(), nil })
	if err != nil {
		tb.Fatal(err)
	}
}

func logged(d *daemon, text string) func() bool {
	return func() bool {
		content, err := os.ReadFile(d.logPath)
		return err == nil && strings.Contains(string(content), text)
	}
}

func TestDaemonRunsUntilItIsStopped(t *testing.T) {
	d := newDaemon(t, "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.05; done", component.Probe{})
	if d.ended() == nil {
		t.Error("it runs before it was started")
	}
	start(t, d)
	eventually(t, "the first word", logged(d, "hello"))
	if err := d.ended(); err != nil {
		t.Errorf("it has ended: %v", err)
	}
	d.stop(patience)
	if d.ended() == nil {
		t.Error("it runs after it was stopped")
	}
	if !logged(d, "bye")() {
		t.Error("it was killed, not asked to end")
	}
	d.stop(patience) // once more does no harm
}

func TestDaemonThatDoesNotListenIsKilled(t *testing.T) {
	d := newDaemon(t, "trap '' TERM; echo deaf; while :; do sleep 0.05; done", component.Probe{})
	start(t, d)
	eventually(t, "the first word", logged(d, "deaf"))
	d.stop(10 * time.Millisecond)
	if err := d.ended(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v", err)
	}
}

func TestDaemonIsStartedAgain(t *testing.T) {
	d := newDaemon(t, "echo run; exec sleep 600", component.Probe{})
	start(t, d)
	d.keepUp()
	first := d.status(within(t), newProber())
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var second Status
	eventually(t, "another process", func() bool {
		second = d.status(within(t), newProber())
		return second.Running && second.PID != first.PID
	})
	if second.Restarts != 1 || second.LastExit != "signal: killed" {
		t.Errorf("status %+v, want one restart after a kill", second)
	}
}

func TestDaemonIsNotStartedAgainWhenItsEndWasWanted(t *testing.T) {
	d := newDaemon(t, "exec sleep 600", component.Probe{})
	start(t, d)
	d.keepUp()
	d.stop(patience)
	status := d.status(within(t), newProber())
	if status.Running || status.LastExit != "" || status.Restarts != 0 {
		t.Errorf("status %+v", status)
	}
}

func TestReplace(t *testing.T) {
	d := newDaemon(t, "echo one; exec sleep 600", component.Probe{})
	start(t, d)
	eventually(t, "the first", logged(d, "one"))
	if err := d.replace(shell("echo two; exec sleep 600", component.Probe{}), patience); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second", logged(d, "two"))
	if err := d.ended(); err != nil {
		t.Errorf("the second has ended: %v", err)
	}
}

func TestStartSaysWhatItCannotStart(t *testing.T) {
	d := newDaemon(t, "", component.Probe{})
	d.component.Argv = []string{"/no/such/program"}
	if err := d.start(); err == nil || !strings.Contains(err.Error(), "start daemon") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestWaitHealthy(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	d := newDaemon(t, "exec sleep 600", component.Probe{Socket: socket})
	start(t, d)
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	var failure *DaemonError
	if err := d.waitHealthy(short, newProber()); !errors.As(err, &failure) || !strings.Contains(failure.Reason, "does not answer in time") {
		t.Errorf("nobody listens: %v", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := d.waitHealthy(within(t), newProber()); err != nil {
		t.Error(err)
	}
}

func TestWaitHealthyNoticesADeadDaemon(t *testing.T) {
	d := newDaemon(t, "echo earlier", component.Probe{Socket: "/no/such/socket"})
	start(t, d)
	eventually(t, "its end", func() bool { return d.ended() != nil })
	if err := d.replace(shell("echo bad flag; exit 3", component.Probe{Socket: "/no/such/socket"}), patience); err != nil {
		t.Fatal(err)
	}
	err := d.waitHealthy(within(t), newProber())
	if err == nil {
		t.Fatal("a dead daemon is healthy")
	}
	for _, want := range []string{"daemon ended while starting: exit status 3", d.logPath, "    bad flag"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the message lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "earlier") {
		t.Errorf("the message has lines of the process before:\n%v", err)
	}
}

func TestNothingIsStartedOnceTheSupervisorEnds(t *testing.T) {
	s := newSpawner()
	d := &daemon{
		spawner: s, logPath: filepath.Join(t.TempDir(), "daemon.log"), logger: slog.New(slog.DiscardHandler), now: time.Now,
		component: shell("read line </dev/null; exit 1", component.Probe{}),
	}
	d.keepUp()
	start(t, d)
	eventually(t, "its end", func() bool { return d.ended() != nil })
	s.close() // while the daemon waits to be started again
	if err := d.start(); err == nil {
		t.Error("a closed spawner has started something")
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if lines := tail(path, 0); lines != nil {
		t.Errorf("no file has lines: %v", lines)
	}
	text := strings.Repeat("0123456789\n", 5000) + "\x1b[31mred\x1b[0m\ttab\n" + strings.Repeat("x", 1000) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := tail(path, 0)
	if len(lines) != tailLines {
		t.Fatalf("%d lines, want %d", len(lines), tailLines)
	}
	if got := lines[tailLines-2]; got != "\uFFFD[31mred\uFFFD[0m\ttab" {
		t.Errorf("control characters: %q", got)
	}
	if got := []rune(lines[tailLines-1]); len(got) != lineRunes+1 {
		t.Errorf("a long line has %d characters", len(got))
	}
	if lines := tail(path, int64(len(text))); lines != nil {
		t.Errorf("nothing was added, but there are %v", lines)
	}
}
