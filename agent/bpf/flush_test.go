package bpf_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

func TestAfterAFlushEverythingWasRead(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	shell := kerneltest.Converse(t, c)
	for i := range 100 {
		mark := fmt.Sprintf("flushed-%d", i)
		shell("/usr/bin/true " + mark)
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				if err := w.programs.Flush(t.Context()); err != nil {
					t.Errorf("flush: %v", err)
				}
				if found := w.all(kind(bpf.KindExec), in(c), args("/usr/bin/true", mark)); len(found) != 1 {
					t.Errorf("%s: %d records of it were read by the end of the flush, want 1", mark, len(found))
				}
			})
		}
		callers.Wait()
	}
}

func TestAFlushAfterTheEnd(t *testing.T) {
	w := watch(t, bpf.Options{})
	w.stop()
	if err := w.programs.Flush(t.Context()); err != nil {
		t.Errorf("everything was read, and a flush says %v", err)
	}
}

func TestAFlushThatNobodyServes(t *testing.T) {
	w := watch(t, bpf.Options{})
	if err := w.programs.Close(); err != nil {
		t.Fatal(err)
	}
	w.stop()
	if err := w.programs.Flush(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("after the ring buffer was closed a flush says %v", err)
	}
}
