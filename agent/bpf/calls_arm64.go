package bpf

import "golang.org/x/sys/unix"

// The system calls that open a file by name or handle.
var (
	openCalls       = []int{unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_BY_HANDLE_AT}
	compatOpenCalls = []int{5, 322, 437, 371} // of 32-bit ARM
)
