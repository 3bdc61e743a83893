//go:build !linux

package disk

import (
	"context"
	"errors"
	"time"
)

// Disk is not supported here.
type Disk struct{ Dir string }

var errUnsupported = errors.New("a disk of its own needs Linux")

// Isolate says that there can be no disk.
func Isolate() (isolated bool, status int, err error) { return false, 0, errUnsupported }

// New is not supported here.
func New(string, int64) (*Disk, error) { return nil, errUnsupported }

// Close is not supported here.
func (*Disk) Close() error { return errUnsupported }

// Fill is not supported here.
func (*Disk) Fill() error { return errUnsupported }

// Free is not supported here.
func (*Disk) Free() error { return errUnsupported }

// Hang is not supported here.
func (*Disk) Hang(context.Context, time.Duration) error { return errUnsupported }
