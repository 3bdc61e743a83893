package agent_test

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runTool is the test's binary as a program in a container. It does what no shell does, and ends the process.
func runTool(tool string, args []string) {
	runtime.LockOSThread()
	var err error
	switch tool {
	case "memfd":
		err = executeFromMemory(args)
	case "io_uring":
		err = openByRing(args[0])
	case "openat2":
		_, err = unix.Openat2(unix.AT_FDCWD, args[0], &unix.OpenHow{Flags: unix.O_RDONLY})
	default:
		err = fmt.Errorf("there is no tool %q", tool)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, tool+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// executeFromMemory copies a program to a file that has no name, and executes it.
func executeFromMemory(args []string) error {
	program, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("kworker", 0)
	if err != nil {
		return err
	}
	if _, err = unix.Write(fd, program); err != nil {
		return err
	}
	path, err := unix.BytePtrFromString("")
	if err != nil {
		return err
	}
	argv := make([]*byte, 0, len(args)+1)
	for _, arg := range args[1:] {
		p, err := unix.BytePtrFromString(arg)
		if err != nil {
			return err
		}
		argv = append(argv, p)
	}
	argv = append(argv, nil)
	env := []*byte{nil}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

// The parts of io_uring's interface that one open needs, from linux/io_uring.h.
const (
	ringOpOpenat     = 18
	ringEnterGet     = 1
	ringOffSubmit    = 0
	ringOffComplete  = 0x8000000
	ringOffEntries   = 0x10000000
	ringSizeOfEntry  = 64
	ringSizeOfResult = 16
)

type ringOffsets struct {
	head, tail, mask, entries, flags, dropped, array, reserved uint32
	userAddr                                                   uint64
}

type ringParams struct {
	submit, complete, flags, cpu, idle, features, wq uint32
	reserved                                         [3]uint32
	sq, cq                                           ringOffsets
}

// openByRing opens a file without a system call that opens files.
func openByRing(name string) error {
	var p ringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return fmt.Errorf("set up: %w", errno)
	}
	mapped := func(offset int64, size uint32) ([]byte, error) {
		return unix.Mmap(int(fd), offset, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	}
	submit, err := mapped(ringOffSubmit, p.sq.array+4*p.submit)
	if err != nil {
		return err
	}
	complete, err := mapped(ringOffComplete, p.cq.cqes()+ringSizeOfResult*p.complete)
	if err != nil {
		return err
	}
	entries, err := mapped(ringOffEntries, ringSizeOfEntry*p.submit)
	if err != nil {
		return err
	}
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	entries[0] = ringOpOpenat
	*(*int32)(unsafe.Pointer(&entries[4])) = unix.AT_FDCWD
	*(*uint64)(unsafe.Pointer(&entries[16])) = uint64(uintptr(unsafe.Pointer(path)))
	*(*uint32)(unsafe.Pointer(&submit[p.sq.array])) = 0
	*(*uint32)(unsafe.Pointer(&submit[p.sq.tail]))++
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, fd, 1, 1, ringEnterGet, 0, 0); errno != 0 {
		return fmt.Errorf("enter: %w", errno)
	}
	runtime.KeepAlive(path)
	// The results follow the fields of the completion ring; the kernel says where.
	result := *(*int32)(unsafe.Pointer(&complete[p.cq.cqes()+8]))
	if result < 0 {
		return fmt.Errorf("open %s: %w", name, unix.Errno(-result))
	}
	return nil
}

// cqes is where the results begin: the completion ring has that where the
// submission ring has the number of dropped entries.
func (o ringOffsets) cqes() uint32 { return o.dropped }
