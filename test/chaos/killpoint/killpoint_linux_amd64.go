package killpoint

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopPatience is how long a process may take to stop.
const stopPatience = 10 * time.Second

// Points are functions of a program.
type Points struct {
	address map[string]int64
}

// Find finds functions by their full names (package path, receiver, name) in a program's file.
func Find(program string, functions ...string) (*Points, error) {
	file, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("find functions: %w", err)
	}
	defer file.Close()
	if file.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("find functions: %s is not loaded where its symbols say: %w", program, errors.ErrUnsupported)
	}
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("find functions of %s: %w", program, err)
	}
	found := map[string]elf.Symbol{}
	for _, s := range symbols {
		found[s.Name] = s
	}
	p := &Points{address: map[string]int64{}}
	var errs []error
	for _, name := range functions {
		switch s, ok := found[name]; {
		case !ok:
			errs = append(errs, fmt.Errorf("%s has no function %s", program, name))
		case s.Size < uint64(len(deadly())):
			errs = append(errs, fmt.Errorf("function %s has %d bytes only", name, s.Size))
		default:
			p.address[name] = int64(s.Value) //nolint:gosec // an address of user space
		}
	}
	return p, errors.Join(errs...)
}

// Arm has the process die when it next enters the function. Disarm takes that back; it is no error if the
// process is gone.
func (p *Points) Arm(pid int, function string) (disarm func() error, err error) {
	address, ok := p.address[function]
	if !ok {
		return nil, fmt.Errorf("function %s was not looked for", function)
	}
	before := make([]byte, len(deadly()))
	err = whileStopped(pid, func(memory *os.File) error {
		if _, failed := memory.ReadAt(before, address); failed != nil {
			return failed
		}
		_, failed := memory.WriteAt(deadly(), address)
		return failed
	})
	if err != nil {
		return nil, fmt.Errorf("arm %s: %w", function, err)
	}
	return func() error {
		err := whileStopped(pid, func(memory *os.File) error {
			_, failed := memory.WriteAt(before, address)
			return failed
		})
		if err != nil && !gone(pid, err) {
			return fmt.Errorf("disarm %s: %w", function, err)
		}
		return nil
	}, nil
}

// whileStopped does something to the memory of a process none of whose threads runs.
func whileStopped(pid int, do func(*os.File) error) error {
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
		err = do(memory)
	}
	return errors.Join(err, syscall.Kill(pid, syscall.SIGCONT))
}

var errNeverStops = errors.New("the process does not stop")

func awaitStop(pid int) error {
	for deadline := time.Now().Add(stopPatience); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
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
		_, after, ok := strings.Cut(string(text), ") ") // The name before may have anything in it but, here, that.
		if !ok || after == "" {
			return "", fmt.Errorf("%s is %q", name, text)
		}
		all.WriteByte(after[0])
	}
	return all.String(), nil
}

// gone reports whether the process has ended, waited for or not, or is just doing so.
func gone(pid int, failure error) bool {
	if errors.Is(failure, syscall.ESRCH) || errors.Is(failure, os.ErrNotExist) || errors.Is(failure, os.ErrProcessDone) {
		return true
	}
	states, err := states(pid)
	return err != nil || strings.Trim(states, "ZX") == ""
}

// deadly is kill(getpid(), SIGKILL) as machine code. It needs no stack.
func deadly() []byte {
	code := []byte{0xb8} // mov eax, SYS_getpid
	code = binary.LittleEndian.AppendUint32(code, syscall.SYS_GETPID)
	code = append(code, 0x0f, 0x05, 0x89, 0xc7, 0xbe) // syscall; mov edi, eax; mov esi, SIGKILL
	code = binary.LittleEndian.AppendUint32(code, uint32(syscall.SIGKILL))
	code = append(code, 0xb8) // mov eax, SYS_kill
	code = binary.LittleEndian.AppendUint32(code, syscall.SYS_KILL)
	return append(code, 0x0f, 0x05, 0xeb, 0xfe) // syscall; here: jmp here
}
