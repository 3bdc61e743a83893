package jetstream

import (
	"errors"

	"github.com/portcullis-dev/portcullis/bus"
)

// What callers can decide by.
var (
	// ErrFull says that the size bound is reached. Nothing was stored of the message or value
	// that met it; trying again later is right.
	ErrFull = bus.ErrFull
	// ErrUnavailable says that the store cannot write at present. It tries to
	// recover by itself; trying again later is right.
	ErrUnavailable = bus.ErrUnavailable
	// ErrLocked says that another process uses the directory.
	ErrLocked = errors.New("jetstream: another process uses the store")
	// ErrNewer says that the store was written by a newer version.
	ErrNewer = errors.New("jetstream: the store was written by a newer version")
	// ErrNotFound says that a Bucket has no such key.
	ErrNotFound = errors.New("jetstream: no such key")
	// ErrClosed says that the Store is closed.
	ErrClosed = errors.New("jetstream: the store is closed")
)
