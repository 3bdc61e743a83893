package session

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent/bpf"
)

// maxReason bounds what is shown of a reason, in characters.
const maxReason = 256

// errNowhere: there is nothing that a person could be reading.
var errNowhere = errors.New("its standard error is neither a terminal nor a pipe")

// CanTell says why this process cannot tell a person that a session ends, nil if it can.
func CanTell() error { return holds(unix.CAP_SYS_PTRACE, "SYS_PTRACE") }

// tell shows a person why the session ends: at the terminal, or the end of the pipe, that is the entry leader's standard error. That
// is written to at most once, never waited for, and never a file: there is no telling whose that would be.
func (e *Ender) tell(leader bpf.Process, reason string) error {
	fd, err := e.hold(leader)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	// As a path, so that nothing is opened before it is known to be harmless.
	path, err := unix.Open(fmt.Sprintf("/proc/%d/fd/2", leader.PID), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("find the standard error of process %d (it takes the capability SYS_PTRACE): %w", leader.PID, err)
	}
	defer unix.Close(path)
	if err = unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return fmt.Errorf("process %d is gone: %w", leader.PID, err) // so that the path may have been another's
	}
	end, err := lineEnd(path)
	if err != nil {
		return err
	}
	out, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", path), unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the standard error of process %d (another user's takes the capability DAC_OVERRIDE): %w", leader.PID, err)
	}
	defer unix.Close(out)
	if _, err := unix.Write(out, []byte(end+printable(reason)+end)); err != nil {
		return fmt.Errorf("write to the standard error of process %d: %w", leader.PID, err)
	}
	return nil
}

// The major device numbers of what is a terminal of a container: the slaves of /dev/pts.
const (
	firstTerminal = 136
	lastTerminal  = 143
)

// lineEnd is how a line ends on what can be written to.
func lineEnd(fd int) (string, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return "", fmt.Errorf("look at the standard error: %w", err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		if major := unix.Major(stat.Rdev); major >= firstTerminal && major <= lastTerminal {
			return "\r\n", nil
		}
	case unix.S_IFIFO:
		var fs unix.Statfs_t
		if err := unix.Fstatfs(fd, &fs); err != nil {
			return "", fmt.Errorf("look at the standard error: %w", err)
		}
		if fs.Type == unix.PIPEFS_MAGIC { // one without a name
			return "\n", nil
		}
	}
	return "", errNowhere
}

// printable is the beginning of a text, without what a terminal may act upon.
func printable(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > maxReason {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}
