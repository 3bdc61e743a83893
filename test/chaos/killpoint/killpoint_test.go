package killpoint_test

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/portcullis-dev/portcullis/test/chaos/killpoint"
)

type program struct {
	t      *testing.T
	points *killpoint.Points
	cmd    *exec.Cmd
	tell   func(string)
	hears  *bufio.Scanner
}

// start builds and runs testdata/program.
func start(t *testing.T) *program {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", binary, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	points, err := killpoint.Find(binary, "main.first", "main.second")
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p := &program{t: t, points: points, cmd: cmd, tell: func(s string) { fmt.Fprintln(in, s) }, hears: bufio.NewScanner(out)}
	p.expect("ready")
	return p
}

// expect reads lines; none is the end.
func (p *program) expect(lines ...string) {
	p.t.Helper()
	for _, want := range lines {
		if !p.hears.Scan() || p.hears.Text() != want {
			p.t.Fatalf("the program says %q, want %q", p.hears.Text(), want)
		}
	}
	if len(lines) == 0 && p.hears.Scan() {
		p.t.Fatalf("the program says %q, want its end", p.hears.Text())
	}
}

func TestDiesWhereItEntersTheFunction(t *testing.T) {
	p := start(t)
	if _, err := p.points.Arm(p.cmd.Process.Pid, "main.second"); err != nil {
		t.Fatal(err)
	}
	p.tell("first")
	p.expect("in first", "did first")
	p.tell("second")
	p.expect()
	var ended *exec.ExitError
	if err := p.cmd.Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended by %v", err)
	}
}

func TestDisarmed(t *testing.T) {
	p := start(t)
	disarm, err := p.points.Arm(p.cmd.Process.Pid, "main.second")
	if err != nil {
		t.Fatal(err)
	}
	if err := disarm(); err != nil {
		t.Fatal(err)
	}
	p.tell("second")
	p.expect("in second", "did second")
}

func TestDisarmingTheDeadIsNoError(t *testing.T) {
	p := start(t)
	disarm, err := p.points.Arm(p.cmd.Process.Pid, "main.second")
	if err != nil {
		t.Fatal(err)
	}
	p.tell("second")
	p.expect()
	if err := disarm(); err != nil {
		t.Error(err)
	}
	_ = p.cmd.Wait()
	if err := disarm(); err != nil {
		t.Error(err)
	}
}

func TestFunctionThatIsNotThere(t *testing.T) {
	p := start(t)
	if _, err := killpoint.Find(p.cmd.Path, "main.third"); err == nil || !strings.Contains(err.Error(), "main.third") {
		t.Errorf("error is %v", err)
	}
	if _, err := p.points.Arm(p.cmd.Process.Pid, "main.third"); err == nil {
		t.Error("a function that was not found was armed")
	}
}
