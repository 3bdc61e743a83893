// Package procmem changes the memory of another process while none of its threads runs, so that none can meet
// what is half changed. The process must be one that the caller may trace, such as a child.
package procmem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long a process may take to stop.
const patience = 10 * time.Second

var errNeverStops = errors.New("the process does not stop")

// Change stops the process, has its memory changed, and lets it go on. The file's offsets are the process' addresses;
// what the process may only read can be written, too.
func Change(pid int, change func(memory *os.File) error) error {
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	if err = syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	err = awaitStop(pid)
	if err == nil {
		err = change(memory)
	}
	return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
}

func awaitStop(pid int) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		states, err := states(pid)
		if err != nil {
			return err
		}
		if strings.Trim(states, "T") == "" {
			return nil
		}
	}
	return errNeverStops
}

// states has a letter for each of a process' threads, as proc(5) has them.
func states(pid int) (string, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(files) == 0 {
		return "", errors.Join(err, os.ErrProcessDone)
	}
	var all strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // The thread has ended.
		}
		end := strings.LastIndex(string(text), ") ") // The name before may have anything in it.
		if end < 0 || end+2 >= len(text) {
			return "", fmt.Errorf("%s is %q", name, text)
		}
		all.WriteByte(text[end+2])
	}
	return all.String(), nil
}

// Gone reports whether the process has ended, waited for or not, or is just doing so; failure is what Change returned.
func Gone(pid int, failure error) bool {
	if errors.Is(failure, syscall.ESRCH) || errors.Is(failure, os.ErrNotExist) || errors.Is(failure, os.ErrProcessDone) {
		return true
	}
	states, err := states(pid)
	return err != nil || strings.Trim(states, "ZX") == ""
}
