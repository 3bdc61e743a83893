package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

const (
	lockWait = 15 * time.Minute // a cold build by somebody else
	lockPoll = 200 * time.Millisecond
)

// lock waits until no other command changes a cluster on this machine. The
// lock is an abstract unix socket: the kernel releases it with the process, and
// there is no file to leave behind.
func lock(ctx context.Context, out io.Writer) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	told := false
	for {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", layout.LockName)
		if err == nil {
			return func() { _ = listener.Close() }, nil // it ends with us anyway
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if !told {
			told = true
			fmt.Fprintln(out, "waiting for another up, down or restart on this machine to end")
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another command on this machine: %w", ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}
