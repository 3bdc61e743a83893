//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// limit bounds one step; a step takes seconds on an idle machine, and CI's is not always idle.
const limit = 3 * time.Minute

// world is what the tests share: the cluster with Portcullis on it.
type world struct {
	*harness.Cluster
	detections *harness.Detections
	mallory    harness.User
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		w, cleanUp, err := setUp()
		defer cleanUp()
		if err != nil {
			fmt.Fprintf(os.Stderr, "set up: %v\n", err)
			return 1
		}
		shared = w
		return m.Run()
	}())
}

// shared is set once by TestMain: building and starting a Kubernetes per test would take hours.
var shared *world

func setUp() (w *world, cleanUp func(), err error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return nil, func() {}, err
	}
	work, err := os.MkdirTemp("", "portcullis-e2e-")
	if err != nil {
		return nil, func() {}, err
	}
	cleanUp = func() { _ = os.RemoveAll(work) }
	ctx := context.Background()

	cluster, err := harness.Up(ctx, root, work, os.Stdout)
	if err != nil {
		return nil, cleanUp, err
	}
	cleanUp = func() {
		if os.Getenv("PORTCULLIS_E2E_KEEP") == "" {
			if down := cluster.Down(ctx); down != nil {
				fmt.Fprintf(os.Stderr, "tear down: %v\n", down)
				os.Exit(1) // something was left behind: that is a failure of its own
			}
		}
		_ = os.RemoveAll(work)
	}
	if err = cluster.Images(ctx); err != nil {
		return nil, cleanUp, err
	}
	w = &world{Cluster: cluster}
	if w.detections, err = cluster.Detections(ctx); err != nil {
		return nil, cleanUp, err
	}
	if w.mallory, err = cluster.User(ctx, "mallory", "devs"); err != nil {
		return nil, cleanUp, err
	}
	return w, cleanUp, nil
}

// step is one step's context: it ends with the test, or when the step takes too long.
func step(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// check fails the test on an error, with what a person would look at.
func (w *world) check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		w.Diagnose(context.WithoutCancel(t.Context()))
		t.FailNow()
	}
}
