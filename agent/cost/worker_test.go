package cost

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// TestMain makes the test's binary the worker in the container.
func TestMain(m *testing.M) {
	if os.Getenv("COST_WORKER") != "" {
		if err := work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	kerneltest.Main(m)
}

// catchUp is how far behind its rate a worker may fall, and still make good for it by doing more: one that was
// held up for long would be a flood.
const catchUp = 100 * time.Millisecond

// work does what it is told, line by line: "<what> <how often> <per second, 0 for as fast as it can>",
// and answers how many nanoseconds that took: of time, and of processor time, its children's included.
func work(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var what string
		var times, rate int
		if _, err := fmt.Sscan(lines.Text(), &what, &times, &rate); err != nil {
			return err
		}
		do, ok := map[string]func() error{
			"exec": executeBusybox, "nothing": executeNothing, "open": openOnce, "call": callOnce,
		}[what]
		if !ok {
			return fmt.Errorf("there is no work %q", what)
		}
		begin, before := time.Now(), processorTime()
		var late time.Duration
		for i := range times {
			if rate > 0 {
				wait := time.Until(begin.Add(late + time.Duration(i)*time.Second/time.Duration(rate)))
				late += max(0, -wait-catchUp)
				time.Sleep(wait)
			}
			if err := do(); err != nil {
				return err
			}
		}
		fmt.Fprintln(out, time.Since(begin).Nanoseconds(), (processorTime() - before).Nanoseconds())
	}
	return lines.Err()
}

// processorTime is what this process and its children have used.
func processorTime() (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

// executeBusybox runs a program that is linked statically and does nothing: few real ones are as quick.
func executeBusybox() error { return execute("/usr/bin/busybox", "true") }

// executeNothing runs a program of three instructions: none is quicker, the agent's share is never larger, and
// nothing executes as many in a second.
func executeNothing() error { return execute(os.Getenv("COST_NOTHING"), "nothing") }

func execute(program, name string) error {
	pid, err := syscall.ForkExec(program, []string{name}, &syscall.ProcAttr{Env: []string{}})
	if err != nil {
		return err
	}
	_, err = syscall.Wait4(pid, nil, 0, nil)
	return err
}

func openOnce() error {
	fd, err := syscall.Open("/etc/hostname", syscall.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return syscall.Close(fd)
}

func callOnce() error {
	syscall.Getppid()
	return nil
}

// worker is one that runs in a container.
type worker struct {
	tb  testing.TB
	in  io.Writer
	out *bufio.Reader
	mu  sync.Mutex
}

// oneProcessor keeps Go's threads from looking for work while the worker waits for a child: that
// would be measured, and is neither the agent's cost nor what else executes programs does.
const oneProcessor = "GOMAXPROCS=1"

func startWorker(tb testing.TB, c *kerneltest.Container) *worker {
	tb.Helper()
	binary, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := c.Command("/usr/bin/env", "COST_WORKER=1", "COST_NOTHING=/programs/nothing", oneProcessor, "/mnt/"+filepath.Base(binary))
	return serve(tb, exec.Command(cmd.Path, cmd.Args[1:]...)) // it ends by its input's end, not by the test's
}

// startHostWorker starts one that is in no container.
func startHostWorker(tb testing.TB) *worker {
	tb.Helper()
	binary, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "COST_WORKER=1", "COST_NOTHING="+filepath.Join(programs(tb), "nothing"), oneProcessor)
	return serve(tb, cmd)
}

func serve(tb testing.TB, cmd *exec.Cmd) *worker {
	tb.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("the worker ended with %v: %s", err, stderr.String())
		}
	})
	return &worker{tb: tb, in: in, out: bufio.NewReader(out)}
}

// took is how long something took, and how much processor time.
type took struct{ time, processor time.Duration }

// do has the worker do something.
func (w *worker) do(what string, times, rate int) took {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintln(w.in, what, times, rate)
	var t took
	if _, err := fmt.Fscanln(w.out, (*int64)(&t.time), (*int64)(&t.processor)); err != nil {
		w.tb.Errorf("the worker did not answer: %v", err)
	}
	return t
}

// container starts one that has the worker's binary and what it executes.
func container(tb testing.TB) *kerneltest.Container {
	tb.Helper()
	binary, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return kerneltest.Start(tb, kerneltest.Options{
		Binds: map[string]string{"/mnt": filepath.Dir(binary), "/programs": programs(tb)},
	})
}

// programs makes a directory of what workers execute beside the machine's own.
func programs(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nothing"), kerneltest.Nothing(), 0o755); err != nil {
		tb.Fatal(err)
	}
	return dir
}
