package kubebuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// links are the names under which each binary is started.
func links() map[string][]string {
	return map[string][]string{
		"kube": {
			"etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet",
		},
		"clients": {"helm", "kubectl"},
		"pause":   nil,
	}
}

// A Progress hears how the build is going. Calls come one at a time.
type Progress interface {
	// Downloading says that the go command fetches a module, the count-th.
	Downloading(module string, count int)
	// Compiling says that a package is being compiled while done of total are there.
	Compiling(pkg string, done, total int)
	// Linking says that a program is being put together; nothing is heard meanwhile.
	Linking(program string)
}

// Cached returns the directory of finished binaries of this source, and whether it is there.
func Cached(cache string, source Source) (string, bool) {
	dir := filepath.Join(cache, "kubernetes-"+strings.TrimPrefix(source.Version, "v")+"-"+source.ID)
	_, err := os.Stat(dir)
	return dir, err == nil
}

// Build compiles the source below the cache directory and returns the
// directory of the binaries. It returns at once when they are there. The go
// command's own messages are kept for the error.
func Build(ctx context.Context, cache string, source Source, progress Progress) (string, error) {
	dir, ok := Cached(cache, source)
	if ok {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // a cache, as others are
		return "", fmt.Errorf("build Kubernetes: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(cache, ".lock"))
	if err != nil {
		return "", fmt.Errorf("build Kubernetes: %w", err)
	}
	defer unlock()
	if _, ok := Cached(cache, source); ok {
		return dir, nil // another process has just built it
	}
	if err := buildInto(ctx, dir, source, progress); err != nil {
		return "", fmt.Errorf("build Kubernetes: %w", err)
	}
	return dir, nil
}

// buildInto builds beside dir and renames. What an interrupted build leaves is removed by the next.
func buildInto(ctx context.Context, dir string, source Source, progress Progress) (err error) {
	unfinished := dir + ".unfinished"
	if err = os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err = os.Mkdir(unfinished, 0o755); err != nil { //nolint:gosec // as the cache
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(unfinished)) }()

	packages, err := listPackages(ctx, source, progress)
	if err != nil {
		return err
	}
	if err := compile(ctx, source, unfinished, newCounter(packages), progress); err != nil {
		return err
	}
	for binary, names := range links() {
		for _, name := range names {
			if err := os.Symlink(binary, filepath.Join(unfinished, name)); err != nil {
				return err
			}
		}
	}
	return os.Rename(unfinished, dir)
}

// A listed package is what `go list -json` says of one.
type listedPackage struct {
	ImportPath string
	Deps       []string
}

// listPackages returns every package that goes into the programs; modules that
// the module cache lacks are downloaded on the way.
func listPackages(ctx context.Context, source Source, progress Progress) ([]listedPackage, error) {
	command := goCommand(ctx, source, "list", "-deps", "-json=ImportPath,Deps", "./cmd/...")
	downloads := 0
	messages := &lineWriter{each: func(line string) {
		if module, ok := strings.CutPrefix(line, "go: downloading "); ok {
			downloads++
			progress.Downloading(module, downloads)
		}
	}}
	command.Stderr = messages
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w\n%s", err, messages.lastLines())
	}
	var packages []listedPackage
	decoder := json.NewDecoder(strings.NewReader(string(output)))
	for {
		var pkg listedPackage
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("list packages: %w", err)
		}
		packages = append(packages, pkg)
	}
}

// compile runs `go build -v`, which prints a package when it begins to compile it.
func compile(ctx context.Context, source Source, into string, done *counter, progress Progress) error {
	args := append([]string{"build", "-v", "-o", into + "/"}, buildFlags(source.Version)...)
	command := goCommand(ctx, source, append(args, "./cmd/...")...)
	messages := &lineWriter{each: func(line string) {
		if !done.begin(line) {
			return
		}
		progress.Compiling(line, done.count(), done.total())
		if program, ok := done.program(line); ok {
			progress.Linking(program)
		}
	}}
	command.Stdout, command.Stderr = messages, messages
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("compile: %w\n%s", err, messages.lastLines())
	}
	return nil
}

func goCommand(ctx context.Context, source Source, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own words
	command.Dir = source.Dir
	command.Env = append(os.Environ(), environment()...)
	return command
}

// lock holds a file lock until unlock is called, so that two builds do not share an unfinished directory.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() { locked <- flock(file) }()
	select {
	case err := <-locked:
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		return func() { _ = file.Close() }, nil // closing unlocks
	case <-ctx.Done():
		// The waiting goroutine ends with the process, which is about to.
		return nil, fmt.Errorf("wait for another build: %w", ctx.Err())
	}
}

func flock(file *os.File) error {
	for {
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// A lineWriter hands on what is written to it line by line and remembers the last ones.
type lineWriter struct {
	each    func(line string)
	partial string
	last    []string
}

const rememberedLines = 20

func (w *lineWriter) Write(text []byte) (int, error) {
	lines := strings.Split(w.partial+string(text), "\n")
	w.partial = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		w.last = append(w.last, line)
		w.last = w.last[max(0, len(w.last)-rememberedLines):]
		w.each(line)
	}
	return len(text), nil
}

func (w *lineWriter) lastLines() string { return strings.Join(append(w.last, w.partial), "\n") }
