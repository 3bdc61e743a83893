package session

import (
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/container"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// table is one of a single process.
type table struct {
	Table
	now bpf.Process
}

func (t table) Process(uint32) (bpf.Process, bool, error) { return t.now, true, nil }

func TestAProcessThatGotAnothersPIDIsNotEnded(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	pid := uint32(cmd.Process.Pid)
	ticks, err := startOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	was := bpf.Process{PID: pid, Start: ticks*tick + 5}
	for name, test := range map[string]struct {
		shown, now bpf.Process
		want       string
	}{
		"the table shows another by now": {was, bpf.Process{PID: pid, Start: was.Start + 1}, ""},
		"/proc shows another": {
			bpf.Process{PID: pid, Start: was.Start + tick}, bpf.Process{PID: pid, Start: was.Start + tick}, "another one of the same PID",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := New(Options{
				Table: table{now: test.now}, BootID: "boot", Logger: slog.New(slog.DiscardHandler),
				Container: func(uint64) (container.Container, bool) { return container.Container{}, false },
				First:     func(string) (uint64, bool) { return 0, false },
			})
			if err != nil {
				t.Fatal(err)
			}
			err = e.kill(test.shown)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("the result is %v, want %q", err, test.want)
			}
			if err := cmd.Process.Signal(os.Signal(nil)); err != nil && strings.Contains(err.Error(), "finished") {
				t.Error("it was ended")
			}
			if now, err := startOf(pid); err != nil || now != ticks {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

func TestParseStart(t *testing.T) {
	const rest = " S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 8 9"
	for name, test := range map[string]struct {
		stat string
		want uint64
	}{
		"plain":         {"12 (sh)" + rest, 12345},
		"an odd name":   {"12 (a) S 1 (b))" + rest, 12345},
		"cut":           {"12 (sh) S 1 2", 0},
		"nothing":       {"", 0},
		"a bad number":  {strings.Replace("12 (sh)"+rest, "12345", "x", 1), 0},
		"no name at al": {strings.Repeat("1 ", 30), 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStart(test.stat)
			if got != test.want || (err != nil) != (test.want == 0) {
				t.Errorf("parseStart = %d, %v, want %d", got, err, test.want)
			}
		})
	}
}

// A session that the kernel's side takes for the container's first process, because it has forgotten that one, can be ended. The first one cannot.
func TestAContainerHasOneFirstProcess(t *testing.T) {
	e := &Ender{opts: Options{
		Container: func(uint64) (container.Container, bool) { return container.Container{ID: "c", PodUID: "u"}, true },
		First:     func(string) (uint64, bool) { return 100, true },
	}}
	command := &telemetryv1.EndSession{Container: &telemetryv1.Container{Id: "c", PodUid: "u"}}
	for _, began := range []bpf.Began{bpf.BeganContainer, bpf.BeganUnknown} {
		if err := e.permitted(command, []bpf.Process{{EntryStart: 200, EntryBegan: began}}); err != nil {
			t.Errorf("a later one: %v", err)
		}
		if err := e.permitted(command, []bpf.Process{{EntryStart: 100, EntryBegan: began}}); err == nil {
			t.Error("the first one can be ended without being asked for")
		}
	}
}
