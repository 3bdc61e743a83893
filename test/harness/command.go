package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Result is how a command ended.
type Result struct {
	Command string
	Stdout  string
	Stderr  string
	Code    int
	Started time.Time
	Ended   time.Time
}

// Err is nil for exit status 0, and otherwise says which command failed and what it printed.
func (r Result) Err() error {
	if r.Code == 0 {
		return nil
	}
	return fmt.Errorf("%s: exit status %d\n%s%s", r.Command, r.Code, r.Stderr, r.Stdout)
}

// command is one program to run.
type command struct {
	path   string
	args   []string
	dir    string
	env    []string // added to this process' environment
	stdin  io.Reader
	stdout io.Writer // also told, live
}

// run runs it to its end. The error is of starting it; how it ended is in the Result.
func (c command) run(ctx context.Context) (Result, error) {
	cmd := exec.CommandContext(ctx, c.path, c.args...) //nolint:gosec // the test chooses what to run
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdin = c.stdin
	// A command that ignores its end would hang the test: its pipes are closed after a while.
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if c.stdout != nil {
		cmd.Stdout = io.MultiWriter(&stdout, c.stdout)
		cmd.Stderr = io.MultiWriter(&stderr, c.stdout)
	}
	r := Result{Command: strings.Join(append([]string{c.path}, c.args...), " "), Started: time.Now()}
	err := cmd.Run()
	r.Ended = time.Now()
	r.Stdout, r.Stderr, r.Code = stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("%s: %w", r.Command, err)
	}
	if ctx.Err() != nil {
		return r, fmt.Errorf("%s: %w\n%s", r.Command, ctx.Err(), r.Stderr)
	}
	return r, nil
}

// must runs it and turns any failure into an error.
func (c command) must(ctx context.Context) (Result, error) {
	r, err := c.run(ctx)
	if err != nil {
		return r, err
	}
	return r, r.Err()
}
