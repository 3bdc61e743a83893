// Command recordings makes the recordings in docs/samples anew. It brings up a
// real Kubernetes, installs Portcullis with its telemetry log, plays what is told
// in docs/samples/README.md, and keeps what the API server's audit log and the
// telemetry log have of it.
//
// What it keeps goes into the repository: it fails rather than keep a credential,
// more than a few hundred KiB, or a recording in which a rule does not fire.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nrecordings: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "portcullis-recordings-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	cluster, err := harness.Up(ctx, root, work, os.Stdout)
	if cluster != nil {
		defer func() { err = errors.Join(err, down(ctx, cluster)) }()
	}
	if err != nil {
		return err
	}
	if err := cluster.Images(ctx); err != nil {
		return err
	}
	s := &story{cluster: cluster}
	if err := s.tell(ctx); err != nil {
		if ctx.Err() == nil {
			cluster.Diagnose(ctx)
		}
		return err
	}
	c := capture{begin: s.begin, end: s.end, directory: filepath.Join(root, "docs", "samples")}
	if err := c.keep(cluster.AuditLog, filepath.Join(cluster.Volumes, "*", telemetryFile)); err != nil {
		return err
	}
	return check(ctx, cluster, c.directory)
}

// down takes the cluster down, also when something failed.
func down(ctx context.Context, cluster *harness.Cluster) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	return cluster.Down(ctx)
}
