package bpf

import "golang.org/x/sys/unix"

// The system calls that open a file by name or handle. creat cannot open for reading.
var (
	openCalls       = []int{unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_BY_HANDLE_AT}
	compatOpenCalls = []int{5, 295, 437, 342} // of i386
)
