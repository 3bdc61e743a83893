package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Process is a process of a container, as the kernel's table knows it.
type Process struct {
	// PID is the host's, Start is in nanoseconds since boot: together they name the process.
	PID   uint32
	Start uint64
	// EntryPID and EntryStart name its entry leader, EntryBegan says how that began.
	EntryPID   uint32
	EntryStart uint64
	EntryBegan Began
	// Cgroup is that in which it started.
	Cgroup uint64
}

func toProcess(pid uint32, p *probeProcess) Process {
	var r Record
	r.setFlags(p.Flags)
	return Process{
		PID: pid, Start: p.Start, EntryPID: p.EntryPid, EntryStart: p.EntryStart, EntryBegan: r.EntryBegan, Cgroup: p.Cgroup,
	}
}

// Process looks a process up that lives. It is safe for concurrent use.
func (p *Programs) Process(pid uint32) (Process, bool, error) {
	var found probeProcess
	err := p.collection.Maps[probeMapProcesses].Lookup(pid, &found)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return Process{}, false, nil
	}
	if err != nil {
		return Process{}, false, fmt.Errorf("look up process %d: %w", pid, err)
	}
	return toProcess(pid, &found), true, nil
}

// batch is how many entries of the table are read at once.
const batch = 2048

// Descendants lists an entry leader, if it lives, and all processes that descend
// from it, whatever became of those between. The walk goes by the table's buckets, so that what comes
// and goes meanwhile does not cut it short. It is safe for concurrent use.
func (p *Programs) Descendants(entryPID uint32, entryStart uint64) ([]Process, error) {
	var (
		found  []Process
		cursor ebpf.MapBatchCursor
		pids   = make([]uint32, batch)
		values = make([]probeProcess, batch)
	)
	for {
		n, err := p.collection.Maps[probeMapProcesses].BatchLookup(&cursor, pids, values, nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return nil, fmt.Errorf("walk the table of processes: %w", err)
		}
		for i := range n {
			if values[i].EntryPid == entryPID && values[i].EntryStart == entryStart {
				found = append(found, toProcess(pids[i], &values[i]))
			}
		}
		if last {
			return found, nil
		}
	}
}

// Doom has the kernel end every process of an entry leader as soon as it does
// anything that is watched, such as to fork: a tree that grows faster than it can be
// ended from here does not outrun that. Pardon it when the tree is gone.
func (p *Programs) Doom(entryPID uint32, entryStart uint64) error {
	err := p.collection.Maps[probeMapDoomed].Put(probeEntry{Start: entryStart, Pid: uint64(entryPID)}, uint32(1))
	if err != nil {
		return fmt.Errorf("doom the processes of %d: %w", entryPID, err)
	}
	return nil
}

// Pardon takes back what Doom did.
func (p *Programs) Pardon(entryPID uint32, entryStart uint64) error {
	err := p.collection.Maps[probeMapDoomed].Delete(probeEntry{Start: entryStart, Pid: uint64(entryPID)})
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("pardon the processes of %d: %w", entryPID, err)
	}
	return nil
}
