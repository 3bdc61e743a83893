//go:build linux

package procmem_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/portcullis-dev/portcullis/test/procmem"
)

func TestNobodyIsThereAnyMore(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	called := false
	change := func(*os.File) error { called = true; return nil }
	if err := procmem.Change(cmd.Process.Pid, change); err != nil || !called {
		t.Errorf("error is %v, called: %v", err, called)
	}
	if procmem.Gone(cmd.Process.Pid, nil) {
		t.Error("it is said to be gone")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := procmem.Change(cmd.Process.Pid, change); err == nil || !procmem.Gone(cmd.Process.Pid, err) {
		t.Errorf("error is %v", err)
	}
}
