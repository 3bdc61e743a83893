package ctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func execute(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	command := NewCommand(Options{Program: program, Version: "v1.2.3", Streams: streams})
	command.SetArgs(args)
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

// each visits every command below the root.
func each(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		each(sub, visit)
	}
}

// TestEveryCommandHelps: each has a short text, those that do something an
// example, and flags that explain themselves.
func TestEveryCommandHelps(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	plain := []string{"version", "options"}
	each(NewCommand(Options{Program: "portcullisctl", Streams: streams}), func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short text %q", c.CommandPath(), c.Short)
		}
		if !c.HasSubCommands() && !slices.Contains(plain, c.Name()) && !strings.Contains(c.Example, "portcullisctl "+strings.TrimPrefix(c.CommandPath(), "portcullisctl ")) {
			t.Errorf("%s: no example of it: %q", c.CommandPath(), c.Example)
		}
	})
}

func TestHelpIsShort(t *testing.T) {
	out, err := execute(t, "portcullisctl", "quarantine", "list", "--help")
	if err != nil || strings.Contains(out, "--kubeconfig") || !strings.Contains(out, `"portcullisctl options"`) || !strings.Contains(out, "--watch") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = execute(t, "portcullisctl", "sessions", "list", "--help")
	if err != nil || !strings.Contains(out, "--portcullis-namespace") || !strings.Contains(out, "--since") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = execute(t, "portcullisctl", "options")
	if err != nil || !strings.Contains(out, "--kubeconfig") || !strings.Contains(out, "--as ") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := execute(t, "portcullisctl", "audit"); err != nil || !strings.Contains(out, "config") {
		t.Errorf("a group alone: %v\n%s", err, out)
	}
}

func TestPlugin(t *testing.T) {
	for program, want := range map[string]string{
		"kubectl-portcullis": "kubectl portcullis quarantine list", "portcullisctl": "portcullisctl quarantine list",
	} {
		out, err := execute(t, program, "quarantine", "list", "--help")
		if err != nil || !strings.Contains(out, "Usage:\n  "+want) {
			t.Errorf("%s: %v\n%s", program, err, out)
		}
	}
}

func TestVersion(t *testing.T) {
	if out, err := execute(t, "portcullisctl", "version"); err != nil || !strings.HasPrefix(out, "portcullisctl v1.2.3 (go") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, err := execute(t, "portcullisctl", "completion", shell); err != nil || !strings.Contains(out, "portcullisctl") {
			t.Errorf("%s: %v", shell, err)
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, args := range [][]string{{"quarantin"}, {"audit", "conf"}, {"quarantine", "list", "x"}, {"quarantine", "--no-such-flag"}} {
		if out, err := execute(t, "portcullisctl", args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}

func TestNoCluster(t *testing.T) {
	_, err := execute(t, "portcullisctl", "quarantine", "list")
	if err == nil || !strings.Contains(Explain(err), "there is no kubeconfig") {
		t.Errorf("%v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, err = execute(t, "portcullisctl", "quarantine", "list", "--server", "https://"+address)
	if err == nil || !strings.Contains(Explain(err), "does not answer") {
		t.Errorf("%v", err)
	}
}

func TestExplain(t *testing.T) {
	for _, err := range []error{errors.New("plain"), fmt.Errorf("wrapped: %w", errors.New("plain"))} {
		if got, want := Explain(err), "error: "+err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got, want := Explain(errors.New("denied: a\x1b[2J\nask b")), "error: denied: a\\u{1b}[2J\nask b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Explain(fmt.Errorf("list: %w", context.DeadlineExceeded)); !strings.Contains(got, "does not answer") {
		t.Errorf("got %q", got)
	}
}
