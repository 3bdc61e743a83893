//go:build !(linux && amd64)

package clockshift

import (
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// Start is not supported here.
func Start(*exec.Cmd, time.Duration) error {
	return fmt.Errorf("shift the clock of a process: %w", errors.ErrUnsupported)
}

// Set is not supported here.
func Set(int, time.Duration) error {
	return fmt.Errorf("set the clock of a process: %w", errors.ErrUnsupported)
}
