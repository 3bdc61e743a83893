package killpoint

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/portcullis-dev/portcullis/test/procmem"
)

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
	err = procmem.Change(pid, func(memory *os.File) error {
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
		err := procmem.Change(pid, func(memory *os.File) error {
			_, failed := memory.WriteAt(before, address)
			return failed
		})
		if err != nil && !procmem.Gone(pid, err) {
			return fmt.Errorf("disarm %s: %w", function, err)
		}
		return nil
	}, nil
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
