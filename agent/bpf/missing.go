package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Floor is the oldest kernel that the agent is made for, and tested on. Whether
// one will do is found out by trying, never by its version.
const Floor = "5.10"

// MissingError says what the agent cannot do without, and what to do about it.
type MissingError struct {
	// What is missing, as a noun.
	What string
	// Help says how to provide it.
	Help string
	// Err is what the kernel answered.
	Err error
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("missing: %s (%v); to solve it: %s", e.What, e.Err, e.Help)
}

func (e *MissingError) Unwrap() error { return e.Err }

// refused explains an error of loading or attaching.
func refused(operation string, err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrPermission):
		return &MissingError{
			What: "the permission to " + operation,
			Help: "give the agent the capabilities BPF and PERFMON (before Linux 5.11 also SYS_RESOURCE), and a seccomp profile that allows bpf(2)",
			Err:  err,
		}
	case errors.Is(err, ebpf.ErrNotSupported):
		return &MissingError{
			What: "a kernel feature to " + operation,
			Help: "run a kernel of version " + Floor + " or newer with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and CONFIG_DEBUG_INFO_BTF",
			Err:  err,
		}
	case errors.As(err, &verifier):
		return fmt.Errorf("%s: this kernel's verifier refuses a program: %w", operation, err)
	default:
		return fmt.Errorf("%s: %w", operation, err)
	}
}
