package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv tells the program that it runs in a namespace of its own.
const insideEnv = "PORTCULLIS_TEST_OWN_MOUNTS"

// Isolate runs this program again, with its arguments, where mounts are its own, and returns the exit status
// with which it is to end. In there, it returns isolated and what comes next is the program's. An error says why
// there can be no disk; the program can go on without.
func Isolate() (isolated bool, status int, err error) {
	if os.Getenv(insideEnv) != "" {
		// Nothing that is mounted from here on must reach anybody else.
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return false, 0, fmt.Errorf("make the mounts private: %w", err)
		}
		return true, 0, os.Unsetenv(insideEnv)
	}
	if os.Geteuid() != 0 {
		return false, 0, errors.New("only root may mount a disk")
	}
	// A signal is for the program inside, which cleans up.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...) //nolint:gosec // itself
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Setpgid: true}
	if err = cmd.Start(); err != nil {
		return false, 0, fmt.Errorf("a namespace for mounts: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return false, max(failed.ExitCode(), 1), nil
	}
	return false, 0, err
}
