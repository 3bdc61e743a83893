package clockshift

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/portcullis-dev/portcullis/test/procmem"
)

// atSysinfoEHDR is the entry of the auxiliary vector that says where the vDSO is.
const atSysinfoEHDR = 33

// vdsoSize is more than a vDSO has.
const vdsoSize = 64 << 10

// Start starts the command with a wall clock that is ahead of the machine's, or behind it if ahead is
// negative, by whole seconds. The command is the caller's to wait for.
func Start(cmd *exec.Cmd, ahead time.Duration) error {
	if err := check(ahead); err != nil {
		return err
	}
	// Only the thread that started the process may trace it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return err
	}
	err := shift(cmd.Process.Pid, int32(ahead/time.Second)) //nolint:gosec // it was checked above
	if err != nil {
		return errors.Join(fmt.Errorf("shift the clock of %s: %w", cmd.Path, err), cmd.Process.Kill(), ignoreKilled(cmd.Wait()))
	}
	return nil
}

func check(ahead time.Duration) error {
	if ahead%time.Second != 0 || ahead.Abs() > math.MaxInt32*time.Second {
		return fmt.Errorf("shift the clock by %s: it must be whole seconds, %d at most", ahead, math.MaxInt32)
	}
	return nil
}

// Set sets the wall clock of a running process that Start has started, as somebody sets that of a machine.
func Set(pid int, ahead time.Duration) error {
	if err := check(ahead); err != nil {
		return err
	}
	base, err := vdso(pid)
	if err != nil {
		return fmt.Errorf("set the clock of process %d: %w", pid, err)
	}
	seconds := int32(ahead / time.Second) //nolint:gosec // it was checked above
	// The instructions stay the same and only the number changes: it does no harm to be among them.
	if err := procmem.Change(pid, func(memory *os.File) error { return overwrite(memory, base, seconds) }); err != nil {
		return fmt.Errorf("set the clock of process %d: %w", pid, err)
	}
	return nil
}

func ignoreKilled(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// shift patches the process, which stops after its exec, and lets it go.
func shift(pid int, seconds int32) error {
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return fmt.Errorf("wait until it stops: %w", err)
	}
	if !status.Stopped() {
		return fmt.Errorf("it did not stop but has status %#x", int(status))
	}
	if err := patch(pid, seconds); err != nil {
		return err
	}
	return syscall.PtraceDetach(pid)
}

func patch(pid int, seconds int32) error {
	base, err := vdso(pid)
	if err != nil {
		return err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer memory.Close()
	return overwrite(memory, base, seconds)
}

// overwrite replaces the function in the vDSO at base.
func overwrite(memory *os.File, base int64, seconds int32) error {
	function, err := clockGettime(memory, base)
	if err != nil {
		return err
	}
	code := replacement(seconds)
	if function.Size < uint64(len(code)) {
		return fmt.Errorf("the vDSO's clock_gettime has %d bytes only", function.Size)
	}
	_, err = memory.WriteAt(code, base+int64(function.Value)) //nolint:gosec // both are within the vDSO
	return err
}

// vdso is the address of the process' vDSO.
func vdso(pid int) (int64, error) {
	aux, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		return 0, err
	}
	for ; len(aux) >= 16; aux = aux[16:] {
		if binary.LittleEndian.Uint64(aux) == atSysinfoEHDR {
			return int64(binary.LittleEndian.Uint64(aux[8:])), nil //nolint:gosec // an address of user space
		}
	}
	return 0, errors.New("it has no vDSO")
}

func clockGettime(memory *os.File, base int64) (elf.Symbol, error) {
	image := make([]byte, vdsoSize)
	n, _ := memory.ReadAt(image, base) // what follows it may not be mapped
	file, err := elf.NewFile(bytes.NewReader(image[:n]))
	if err != nil {
		return elf.Symbol{}, fmt.Errorf("read its vDSO: %w", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return elf.Symbol{}, fmt.Errorf("read its vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return s, nil
		}
	}
	return elf.Symbol{}, errors.New("its vDSO has no clock_gettime")
}

// replacement is clock_gettime(edi, rsi) as machine code.
func replacement(seconds int32) []byte {
	code := []byte{
		0xb8, 0xe4, 0x00, 0x00, 0x00, // mov  eax, SYS_clock_gettime
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi
		0x75, 0x07, // jne  done    ; another clock than CLOCK_REALTIME
		0x48, 0x81, 0x06, // add  qword [rsi], seconds
	}
	code = binary.LittleEndian.AppendUint32(code, uint32(seconds)) //nolint:gosec // two's complement is meant
	return append(code, 0xc3)                                      // done: ret
}
