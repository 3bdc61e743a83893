package clock_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent/clock"
)

// clocks are two clocks that a test sets.
type clocks struct {
	boot, wall int64
	err        error
}

func (c *clocks) read() (int64, int64, error) { return c.boot, c.wall, c.err }

func newClock(t testing.TB, source clock.Source) *clock.Clock {
	t.Helper()
	c, err := clock.New(source)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWallFollowsAStepOfTheClock(t *testing.T) {
	fake := &clocks{boot: 1_000, wall: 5_000_000_001_000}
	c := newClock(t, fake.read)
	if got, want := c.Wall(2_000), time.Unix(5_000, 2_000); !got.Equal(want) {
		t.Errorf("Wall(2000) = %v, want %v", got, want)
	}

	fake.boot, fake.wall = 10_000, 5_000_000_010_000+int64(time.Hour)
	if err := c.Update(); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Wall(2_000), time.Unix(5_000, 2_000).Add(time.Hour); !got.Equal(want) {
		t.Errorf("Wall(2000) after the step = %v, want %v", got, want)
	}
	if c.Steps() != 1 {
		t.Errorf("Steps() = %d, want 1", c.Steps())
	}
}

func TestWallDoesNotFollowNoise(t *testing.T) {
	fake := &clocks{boot: 0, wall: 1e18}
	c := newClock(t, fake.read)
	before := c.Wall(42)
	for _, noise := range []int64{900, -900, 50_000, -50_000} {
		fake.wall = 1e18 + noise
		if err := c.Update(); err != nil {
			t.Fatal(err)
		}
		if got := c.Wall(42); !got.Equal(before) {
			t.Errorf("Wall(42) moved by %v with a measurement that is %d ns off", got.Sub(before), noise)
		}
	}
	if c.Steps() != 0 {
		t.Errorf("Steps() = %d, want 0", c.Steps())
	}
}

func TestErrorsKeepTheOffset(t *testing.T) {
	if _, err := clock.New((&clocks{err: errors.New("no clock")}).read); err == nil {
		t.Error("New with a broken source succeeded")
	}
	fake := &clocks{wall: 1e18}
	c := newClock(t, fake.read)
	fake.err = errors.New("no clock")
	if err := c.Update(); err == nil {
		t.Error("Update with a broken source succeeded")
	}
	if got := c.Wall(0); got.UnixNano() != 1e18 {
		t.Errorf("Wall(0) = %v after a failed update", got)
	}
}

func TestTheKernelsClocks(t *testing.T) {
	c := newClock(t, nil)
	var boot unix.Timespec
	before := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	got := c.Wall(uint64(boot.Nano()))
	const slack = time.Millisecond // of the measurement in New
	if got.Before(before.Add(-slack)) || got.After(after.Add(slack)) {
		t.Errorf("Wall of now = %v, not between %v and %v", got, before, after)
	}
}
