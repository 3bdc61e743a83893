package bpf

import "golang.org/x/sys/unix"

// The system calls that open a file by name or handle.
var (
	openCalls       = [4]int32{-1, unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_BY_HANDLE_AT}
	compatOpenCalls = [4]int32{5, 322, 437, 371} // of 32-bit ARM
)
