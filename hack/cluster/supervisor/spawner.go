package supervisor

import (
	"errors"
	"os/exec"
	"runtime"
	"sync"
)

// A spawner starts processes from one thread that lives as long as it does. The
// kernel delivers a parent-death signal when the *thread* that forked ends, and
// the Go runtime may end threads; started from any other thread, a daemon
// could be killed while the supervisor is well.
type spawner struct {
	requests chan spawnRequest
	done     chan struct{}
	// background is the thread's goroutine and those that wait for processes.
	background sync.WaitGroup
}

type spawnRequest struct {
	command *exec.Cmd
	result  chan error
}

// newSpawner starts the thread, which close ends.
func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest), done: make(chan struct{})}
	s.background.Go(s.serve)
	return s
}

// serve never unlocks its thread: it ends with the goroutine.
func (s *spawner) serve() {
	runtime.LockOSThread()
	for {
		select {
		case <-s.done:
			return
		case request := <-s.requests:
			request.result <- request.command.Start()
		}
	}
}

// close ends the thread and returns when nobody waits for a process any more.
// All must have been stopped: they do not end with the thread when it happens
// to be the program's first, which Go keeps.
func (s *spawner) close() {
	close(s.done)
	s.background.Wait()
}

func (s *spawner) start(command *exec.Cmd) error {
	request := spawnRequest{command: command, result: make(chan error, 1)}
	select {
	case s.requests <- request:
		return <-request.result
	case <-s.done:
		return errors.New("the supervisor is ending")
	}
}
