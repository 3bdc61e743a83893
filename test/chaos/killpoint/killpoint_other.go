//go:build !(linux && amd64)

package killpoint

import (
	"errors"
	"fmt"
)

// Points are functions of a program.
type Points struct{}

// Find is not supported here.
func Find(string, ...string) (*Points, error) {
	return nil, fmt.Errorf("kill a process where it enters a function: %w", errors.ErrUnsupported)
}

// Arm is not supported here.
func (*Points) Arm(int, string) (disarm func() error, err error) {
	return nil, fmt.Errorf("kill a process where it enters a function: %w", errors.ErrUnsupported)
}
