package steady

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot reads the clock that counts on while the machine sleeps, which Go's own does not.
func sinceBoot() func() time.Duration {
	if _, err := bootTime(); err != nil {
		return sinceNow()
	}
	return func() time.Duration {
		passed, _ := bootTime() // It has been read before.
		return passed
	}
}

func bootTime() (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return time.Duration(now.Nano()), err
}
