package bpf

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hostPIDNamespace is the number of the first PID namespace in every kernel.
const hostPIDNamespace = "pid:[4026531836]"

// InHostPIDNamespace reports whether this process numbers processes as the
// kernel does. Only then can it see or end those of others.
func InHostPIDNamespace() bool {
	name, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && name == hostPIDNamespace
}

// learnRunning has the kernel tell of the processes that are there already.
// They come as records of KindSeen, without their arguments: those can only be
// read as a process does something, and come then.
func (p *Programs) learnRunning(spec *ebpf.CollectionSpec, types *btf.Cache, logger *slog.Logger) error {
	seen := Capability{Name: CapabilityRunning, Detail: "iterator over tasks"}
	err := errors.New("the agent is in a PID namespace of its own, and sees no others' processes: run it with hostPID")
	if InHostPIDNamespace() {
		err = p.iterate(spec, types)
	}
	if err != nil {
		logger.Debug("processes that run already cannot be listed", "error", err)
		seen.Detail = fmt.Sprintf("only as each first does something: %v", err)
	}
	seen.Available, seen.Complete = true, err == nil
	p.coverage = append(p.coverage, seen)
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	if err := p.collection.Variables[probeVarWatchingSince].Set(uint64(now.Nano())); err != nil { //nolint:gosec // time since boot is positive
		return fmt.Errorf("tell the programs that they are complete: %w", err)
	}
	return nil
}

// iterate runs the iterator over all tasks: first to find the containers'
// first processes, then to tell of all.
func (p *Programs) iterate(spec *ebpf.CollectionSpec, types *btf.Cache) error {
	c, err := ebpf.NewCollectionWithOptions(only(spec, probeProgOnTask), ebpf.CollectionOptions{
		MapReplacements: p.collection.Maps, Cache: types,
	})
	if err != nil {
		return fmt.Errorf("load the iterator: %w", err)
	}
	p.running = c
	l, err := link.AttachIter(link.IterOptions{Program: c.Programs[probeProgOnTask]})
	if err != nil {
		return fmt.Errorf("attach the iterator: %w", err)
	}
	defer l.Close()
	for pass := range uint32(2) {
		if err := c.Variables[probeVarTelling].Set(pass); err != nil {
			return fmt.Errorf("prepare the iterator: %w", err)
		}
		if err := drain(l); err != nil {
			return err
		}
	}
	return nil
}

func drain(l *link.Iter) error {
	r, err := l.Open()
	if err != nil {
		return fmt.Errorf("open the iterator: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("run the iterator: %w", err)
	}
	return nil
}
