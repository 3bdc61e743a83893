package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

type options struct {
	dir        string
	patterns   []string
	each       time.Duration
	processors int
	out        io.Writer
}

// task is one target, with the binary that runs it.
type task struct {
	pkg    *pkg
	target string
	binary string
	cache  string
}

// fuzz runs all targets, as many at the same time as there are processors.
func fuzz(ctx context.Context, o options) error {
	packages, err := find(ctx, o)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "portcullis-fuzz-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	tasks, err := build(ctx, o, packages, scratch)
	if err != nil {
		return err
	}
	if len(tasks) == 0 {
		return fmt.Errorf("no fuzz targets in %s", strings.Join(o.patterns, " "))
	}
	table := newTable(o.out, tasks)
	together := min(o.processors, len(tasks))
	var group errgroup.Group
	group.SetLimit(together)
	for _, t := range tasks {
		group.Go(func() error {
			out, err := t.run(ctx, o.each, max(1, o.processors/together))
			return table.add(t, out, err)
		})
	}
	return errors.Join(group.Wait(), table.verdict(ctx))
}

// build makes the test binaries. Binaries that other go commands made are of no
// use: -d=libfuzzer is how the compiler is told to count what is reached.
func build(ctx context.Context, o options, packages []*pkg, scratch string) ([]task, error) {
	cache, err := goCommand(ctx, o.dir, "env", "GOCACHE")
	if err != nil {
		return nil, err
	}
	var tasks []task
	for i, p := range packages {
		binary := filepath.Join(scratch, strconv.Itoa(i)+".test")
		if _, err := goCommand(ctx, o.dir, "test", "-c", "-vet=off", "-gcflags="+p.Module.Path+"/...=-d=libfuzzer", "-o", binary, p.ImportPath); err != nil {
			return nil, err
		}
		for _, t := range p.targets {
			tasks = append(tasks, task{p, t, binary, filepath.Join(strings.TrimSpace(cache), "fuzz", filepath.FromSlash(p.ImportPath))})
		}
	}
	return tasks, nil
}

// goCommand runs the go command and returns what it prints.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "go", args...) //nolint:gosec // whoever runs this chooses the packages
	c.Dir = dir
	var out, problems strings.Builder
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), problems.String())
	}
	return out.String(), nil
}

// run runs one target and returns what it prints.
func (t task) run(ctx context.Context, each time.Duration, workers int) (string, error) {
	c := exec.CommandContext(ctx, t.binary, //nolint:gosec // it was built above
		"-test.run=^$", "-test.fuzz=^"+t.target+"$", "-test.fuzztime="+each.String(), "-test.fuzzminimizetime=20x",
		"-test.fuzzcachedir="+t.cache, "-test.parallel="+strconv.Itoa(workers))
	c.Dir = t.pkg.Dir
	// Its workers get time to end by themselves.
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	out, err := c.CombinedOutput()
	return string(out), err
}

// table prints a line for each target as it ends.
type table struct {
	sync.Mutex
	out      io.Writer
	width    int
	progress *regexp.Regexp
	timeUp   *regexp.Regexp
	failed   []string
}

func newTable(out io.Writer, tasks []task) *table {
	t := &table{
		out:      out,
		progress: regexp.MustCompile(`execs: (\d+) \((\d+)/sec\)(?:, new interesting: (\d+) \(total: (\d+)\))?`),
		timeUp:   regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \([\d.]+s\)\n {4}context deadline exceeded\nFAIL\s*\z`),
	}
	for _, task := range tasks {
		t.width = max(t.width, len(task.name()))
	}
	return t
}

func (t task) name() string { return t.pkg.name() + " " + t.target }

// add prints how a target did. Its error is about printing.
func (t *table) add(task task, out string, err error) error {
	t.Lock()
	defer t.Unlock()
	verdict := "ok"
	switch {
	case err != nil && !t.endedInTime(out):
		verdict = "FAILED"
		t.failed = append(t.failed, task.name())
	case strings.Contains(out, "not built with coverage instrumentation"):
		verdict = "ok, but blind: this compiler counts nothing"
	}
	execs, interesting := t.figures(out)
	if _, err = fmt.Fprintf(t.out, "%-*s  %10s execs  %6s new of interest  %s\n", t.width, task.name(), execs, interesting, verdict); err != nil {
		return err
	}
	if verdict == "FAILED" {
		_, err = fmt.Fprintf(t.out, "%s\n", strings.TrimRight(out, "\n"))
		return err
	}
	return nil
}

// endedInTime reports whether a target failed only because its time was up.
// Go's fuzzer now and then takes the end of the time that it was given for a
// failure (golang.org/issue/75804, mended in Go 1.27). A failure of the target itself comes with
// its input, or with its own words.
func (t *table) endedInTime(out string) bool {
	return t.timeUp.MatchString(out) && !strings.Contains(out, "Failing input written to")
}

// figures returns how many inputs were tried, and how many reached something new.
func (t *table) figures(out string) (execs, interesting string) {
	all := t.progress.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return "0", "0"
	}
	last := all[len(all)-1]
	if last[3] == "" {
		return last[1], "0"
	}
	return last[1], last[3]
}

func (t *table) verdict(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case len(t.failed) > 0:
		return fmt.Errorf("%d of the targets failed: %s", len(t.failed), strings.Join(t.failed, ", "))
	default:
		return nil
	}
}
