package jetstream

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

var kills = flag.Int("kills", 100, "how often TestKilledAtAnyInstant kills the process, all stores together")

// TestKilledAtAnyInstant kills a process that publishes, writes records and lets go of what is
// old, again and again, also while it starts. What it was promised must be there afterwards.
func TestKilledAtAnyInstant(t *testing.T) {
	t.Parallel()
	for name, retention := range map[string]time.Duration{"and everything is kept": time.Hour, "while much is let go": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &killer{tb: t, retention: retention, keeps: retention == time.Hour}
			for life := range *kills / 2 {
				if life%20 == 0 { // What has to be delivered again gets ever more.
					k.begin(t.TempDir())
				}
				k.life = life
				k.run()
				if t.Failed() {
					t.Fatalf("life %d", life)
				}
			}
			t.Logf("%d kills, %d of them before it was ready; %d candidates and %d records promised, all are there",
				*kills/2, k.early, k.candidates, k.records)
		})
	}
}

// killer knows what the processes that it has killed were promised.
type killer struct {
	tb        testing.TB
	dir       string
	retention time.Duration
	// keeps says that nothing may be let go.
	keeps bool
	life  int

	// promised are the candidates, by key, of all lives or of the last.
	promised map[string]map[int]bool
	// put is each record's value that was promised, putting another that it may have.
	put, putting map[string]string

	early, candidates, records int
}

// begin begins a store anew.
func (k *killer) begin(dir string) {
	k.dir = dir
	k.promised, k.put, k.putting = map[string]map[int]bool{}, map[string]string{}, map[string]string{}
}

// run runs a process for a while.
func (k *killer) run() {
	k.tb.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childDirectory+"="+k.dir, childRetention+"="+k.retention.String(), childLife+"="+fmt.Sprint(k.life))
	var problems bytes.Buffer
	cmd.Stderr = &problems
	lines, err := cmd.StdoutPipe()
	if err != nil {
		k.tb.Fatal(err)
	}
	if err = cmd.Start(); err != nil {
		k.tb.Fatal(err)
	}
	kill := func() { _ = cmd.Process.Kill() }
	// It must get ready, and says what it is doing if it does not.
	early := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	if rand.IntN(4) == 0 { // While it starts, perhaps.
		early.Stop()
		early = time.AfterFunc(rand.N(150*time.Millisecond), kill)
	}
	k.read(lines, func() {
		if early.Stop() {
			time.AfterFunc(rand.N(50*time.Millisecond), kill)
		}
	})
	_ = cmd.Wait()
	early.Stop()
	if problems.Len() > 0 {
		k.tb.Errorf("the process says %s", problems.String())
	}
}

// read reads what the process says until it is no more.
func (k *killer) read(lines io.Reader, ready func()) {
	k.tb.Helper()
	found, records := map[string]map[int]bool{}, map[string]string{}
	var isReady time.Time
	for scanner := bufio.NewScanner(lines); scanner.Scan(); {
		var key, value string
		var first, last int
		what, rest, _ := strings.Cut(scanner.Text(), " ")
		switch what {
		case "found":
			_, _ = fmt.Sscan(rest, &key, &first, &last)
			note(found, key, first, last)
		case "wrong":
			k.tb.Error(scanner.Text())
		case "record":
			_, _ = fmt.Sscan(rest, &key, &value)
			records[key] = value
		case "ready":
			isReady = time.Now()
			k.check(found, records)
			ready()
		case "acknowledged":
			_, _ = fmt.Sscan(rest, &key, &first, &last)
			note(k.promised, key, first, last)
			k.candidates += last - first + 1
		case "putting":
			_, _ = fmt.Sscan(rest, &key, &value)
			k.putting[key] = value
		case "put":
			_, _ = fmt.Sscan(rest, &key, &value)
			k.put[key] = value
			delete(k.putting, key)
			k.records++
		}
	}
	if isReady.IsZero() {
		k.early++
	}
	if !k.keeps && (isReady.IsZero() || time.Since(isReady) > k.retention/2) {
		clear(k.promised) // It may have handled them, and let them go.
	}
}

func note(set map[string]map[int]bool, key string, first, last int) {
	if set[key] == nil {
		set[key] = map[int]bool{}
	}
	for i := first; i <= last; i++ {
		set[key][i] = true
	}
}

// check compares what was found after a start with what was promised before it.
func (k *killer) check(found map[string]map[int]bool, records map[string]string) {
	k.tb.Helper()
	for key, stages := range k.promised {
		for stage := range stages {
			if !found[key][stage] {
				k.tb.Errorf("candidate %s %d was acknowledged and is lost", key, stage)
				return
			}
		}
	}
	if !k.keeps {
		clear(k.promised) // What the next life is not given early enough may go.
	}
	for key, value := range k.put {
		if got := records[key]; got != value && (got == "" || got != k.putting[key]) {
			k.tb.Errorf("%s is %q, %q was promised", key, got, value)
		}
	}
	for key, got := range records { // What was on its way has arrived, or not.
		k.put[key] = got
	}
	clear(k.putting)
}
