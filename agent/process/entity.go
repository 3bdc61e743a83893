package process

import (
	"fmt"
	"strconv"
	"strings"
)

// bootDigits is how many digits of the boot id are part of an entity id.
const bootDigits = 16

// boot is the part of a boot id that entity ids begin with.
func boot(bootID string) string {
	digits := strings.ReplaceAll(bootID, "-", "")
	return digits[:min(bootDigits, len(digits))]
}

// named is a process and its entity id.
type named struct {
	pid   uint32
	start uint64
	id    string
}

// maxNamed is how many ids are kept: parents and entry leaders come again and again, and what began ends.
const maxNamed = 256

// entityID names a process for ever: by the node's boot, PID and start.
func (t *Table) entityID(pid uint32, start uint64) string {
	place := &t.named[(uint64(pid)+start/1024)%maxNamed]
	if place.id == "" || place.pid != pid || place.start != start {
		*place = named{pid, start, t.newEntityID(pid, start)}
	}
	return place.id
}

func (t *Table) newEntityID(pid uint32, start uint64) string {
	var b [64]byte
	id := append(b[:0], t.boot...)
	id = append(id, '-')
	id = strconv.AppendUint(id, uint64(pid), 10)
	id = append(id, '-')
	return string(strconv.AppendUint(id, start, 16))
}

// ParseEntityID reads what an entity id says: PID and start, in nanoseconds
// since boot. It fails for one of another boot.
func ParseEntityID(bootID, id string) (pid uint32, start uint64, err error) {
	parts := strings.Split(id, "-")
	if len(parts) != 3 {
		return 0, 0, fmt.Errorf("%.80q is no entity id: want <boot>-<pid>-<start>", id)
	}
	if parts[0] != boot(bootID) {
		return 0, 0, fmt.Errorf("%.80q is of another node, or from before it was started anew", id)
	}
	p, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("%.80q is no entity id: its second part is no PID", id)
	}
	if start, err = strconv.ParseUint(parts[2], 16, 64); err != nil {
		return 0, 0, fmt.Errorf("%.80q is no entity id: its third part is no start time", id)
	}
	return uint32(p), start, nil
}
