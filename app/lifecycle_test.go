package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) part(name string) part {
	return part{name, func(ctx context.Context) error {
		d.write("start " + name)
		<-ctx.Done()
		d.write("stop " + name)
		return nil
	}}
}

func TestStagesEndInOppositeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- runStages(ctx, quiet(), []stage{{d.part("bottom")}, {d.part("middle")}, {d.part("top")}})
		}()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := []string{"stop top", "stop middle", "stop bottom"}
		if got := d.lines[3:]; !slices.Equal(got, want) {
			t.Errorf("ended as %v, want %v", got, want)
		}
	})
}

func TestFailureOfOnePartEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		broken := part{"broken", func(context.Context) error { return errors.New("no disk") }}
		err := runStages(t.Context(), quiet(), []stage{{d.part("bottom")}, {broken}})
		if err == nil || !strings.Contains(err.Error(), "broken: no disk") {
			t.Errorf("got %v", err)
		}
		if !slices.Contains(d.lines, "stop bottom") {
			t.Error("the other part was not ended")
		}
	})
}

func TestPartThatEndsByItselfIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle := part{"idle", func(context.Context) error { return nil }}
		if err := runStages(t.Context(), quiet(), []stage{{idle}}); err == nil {
			t.Error("no error")
		}
	})
}

func TestStuckPartsCannotEatTheKubeletsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stages := make([]stage, 0, 6)
		for range 6 {
			stages = append(stages, stage{{"stuck", func(context.Context) error { <-release; return nil }}})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now() // the bubble's clock
		if err := runStages(ctx, quiet(), stages); err == nil {
			t.Error("no error")
		}
		if took := time.Since(start); took > stopTotal {
			t.Errorf("stopping took %s, more than %s", took, stopTotal)
		}
		close(release)
	})
}

func TestPartThatDoesNotEndIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := part{"stuck", func(context.Context) error { <-release; return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := runStages(ctx, quiet(), []stage{{(&diary{}).part("good"), stuck}})
		if err == nil || !strings.Contains(err.Error(), "[stuck] did not end") {
			t.Errorf("got %v", err)
		}
		close(release)
	})
}
