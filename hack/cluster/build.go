package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/portcullis-dev/portcullis/hack/cluster/kubebuild"
)

// lineInterval is how often a build says something where nobody watches a terminal.
const lineInterval = 15 * time.Second

func newBuildCommand(s *settings) *cobra.Command {
	printDir := false
	command := &cobra.Command{
		Use:   "build",
		Short: "Build Kubernetes, etcd, kubectl and helm, unless they are in the cache",
		Example: `  go run ./hack/cluster build
  ls "$(go run ./hack/cluster build --print-dir)"`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			source, err := s.source()
			if err != nil {
				return err
			}
			progress := command.OutOrStdout()
			if printDir {
				progress = command.ErrOrStderr()
			}
			dir, err := s.build(command.Context(), source, s.steps(progress))
			if err == nil && printDir {
				_, err = fmt.Fprintln(command.OutOrStdout(), dir)
			}
			return err
		},
	}
	command.Flags().BoolVar(&printDir, "print-dir", false, "print nothing but the directory of the binaries on standard output")
	return command
}

// build returns the directory of the binaries.
func (s *settings) build(ctx context.Context, source kubebuild.Source, steps *steps) (string, error) {
	if dir, ok := kubebuild.Cached(s.cache, source); ok {
		steps.printf("Kubernetes %s is built: %s", source.Version, dir)
		return dir, nil
	}
	steps.printf("building Kubernetes %s, etcd, kubectl and helm, once: about 5 minutes on two idle cores, and 4 GB of Go build cache", source.Version)
	progress := newBuildProgress(steps)
	dir, err := kubebuild.Build(ctx, s.cache, source, progress)
	progress.finish()
	if err != nil {
		return "", err
	}
	steps.printf("built: %s", dir)
	return dir, nil
}

// buildProgress shows a live bar on a terminal and a line now and then elsewhere.
type buildProgress struct {
	steps    *steps
	terminal io.Writer // nil when there is none
	bar      *progressbar.ProgressBar
	said     time.Time
}

func newBuildProgress(steps *steps) *buildProgress {
	progress := &buildProgress{steps: steps, said: steps.now()}
	if file, ok := steps.out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		progress.terminal = file
	}
	return progress
}

// Downloading implements [kubebuild.Progress].
func (p *buildProgress) Downloading(module string, count int) {
	p.say(count == 1, fmt.Sprintf("downloading modules (1.7 GB when all are): %d, now %s", count, module))
}

// Compiling implements [kubebuild.Progress].
func (p *buildProgress) Compiling(pkg string, done, total int) {
	if p.terminal == nil {
		p.say(false, fmt.Sprintf("compiled %d of %d packages, now %s", done, total, pkg))
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(p.terminal), progressbar.OptionShowCount(), progressbar.OptionSetWidth(24),
			progressbar.OptionSetElapsedTime(true), progressbar.OptionSetPredictTime(false), progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	const widest = 40
	p.bar.Describe(fmt.Sprintf("%-*.*s", widest, widest, path.Join(path.Base(path.Dir(pkg)), path.Base(pkg))))
	_ = p.bar.Set(done) // a terminal that is gone
}

// Linking implements [kubebuild.Progress].
func (p *buildProgress) Linking(program string) {
	if p.terminal != nil && p.bar != nil {
		p.bar.Describe("linking " + program + " (up to a minute)")
		return
	}
	p.say(true, "linking "+program+" (up to a minute)")
}

// say prints a line when it is important or the last one is long ago.
func (p *buildProgress) say(important bool, line string) {
	if now := p.steps.now(); important || now.Sub(p.said) >= lineInterval {
		p.said = now
		p.steps.printf("%s", line)
	}
}

func (p *buildProgress) finish() {
	if p.bar != nil {
		_ = p.bar.Clear() // likewise
	}
}
