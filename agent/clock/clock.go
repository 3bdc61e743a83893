// Package clock turns the kernel's time since boot into wall-clock time.
//
// The kernel stamps what it reports with the time since boot (CLOCK_BOOTTIME,
// which goes on while the machine sleeps). Wall time is that plus an offset
// which changes only when somebody sets the clock: both clocks are slewed
// together. So the offset is measured again and again, and a new one is taken
// only when it differs by more than the measurement can be wrong. Thereby the
// same instant keeps the same wall time to the nanosecond, and a step of the
// clock is followed at the next measurement.
package clock

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tolerance is how far two measurements of the same offset may lie apart.
const tolerance = 100 * time.Microsecond

// attempts bounds a measurement: the reading that took the shortest time counts.
const attempts = 5

// Source reads the two clocks, in nanoseconds.
type Source func() (boot, wall int64, err error)

// Clock converts times. It is safe for concurrent use.
type Clock struct {
	source Source
	offset atomic.Int64
	steps  atomic.Uint64
}

// New measures for the first time. A nil source reads the kernel's clocks.
func New(source Source) (*Clock, error) {
	if source == nil {
		source = read
	}
	c := &Clock{source: source}
	boot, wall, err := source()
	if err != nil {
		return nil, fmt.Errorf("read the clocks: %w", err)
	}
	c.offset.Store(wall - boot)
	return c, nil
}

// Wall is the wall-clock time of an instant given in nanoseconds since boot,
// in UTC.
func (c *Clock) Wall(sinceBoot uint64) time.Time {
	return time.Unix(0, int64(sinceBoot)+c.offset.Load()).UTC() //nolint:gosec // nanoseconds since boot reach int64's end after 292 years
}

// Update measures again. Call it often: a step of the clock shows in what is
// converted after the next call.
func (c *Clock) Update() error {
	boot, wall, err := c.source()
	if err != nil {
		return fmt.Errorf("read the clocks: %w", err)
	}
	offset := wall - boot
	if d := time.Duration(offset - c.offset.Load()); d.Abs() > tolerance {
		c.offset.Store(offset)
		c.steps.Add(1)
	}
	return nil
}

// Steps counts how often the clock was set since New.
func (c *Clock) Steps() uint64 { return c.steps.Load() }

// read reads wall time between two readings of boot time, and takes the
// narrowest of several pairs: an interruption between the readings would
// otherwise look like a step.
func read() (boot, wall int64, err error) {
	width := int64(-1)
	for range attempts {
		var before, now, after unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &before); err != nil {
			return 0, 0, err
		}
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
			return 0, 0, err
		}
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &after); err != nil {
			return 0, 0, err
		}
		w := after.Nano() - before.Nano()
		if width < 0 || w < width {
			width, boot, wall = w, before.Nano()+w/2, now.Nano()
		}
		if w < int64(tolerance)/10 {
			break
		}
	}
	return boot, wall, nil
}
