package footprint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Record is what the start of a cluster notes for its end.
type Record struct {
	// Supervisor is the background process, SupervisorStart when it started (see [StartTicks]).
	Supervisor      int    `json:"supervisor"`
	SupervisorStart uint64 `json:"supervisorStart"`
	// Mounts is the inode number of the cluster's mount namespace.
	Mounts uint64 `json:"mounts"`
	// Boot tells one boot of the machine from the next, after which the numbers above mean nothing.
	Boot string `json:"boot"`
	// Started is the time of day.
	Started time.Time `json:"started"`
	// Before is the machine as it was.
	Before Snapshot `json:"before"`
}

// A Snapshot is what the cluster must leave as it found it.
type Snapshot struct {
	// Sysctls are machine-wide kernel settings, by their path below /proc/sys.
	Sysctls map[string]string `json:"sysctls"`
	// Tables are the machine's nftables tables ("ip filter").
	Tables []string `json:"tables"`
	// MadeDirs are directories that did not exist and had to, as mount points.
	MadeDirs []string `json:"madeDirs"`
}

// SaveRecord writes the record, readable by root.
func SaveRecord(path string, record Record) error {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	return nil
}

// LoadRecord reads a record. With none, it returns an empty one and false. Of
// a record from before the machine's last boot, it returns what still has a meaning.
func LoadRecord(path string) (Record, bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("load record: %w", err)
	}
	var record Record
	if err = json.Unmarshal(text, &record); err != nil {
		return Record{}, false, fmt.Errorf("load record %s: %w", path, err)
	}
	boot, err := BootID()
	if err != nil {
		return Record{}, false, err
	}
	if boot != record.Boot {
		// Numbers of an earlier boot name other things now, or nothing.
		return Record{Before: Snapshot{MadeDirs: record.Before.MadeDirs}}, true, nil
	}
	return record, true, nil
}

// Alive says whether the record's supervisor runs.
func (r Record) Alive() (bool, error) {
	if r.Supervisor == 0 || r.SupervisorStart == 0 {
		return false, nil
	}
	start, err := StartTicks(r.Supervisor)
	return start == r.SupervisorStart, err
}

// BootID names the running boot of the machine.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// ReadSysctls reads kernel settings; those that this kernel does not have are left out.
func ReadSysctls(names []string) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read sysctl: %w", err)
		}
		values[name] = strings.TrimSpace(string(text))
	}
	return values, nil
}
