package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
	"github.com/portcullis-dev/portcullis/hack/cluster/supervisor"
)

// run executes the command line against a state directory of its own.
func run(tb testing.TB, args ...string) (output string, state string, err error) {
	tb.Helper()
	state, err = os.MkdirTemp("/tmp", "cluster") // TempDir's names are too long for a state directory
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(state) })
	return runIn(tb, state, args...)
}

func runIn(tb testing.TB, state string, args ...string) (output string, same string, err error) {
	tb.Helper()
	var out bytes.Buffer
	root := newRootCommand()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append(args, "--state-dir", state, "--cache-dir", filepath.Join(state, "cache")))
	err = root.ExecuteContext(tb.Context())
	return out.String(), state, err
}

func TestCommandsSayThatTheClusterIsNotUp(t *testing.T) {
	for _, args := range [][]string{{"status"}, {"env"}, {"apiserver", "restart"}} {
		if _, _, err := run(t, args...); !errors.Is(err, errNotUp) {
			t.Errorf("%v: %v, want errNotUp", args, err)
		}
	}
}

func TestHelpHasExamples(t *testing.T) {
	output, _, err := run(t, "--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hack/cluster up", "hack/cluster down", "hack/cluster env", "apiserver restart --audit-dir"} {
		if !strings.Contains(output, want) {
			t.Errorf("the help lacks %q", want)
		}
	}
	if strings.Contains(output, "supervise") {
		t.Error("the help offers the background process")
	}
}

func TestEnvIsForAShell(t *testing.T) {
	_, state, _ := run(t, "env")
	strange := filepath.Join(state, "it's a $HOME")
	if err := os.Mkdir(strange, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(strange, "kubeconfig"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	output, _, err := runIn(t, strange, "env")
	if err != nil {
		t.Fatal(err)
	}
	printed, err := exec.Command("sh", "-c", output+`echo "$KUBECONFIG"; echo "${PATH#*:}"`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := strange + "/kubeconfig\n" + os.Getenv("PATH") + "\n"; string(printed) != want {
		t.Errorf("the shell got %q, want %q", printed, want)
	}
}

func TestLogs(t *testing.T) {
	if _, _, err := run(t, "logs"); err == nil || !strings.Contains(err.Error(), "nothing has run yet") {
		t.Errorf("without logs: %v", err)
	}
	_, state, _ := run(t, "env")
	if err := os.MkdirAll(filepath.Join(state, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "logs", "etcd.log"), []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, _, err := runIn(t, state, "logs"); err != nil || !strings.Contains(output, "etcd") {
		t.Errorf("list: %q, %v", output, err)
	}
	if output, _, err := runIn(t, state, "logs", "etcd", "-n", "2"); err != nil || output != "two\nthree\n" {
		t.Errorf("two lines: %q, %v", output, err)
	}
	if _, _, err := runIn(t, state, "logs", "../secret"); err == nil || !strings.Contains(err.Error(), "there are: etcd") {
		t.Errorf("a log that is none: %v", err)
	}
}

func TestUserNames(t *testing.T) {
	allowed := regexp.MustCompile(userName)
	for name, want := range map[string]bool{
		"alice": true, "alice@example.com": true, "system:node:x": true, "A.b-c_1": true, "a": true,
		"": false, "../alice": false, "a/b": false, ".": false, "-x": false, "a b": false, strings.Repeat("a", 80): false,
	} {
		if got := allowed.MatchString(name); got != want {
			t.Errorf("%q: allowed %t, want %t", name, got, want)
		}
	}
}

func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	statuses := []supervisor.Status{
		{Name: "etcd", PID: 12, Started: now.Add(-90 * time.Second), Running: true, Healthy: true},
		{Name: "kubelet", Restarts: 2, LastExit: "signal: killed"},
	}
	var out bytes.Buffer
	err := printStatus(&out, statuses, now)
	if err == nil || !strings.Contains(err.Error(), "kubelet") || strings.Contains(err.Error(), "etcd") {
		t.Errorf("error %v, want one that names the kubelet alone", err)
	}
	want := "DAEMON   PID  UPTIME  RESTARTS  HEALTH\n" +
		"etcd     12   1m30s   0         ok\n" +
		"kubelet  -    -       2         ILL (ended before: signal: killed)\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if err := printStatus(&out, statuses[:1], now); err != nil {
		t.Errorf("all are well: %v", err)
	}
}

func TestBuildProgressWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	progress := newBuildProgress(&steps{out: &out, start: now, now: func() time.Time { return now }})
	progress.Downloading("k8s.io/api v1", 1)
	progress.Downloading("k8s.io/api v2", 2) // too soon to be told
	now = now.Add(20 * time.Second)
	progress.Compiling("net/http", 10, 100)
	progress.Compiling("net/url", 11, 100)
	progress.Linking("kube")
	progress.finish()
	want := "    0.0 s  downloading modules (1.7 GB when all are): 1, now k8s.io/api v1\n" +
		"   20.0 s  compiled 10 of 100 packages, now net/http\n" +
		"   20.0 s  linking kube (up to a minute)\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestClearStateKeepsLogsAndStrangers(t *testing.T) {
	_, state, _ := run(t, "env")
	l, err := layout.New(state, "/bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := prepareState(l, time.Now); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.Log("etcd"), []byte("last words"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "somebody's"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := clearState(l); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"logs", "somebody's"}, names(t, state)); diff != "" {
		t.Errorf("after clearing (-want +got):\n%s", diff)
	}
	if err := prepareState(l, time.Now); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"etcd.log"}, names(t, l.PreviousLogs())); diff != "" {
		t.Errorf("previous logs (-want +got):\n%s", diff)
	}
}

func names(tb testing.TB, dir string) []string {
	tb.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestLockWaits(t *testing.T) {
	unlock, err := lock(t.Context(), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*lockPoll)
	defer cancel()
	var told bytes.Buffer
	if _, second := lock(ctx, &told); second == nil {
		t.Fatal("two have the lock")
	}
	if strings.Count(told.String(), "waiting for another") != 1 {
		t.Errorf("told %q", told.String())
	}
	unlock()
	again, err := lock(t.Context(), &told)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
