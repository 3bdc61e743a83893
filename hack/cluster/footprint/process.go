package footprint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const settle = 20 * time.Millisecond

// A Process is one that belongs to the cluster.
type Process struct {
	PID     int
	Command string
}

func (p Process) String() string { return fmt.Sprintf("process %d (%s)", p.PID, p.Command) }

// NamespaceOf returns the inode number of a process' namespace of this kind ("mnt", "net").
func NamespaceOf(pid int, kind string) (uint64, error) {
	var info syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), &info); err != nil {
		return 0, fmt.Errorf("namespace of process %d: %w", pid, err)
	}
	return info.Ino, nil
}

// ProcessesIn returns all processes in the namespace with this inode number.
func ProcessesIn(kind string, inode uint64) ([]Process, error) {
	return processes(func(pid int) bool {
		// One that has ended since, or is a zombie, has no namespace any more.
		in, err := NamespaceOf(pid, kind)
		return err == nil && in == inode
	})
}

func processes(wanted func(pid int) bool) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Process
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && wanted(pid) {
			found = append(found, Process{PID: pid, Command: commandLine(pid)})
		}
	}
	return found, nil
}

// RefuseMachine returns an error when the namespace is the machine's: that of
// its first process or of our parent.
func RefuseMachine(kind string, inode uint64) error {
	for _, pid := range []int{1, os.Getppid()} {
		// A process with more capabilities than ours does not tell; there is
		// the other one.
		if theirs, err := NamespaceOf(pid, kind); err == nil && theirs == inode {
			return fmt.Errorf("%s namespace %d is also that of process %d", kind, inode, pid)
		}
	}
	return nil
}

// KillIn ends every process in the namespace except one, which may be the
// caller. It refuses to do so in the machine's own.
func KillIn(ctx context.Context, kind string, inode uint64, except int) error {
	if err := RefuseMachine(kind, inode); err != nil {
		return fmt.Errorf("kill processes: %w", err)
	}
	return killAll(ctx, func() ([]Process, error) {
		processes, err := ProcessesIn(kind, inode)
		var others []Process
		for _, process := range processes {
			if process.PID != except {
				others = append(others, process)
			}
		}
		return others, err
	})
}

// killAll kills what list returns until it returns nothing.
func killAll(ctx context.Context, list func() ([]Process, error)) error {
	for {
		processes, err := list()
		if err != nil {
			return err
		}
		if len(processes) == 0 {
			return nil
		}
		for _, process := range processes {
			if err := syscall.Kill(process.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill %s: %w", process, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill %v: %w", processes, ctx.Err())
		case <-time.After(settle):
		}
	}
}

// commandLine returns a process' arguments, or its short name when it has none.
func commandLine(pid int) string {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})))
	}
	text, err = os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(text))
}

// StartTicks returns when a process started, in clock ticks since boot: with
// its id, that names a process for good. It is zero when there is none.
func StartTicks(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("start of process %d: %w", pid, err)
	}
	return parseStartTicks(string(text))
}

// parseStartTicks reads the 22nd field of /proc/PID/stat. The second, the
// program's name, is in parentheses and may contain any byte. A zombie counts
// as no process.
func parseStartTicks(stat string) (uint64, error) {
	const stateField, startField = 3, 22
	_, rest, ok := cutLast(stat, ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) <= startField-stateField {
		return 0, fmt.Errorf("parse process status %q: too few fields", stat)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, nil
	}
	return strconv.ParseUint(fields[startField-stateField], 10, 64)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
