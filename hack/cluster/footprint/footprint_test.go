package footprint

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseStartTicks(t *testing.T) {
	const tail = " 1 2 3 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 50 18446744073709551615"
	tests := []struct {
		name, stat string
		want       uint64
		fails      bool
	}{
		{"plain", "42 (sleep) S" + tail, 987654, false},
		{"name with spaces and parentheses", "42 (a) b (c)) R" + tail, 987654, false},
		{"zombie", "42 (sleep) Z" + tail, 0, false},
		{"dead", "42 (sleep) X" + tail, 0, false},
		{"cut short", "42 (sleep) S 1 2 3", 0, true},
		{"no name", "42 sleep", 0, true},
		{"empty", "", 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStartTicks(test.stat)
			if (err != nil) != test.fails || got != test.want {
				t.Errorf("parseStartTicks = %d, %v, want %d", got, err, test.want)
			}
		})
	}
}

func startSleep(tb testing.TB) *exec.Cmd {
	tb.Helper()
	command := exec.Command("sleep", "600")
	if err := command.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return command
}

func recordOf(tb testing.TB, pid int) Record {
	tb.Helper()
	start, err := StartTicks(pid)
	if err != nil || start == 0 {
		tb.Fatalf("start of process %d: %d, %v", pid, start, err)
	}
	boot, err := BootID()
	if err != nil {
		tb.Fatal(err)
	}
	return Record{Supervisor: pid, SupervisorStart: start, Boot: boot, Mounts: 4026531841}
}

func TestAlive(t *testing.T) {
	command := startSleep(t)
	record := recordOf(t, command.Process.Pid)
	expectAlive(t, "a running process", record, true)

	other := record
	other.SupervisorStart++
	expectAlive(t, "another process of the same id", other, false)
	expectAlive(t, "no record", Record{}, false)

	_ = command.Process.Kill()
	_ = command.Wait()
	expectAlive(t, "an ended process", record, false)
}

func expectAlive(tb testing.TB, what string, record Record, want bool) {
	tb.Helper()
	alive, err := record.Alive()
	if err != nil || alive != want {
		tb.Errorf("%s: alive %t, %v, want %t", what, alive, err, want)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.json")
	if _, known, err := LoadRecord(path); known || err != nil {
		t.Errorf("without a file: %t, %v", known, err)
	}
	record := recordOf(t, os.Getpid())
	record.Started = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	record.Before = Snapshot{Sysctls: map[string]string{"kernel/panic": "0"}, Tables: []string{"ip filter"}, MadeDirs: []string{"/var/lib/x"}}
	if err := SaveRecord(path, record); err != nil {
		t.Fatal(err)
	}
	loaded, known, err := LoadRecord(path)
	if err != nil || !known {
		t.Fatalf("LoadRecord: %t, %v", known, err)
	}
	if diff := cmp.Diff(record, loaded); diff != "" {
		t.Errorf("record (-saved +loaded):\n%s", diff)
	}
}

// After a reboot the numbers name other processes and namespaces: they must not be ended.
func TestRecordOfAnEarlierBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.json")
	record := recordOf(t, os.Getpid())
	record.Boot = "an earlier one"
	record.Before = Snapshot{Sysctls: map[string]string{"kernel/panic": "0"}, MadeDirs: []string{"/var/lib/x"}}
	if err := SaveRecord(path, record); err != nil {
		t.Fatal(err)
	}
	loaded, _, err := LoadRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Record{Before: Snapshot{MadeDirs: []string{"/var/lib/x"}}}, loaded); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestLoadRecordRefusesRubbish(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadRecord(path); err == nil {
		t.Error("half a record was loaded")
	}
}

func TestChanges(t *testing.T) {
	sysctls, err := ReadSysctls([]string{"kernel/ostype", "kernel/no_such_setting"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"kernel/ostype": "Linux"}, sysctls); diff != "" {
		t.Fatalf("settings (-want +got):\n%s", diff)
	}
	tables, err := Tables(t.Context())
	if err != nil {
		t.Skipf("tables cannot be listed here: %v", err)
	}
	same := Snapshot{Sysctls: sysctls, Tables: tables, MadeDirs: []string{filepath.Join(t.TempDir(), "gone")}}
	changed, err := same.changes(t.Context())
	if err != nil || len(changed) != 0 {
		t.Errorf("an unchanged machine: %v, %v", changed, err)
	}
	left := t.TempDir()
	other := Snapshot{Sysctls: map[string]string{"kernel/ostype": "Plan 9"}, Tables: tables, MadeDirs: []string{left}}
	want := []string{`sysctl kernel/ostype is "Linux" and was "Plan 9"`, "directory " + left}
	changed, err = other.changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestProcessesInFindsOurselves(t *testing.T) {
	inode, err := NamespaceOf(os.Getpid(), "mnt")
	if err != nil {
		t.Fatal(err)
	}
	found, err := ProcessesIn("mnt", inode)
	if err != nil {
		t.Fatal(err)
	}
	own := func(p Process) bool { return p.PID == os.Getpid() && strings.Contains(p.Command, "footprint") }
	if !slices.ContainsFunc(found, own) {
		t.Errorf("not among %d processes", len(found))
	}
	if found, err := ProcessesIn("mnt", 1); err != nil || len(found) != 0 {
		t.Errorf("a namespace that is none has %v (%v)", found, err)
	}
}

// Not KillIn itself: were it to fail, it would end every process of the machine.
func TestRefuseMachine(t *testing.T) {
	inode, err := NamespaceOf(os.Getpid(), "mnt")
	if err != nil {
		t.Fatal(err)
	}
	if RefuseMachine("mnt", inode) == nil {
		t.Error("our own namespace, which is our parent's too, is not the machine's")
	}
	if err := RefuseMachine("mnt", 1); err != nil {
		t.Errorf("a namespace that nobody has: %v", err)
	}
}

func TestKillAllKillsWhatIsListedLater(t *testing.T) {
	first, second := startSleep(t), startSleep(t)
	rounds := 0
	err := killAll(t.Context(), func() ([]Process, error) {
		rounds++
		switch rounds {
		case 1:
			return []Process{{PID: first.Process.Pid}}, nil
		case 2: // one that was forked meanwhile
			return []Process{{PID: second.Process.Pid}}, nil
		default:
			return nil, nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []*exec.Cmd{first, second} {
		if err := command.Wait(); err == nil || err.Error() != "signal: killed" {
			t.Errorf("process ended with %v", err)
		}
	}
}

func TestKillAllGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	command := startSleep(t)
	err := killAll(ctx, func() ([]Process, error) {
		return []Process{{PID: command.Process.Pid, Command: "immortal"}}, nil
	})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d (immortal)", command.Process.Pid)) {
		t.Errorf("error %v, want one that names the process", err)
	}
}

func TestMountsBelow(t *testing.T) {
	found, err := mountsBelow("/proc")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(found, "mount /proc") {
		t.Errorf("mounts at /proc: %v", found)
	}
	if found, err := mountsBelow("/pro", "/nowhere"); err != nil || len(found) != 0 {
		t.Errorf("mounts at a path that is only a prefix: %v (%v)", found, err)
	}
}
