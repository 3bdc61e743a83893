package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/portcullis-dev/portcullis/hack/cluster/footprint"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
	"github.com/portcullis-dev/portcullis/hack/cluster/supervisor"
)

// start starts the supervisor in namespaces of its own, lays the network link
// into them, and follows its reports until the cluster is up.
func (s *settings) start(ctx context.Context, l layout.Layout, steps *steps) error {
	before, err := snapshot(ctx)
	if err != nil {
		return err
	}
	marks, err := footprint.Open(l)
	if err != nil {
		return err
	}
	if err = marks.Claim(); err != nil {
		return err
	}
	process, err := startSupervisor(l, s.cache)
	if err != nil {
		return err
	}
	defer process.close()
	if err := s.saveRecord(l, process.pid, before); err != nil {
		return err
	}
	if err := footprint.NameNetwork(process.pid); err != nil {
		return err
	}
	if err := layCable(ctx); err != nil {
		return err
	}
	// It is closed already when the supervisor has ended; its report says why.
	if err := process.cable.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("start supervisor: %w", err)
	}
	return follow(ctx, process, steps, l)
}

// snapshot notes what the machine is like, and makes the one mount point that may not exist.
func snapshot(ctx context.Context) (footprint.Snapshot, error) {
	sysctls, err := footprint.ReadSysctls(slices.Collect(maps.Keys(supervisor.KubeletSysctls())))
	if err != nil {
		return footprint.Snapshot{}, err
	}
	tables, err := footprint.Tables(ctx)
	if err != nil {
		return footprint.Snapshot{}, err
	}
	before := footprint.Snapshot{Sysctls: sysctls, Tables: tables}
	if err := os.Mkdir(supervisor.CNICache, 0o755); err == nil { //nolint:gosec // as containerd makes it
		before.MadeDirs = append(before.MadeDirs, supervisor.CNICache)
	} else if !errors.Is(err, os.ErrExist) {
		return footprint.Snapshot{}, fmt.Errorf("make mount point: %w", err)
	}
	return before, nil
}

func (s *settings) saveRecord(l layout.Layout, pid int, before footprint.Snapshot) error {
	started, err := footprint.StartTicks(pid)
	if err != nil {
		return err
	}
	mounts, err := footprint.NamespaceOf(pid, "mnt")
	if err != nil {
		return err
	}
	boot, err := footprint.BootID()
	if err != nil {
		return err
	}
	return footprint.SaveRecord(l.Record(), footprint.Record{
		Supervisor: pid, SupervisorStart: started, Mounts: mounts, Boot: boot, Started: s.now(), Before: before,
	})
}

// A supervisorProcess is the background process as its parent holds it.
type supervisorProcess struct {
	pid     int
	cable   io.Closer
	reports io.ReadCloser
}

func (p *supervisorProcess) close() {
	_ = p.cable.Close() // closed already where all went well
	_ = p.reports.Close()
}

func startSupervisor(l layout.Layout, cache string) (*supervisorProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	log, err := os.OpenFile(l.Log("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own copy
	reports, reportsEnd, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	defer func() { _ = reportsEnd.Close() }() // likewise

	// Not CommandContext: it outlives this command.
	command := exec.Command(self, "supervise", "--state-dir", l.State, "--cache-dir", cache, "--bin-dir", l.Bin) //nolint:gosec,noctx // ourselves
	command.Dir = "/"
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{reportsEnd}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		// The Go runtime makes all mounts private in a new mount namespace.
		Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
	}
	cable, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	process := &supervisorProcess{pid: command.Process.Pid, cable: cable, reports: reports}
	go func() { _ = command.Wait() }() // no zombie should it end before us
	return process, nil
}

// layCable connects the machine with the cluster and tells it the way to pods and services.
func layCable(ctx context.Context) error {
	commands := []string{
		"link add " + layout.HostLink + " type veth peer name " + layout.NodeLink + " netns " + layout.Netns,
		"addr add " + layout.HostIP + "/24 dev " + layout.HostLink,
		"link set " + layout.HostLink + " up",
		"route add " + layout.PodCIDR + " via " + layout.NodeIP,
		"route add " + layout.ServiceCIDR + " via " + layout.NodeIP,
	}
	for _, command := range commands {
		output, err := exec.CommandContext(ctx, "ip", strings.Fields(command)...).CombinedOutput() //nolint:gosec // our own words
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(output)))
		}
	}
	return nil
}

// follow prints the supervisor's reports until the last.
func follow(ctx context.Context, process *supervisorProcess, steps *steps, l layout.Layout) error {
	received := make(chan supervisor.Report)
	go func() {
		defer close(received)
		decoder := json.NewDecoder(process.reports)
		for {
			var report supervisor.Report
			if decoder.Decode(&report) != nil {
				return // the supervisor has ended
			}
			select {
			case received <- report:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return errInterrupted
		case report, ok := <-received:
			switch {
			case !ok:
				return supervisor.NewDaemonError("the supervisor", "ended without a word", l.Log("supervisor"), 0)
			case report.Failure != "":
				return errors.New(report.Failure)
			case report.Ready:
				return nil
			default:
				steps.printf("%s", report.Milestone)
			}
		}
	}
}
