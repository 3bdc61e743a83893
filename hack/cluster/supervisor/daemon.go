package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/component"
)

// restartDelay keeps a daemon that dies at once from spinning.
const restartDelay = time.Second

// A daemon is one component's process, now and after restarts.
type daemon struct {
	spawner *spawner
	logPath string
	logger  *slog.Logger
	now     func() time.Time

	mu        sync.Mutex
	component component.Component
	command   *exec.Cmd     // nil before the first start
	exited    chan struct{} // closed when command has ended
	exitErr   error         // how it ended, valid once exited is closed
	logStart  int64         // where in the log it began
	lastExit  error         // how one ended that was to go on
	started   time.Time
	restarts  int
	keep      bool // start it again when it dies
}

// start starts the process. The daemon must not be running.
func (d *daemon) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.startLocked()
}

func (d *daemon) startLocked() error {
	log, err := os.OpenFile(d.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", d.component.Name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own copy

	info, err := log.Stat()
	if err != nil {
		return fmt.Errorf("start %s: %w", d.component.Name, err)
	}

	argv := d.component.Argv
	// Not CommandContext: the daemon's end is stop's business, with a grace period.
	command := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // what component.Daemons says
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.spawner.start(command); err != nil {
		return fmt.Errorf("start %s: %w", d.component.Name, err)
	}
	d.command, d.exited, d.started, d.logStart = command, make(chan struct{}), d.now(), info.Size()
	exited := d.exited
	d.spawner.background.Go(func() { d.watch(command, exited) })
	return nil
}

// watch waits for the process and starts the next one where that is wanted.
func (d *daemon) watch(command *exec.Cmd, exited chan struct{}) {
	err := command.Wait()
	if err == nil {
		err = errors.New("exit status 0")
	}
	d.mu.Lock()
	d.exitErr = err
	keep := d.keep
	if keep {
		d.lastExit = err
	}
	close(exited)
	d.mu.Unlock()
	if !keep {
		return
	}
	d.logger.Error("daemon ended by itself", "daemon", d.component.Name, "err", err, "log", d.logPath)
	select {
	case <-d.spawner.done:
		return
	case <-time.After(restartDelay):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.keep || d.exited != exited {
		return // stopped, or replaced, while waiting
	}
	d.restarts++
	if err := d.startLocked(); err != nil {
		d.logger.Error("daemon does not start again", "daemon", d.component.Name, "err", err)
	}
}

// keepUp has the daemon started again when it dies, until it is stopped.
func (d *daemon) keepUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keep = true
}

// ended returns how the current process ended, and nil while it runs.
func (d *daemon) ended() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.command == nil {
		return errors.New("it was never started")
	}
	select {
	case <-d.exited:
		return d.exitErr
	default:
		return nil
	}
}

// stop asks the process to end and, after the grace period, makes it. A
// daemon that does not run is left alone.
func (d *daemon) stop(grace time.Duration) {
	d.mu.Lock()
	d.keep = false
	command, exited := d.command, d.exited
	d.mu.Unlock()
	if command == nil {
		return
	}
	// Signals after the end are refused by os.Process, so no reused pid is hit.
	_ = command.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-exited:
		return
	case <-timer.C:
	}
	_ = command.Process.Kill()
	<-exited
}

// replace stops the daemon and starts it as another component.
func (d *daemon) replace(next component.Component, grace time.Duration) error {
	d.stop(grace)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.component = next
	return d.startLocked()
}

// current returns what the daemon runs as.
func (d *daemon) current() component.Component {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.component
}

// waitHealthy returns when the daemon works, or with a report when it has ended or ctx has.
func (d *daemon) waitHealthy(ctx context.Context, prober *prober) error {
	current := d.current()
	for {
		err := prober.ask(ctx, current.Health)
		if err == nil {
			return nil
		}
		if ended := d.ended(); ended != nil {
			return d.failure("ended while starting: " + ended.Error())
		}
		select {
		case <-ctx.Done():
			return d.failure("does not answer in time: " + err.Error())
		case <-time.After(pollInterval):
		}
	}
}

// failure says what is wrong with the daemon, with what its process has logged.
func (d *daemon) failure(reason string) *DaemonError {
	d.mu.Lock()
	defer d.mu.Unlock()
	return NewDaemonError(d.component.Name, reason, d.logPath, d.logStart)
}

// Status is what a daemon is doing, as JSON for the command line.
type Status struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"lastExit,omitempty"`
	Running  bool      `json:"running"`
	Healthy  bool      `json:"healthy"`
	Detail   string    `json:"detail,omitempty"`
	Log      string    `json:"log"`
}

func (d *daemon) status(ctx context.Context, prober *prober) Status {
	healthErr := prober.ask(ctx, d.current().Health)
	d.mu.Lock()
	defer d.mu.Unlock()
	status := Status{Name: d.component.Name, Restarts: d.restarts, Started: d.started, Log: d.logPath}
	if d.lastExit != nil {
		status.LastExit = d.lastExit.Error()
	}
	if d.command == nil {
		return status
	}
	select {
	case <-d.exited:
		return status
	default:
	}
	status.PID, status.Running, status.Healthy = d.command.Process.Pid, true, healthErr == nil
	if healthErr != nil {
		status.Detail = healthErr.Error()
	}
	return status
}
