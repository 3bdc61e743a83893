package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/container"
	"github.com/portcullis-dev/portcullis/agent/process"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// Table is the kernel's table of processes; *bpf.Programs is one.
type Table interface {
	Process(pid uint32) (bpf.Process, bool, error)
	Descendants(entryPID uint32, entryStart uint64) ([]bpf.Process, error)
	Doom(entryPID uint32, entryStart uint64) error
	Pardon(entryPID uint32, entryStart uint64) error
}

// Options of New. All but Patience are required.
type Options struct {
	Table Table
	// Container tells whose a cgroup is.
	Container func(cgroup uint64) (container.Container, bool)
	// First is when the first process of the container of that ID began, in nanoseconds since boot.
	First func(containerID string) (start uint64, known bool)
	// BootID is the kernel's: what was meant before a reboot is not ended after it.
	BootID string
	Logger *slog.Logger
	// Patience is how long a tree may take to end. Default 5 s.
	Patience time.Duration
}

// Ender ends sessions. It is safe for concurrent use.
type Ender struct {
	opts      Options
	supported error
}

// New checks the options, and finds out whether this process may end others.
func New(opts Options) (*Ender, error) {
	switch {
	case opts.Table == nil:
		return nil, errors.New("options: Table is required")
	case opts.Container == nil:
		return nil, errors.New("options: Container is required")
	case opts.First == nil:
		return nil, errors.New("options: First is required")
	case opts.BootID == "":
		return nil, errors.New("options: BootID is required")
	case opts.Logger == nil:
		return nil, errors.New("options: Logger is required")
	case opts.Patience < 0:
		return nil, fmt.Errorf("options: Patience is %v", opts.Patience)
	case opts.Patience == 0:
		opts.Patience = 5 * time.Second
	}
	return &Ender{opts: opts, supported: Supported()}, nil
}

// Supported says why this process cannot end sessions, nil if it can.
func Supported() error {
	if !bpf.InHostPIDNamespace() {
		return errors.New("the agent is in a PID namespace of its own: run it with hostPID")
	}
	return holds(unix.CAP_KILL, "KILL")
}

// holds says that this process lacks a capability, or nil.
func holds(capability int, name string) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	if data[0].Effective&(1<<capability) == 0 {
		return errors.New("the agent lacks the capability " + name)
	}
	return nil
}

// target is the tree that is to end.
type target struct {
	pid   uint32
	start uint64
	ended map[bpf.Process]bool
}

// End ends what the command names, and answers it. It returns when no process of it is left, or
// gives up after Options.Patience or when ctx ends.
func (e *Ender) End(ctx context.Context, command *telemetryv1.EndSession) *telemetryv1.CommandResult {
	result := e.end(ctx, command)
	e.opts.Logger.Info("session ended on command", "entity", command.GetEntityId(), "container", command.GetContainer().GetId(),
		"outcome", result.GetOutcome().String(), "processes", result.GetEnded(), "detail", result.GetDetail())
	return result
}

func (e *Ender) end(ctx context.Context, command *telemetryv1.EndSession) *telemetryv1.CommandResult {
	if e.supported != nil {
		return answer(telemetryv1.Outcome_OUTCOME_UNSUPPORTED, e.supported.Error())
	}
	pid, start, err := process.ParseEntityID(e.opts.BootID, command.GetEntityId())
	if err != nil {
		return answer(telemetryv1.Outcome_OUTCOME_NOT_FOUND, err.Error())
	}
	t := &target{pid: pid, start: start, ended: map[bpf.Process]bool{}}
	members, err := e.opts.Table.Descendants(pid, start)
	switch {
	case err != nil:
		return answer(telemetryv1.Outcome_OUTCOME_FAILED, err.Error())
	case len(members) == 0:
		return answer(telemetryv1.Outcome_OUTCOME_NOT_FOUND, "no process of it lives")
	}
	if err = e.permitted(command, members); err != nil {
		return answer(telemetryv1.Outcome_OUTCOME_REFUSED, err.Error())
	}
	e.explain(members, t, command.GetReason())
	err = e.sweep(ctx, t)
	result := answer(telemetryv1.Outcome_OUTCOME_DONE, "")
	if err != nil {
		result = answer(telemetryv1.Outcome_OUTCOME_FAILED, err.Error())
	}
	result.Ended = uint32(len(t.ended)) //nolint:gosec // the table holds fewer
	return result
}

// explain tells the person at the session why it ends, if that can be: it ends in any case.
func (e *Ender) explain(members []bpf.Process, t *target, reason string) {
	at := slices.IndexFunc(members, func(p bpf.Process) bool { return p.PID == t.pid && p.Start == t.start })
	if reason == "" || at < 0 {
		return
	}
	if err := e.tell(members[at], reason); err != nil {
		e.opts.Logger.Info("the session is not told why it ends", "pid", t.pid, "error", err)
	}
}

func answer(outcome telemetryv1.Outcome, detail string) *telemetryv1.CommandResult {
	return &telemetryv1.CommandResult{Outcome: outcome, Detail: detail}
}

// permitted says why a tree must not be ended.
func (e *Ender) permitted(command *telemetryv1.EndSession, members []bpf.Process) error {
	for _, p := range members {
		c, known := e.opts.Container(p.Cgroup)
		first, seen := e.opts.First(c.ID)
		later := seen && p.EntryStart > first // whatever the kernel's side remembers
		switch {
		case !known:
			return fmt.Errorf("process %d is in a cgroup of which nothing is known", p.PID)
		case c.ID != command.GetContainer().GetId() || c.PodUID != command.GetContainer().GetPodUid():
			return fmt.Errorf("process %d is in container %s of pod %s", p.PID, c.ID, c.PodUID)
		case p.EntryBegan == bpf.BeganContainer && !later && !command.GetMainProcess():
			return errors.New("it is the container's first process, whose end is the container's: that must be asked for")
		case p.EntryBegan == bpf.BeganUnknown && !later && !command.GetMainProcess():
			return errors.New("it may be the container's first process (the agent did not see it begin): that must be asked for")
		}
	}
	return nil
}

// between is the pause between two walks.
const between = 2 * time.Millisecond

// sweep ends the tree.
func (e *Ender) sweep(ctx context.Context, t *target) (err error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.Patience)
	defer cancel()
	if err = e.opts.Table.Doom(t.pid, t.start); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.opts.Table.Pardon(t.pid, t.start)) }()
	var last error
	for empty := 0; empty < 2; {
		members, err := e.opts.Table.Descendants(t.pid, t.start)
		if err != nil {
			return err
		}
		if len(members) == 0 {
			empty++
		} else {
			empty = 0
		}
		// The oldest first: a shell must not go on to its next command because the one before was ended.
		slices.SortFunc(members, func(a, b bpf.Process) int { return cmp.Compare(a.Start, b.Start) })
		for _, p := range members {
			if err := e.kill(p); err != nil {
				last = err
				continue
			}
			t.ended[p] = true
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d processes are left: %w", len(members), context.Cause(ctx)), last)
		case <-time.After(between):
		}
	}
	return nil
}

// kill ends one process, if it still is the one that the table showed. One that
// is gone is no error.
func (e *Ender) kill(p bpf.Process) error {
	fd, err := e.hold(p)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", p.PID, err)
	}
	return nil
}

// hold opens a pidfd of the process that the table showed, which the caller closes: a negative one if that
// process is gone.
func (e *Ender) hold(p bpf.Process) (fd int, err error) {
	fd, err = unix.PidfdOpen(int(p.PID), 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	is, err := e.still(p)
	if err != nil || !is {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// still says whether a process is the one that the table showed before.
func (e *Ender) still(p bpf.Process) (bool, error) {
	now, found, err := e.opts.Table.Process(p.PID)
	if err != nil || !found || now != p {
		return false, err
	}
	started, err := startOf(p.PID)
	if err != nil {
		return false, err
	}
	if !sameTick(started, p.Start) {
		return false, fmt.Errorf("process %d is another one of the same PID: it started at tick %d", p.PID, started)
	}
	return true, nil
}
