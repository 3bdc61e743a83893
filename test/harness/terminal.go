package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
)

// Terminal is a program that runs on a terminal of its own, as under a person's hands.
type Terminal struct {
	name string
	cmd  *exec.Cmd
	tty  *os.File
	done chan struct{} // closed when the program has ended and all its output was read

	mu      sync.Mutex
	output  strings.Builder
	changed chan struct{} // closed and replaced whenever output grows
}

// startTerminal starts a program on a new terminal.
func startTerminal(ctx context.Context, env []string, path string, args ...string) (*Terminal, error) {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // the test chooses what to run
	cmd.Env = append(os.Environ(), env...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 200})
	if err != nil {
		return nil, fmt.Errorf("start %s on a terminal: %w", path, err)
	}
	t := &Terminal{name: path, cmd: cmd, tty: tty, done: make(chan struct{}), changed: make(chan struct{})}
	go t.read()
	return t, nil
}

func (t *Terminal) read() {
	defer close(t.done)
	buffer := make([]byte, 4096)
	for {
		n, err := t.tty.Read(buffer)
		t.mu.Lock()
		t.output.Write(buffer[:n])
		close(t.changed)
		t.changed = make(chan struct{})
		t.mu.Unlock()
		if err != nil {
			return // EIO: the program closed its end
		}
	}
}

// Type sends text as if it were typed; end a line with "\n".
func (t *Terminal) Type(text string) error {
	if _, err := t.tty.WriteString(text); err != nil {
		return fmt.Errorf("type into %s: %w", t.name, err)
	}
	return nil
}

// Output is everything that the terminal has shown.
func (t *Terminal) Output() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.output.String()
}

// Expect waits until the terminal has shown text.
func (t *Terminal) Expect(ctx context.Context, text string) error {
	return t.await(ctx, "show "+strconv.Quote(text), func(shown string) bool { return strings.Contains(shown, text) })
}

// Line types a line into a shell and waits until the shell is ready for the
// next one: until it has echoed the line, and its prompt is the last thing shown.
func (t *Terminal) Line(ctx context.Context, line, prompt string) error {
	before := len(t.Output())
	if err := t.Type(line + "\n"); err != nil {
		return err
	}
	return t.await(ctx, "come back to the prompt "+strconv.Quote(prompt)+" after "+strconv.Quote(line), func(shown string) bool {
		return strings.Contains(shown[before:], "\n") && strings.HasSuffix(shown, prompt)
	})
}

func (t *Terminal) await(ctx context.Context, what string, reached func(shown string) bool) error {
	for {
		t.mu.Lock()
		shown, changed := t.output.String(), t.changed
		t.mu.Unlock()
		if reached(shown) {
			return nil
		}
		select {
		case <-changed:
		case <-t.done:
			if shown = t.Output(); reached(shown) {
				return nil
			}
			return fmt.Errorf("%s ended and did not %s; it showed:\n%s", t.name, what, shown)
		case <-ctx.Done():
			return fmt.Errorf("%s did not %s: %w; it showed:\n%s", t.name, what, ctx.Err(), shown)
		}
	}
}

// Wait waits until the program has ended and returns its exit status.
func (t *Terminal) Wait() (int, error) {
	<-t.done
	err := t.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return -1, fmt.Errorf("wait for %s: %w", t.name, err)
	}
	return t.cmd.ProcessState.ExitCode(), t.tty.Close()
}

// Ended waits until the program has ended by itself, and returns its exit status.
func (t *Terminal) Ended(ctx context.Context) (int, error) {
	select {
	case <-t.done:
		return t.Wait()
	case <-ctx.Done():
		return -1, fmt.Errorf("%s did not end: %w; it showed:\n%s", t.name, ctx.Err(), t.Output())
	}
}

// Close ends the program if it still runs: a hang-up first, as closing a window
// does, and then by force.
func (t *Terminal) Close() {
	select {
	case <-t.done:
	default:
		_ = t.cmd.Process.Signal(syscall.SIGHUP)
		select {
		case <-t.done:
		case <-time.After(5 * time.Second):
			_ = t.cmd.Process.Kill()
		}
	}
	_, _ = t.Wait()
}
