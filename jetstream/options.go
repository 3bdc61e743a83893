package jetstream

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxMessage is the most bytes that one message holds, as it is stored: the
// size up to which the server inside needs no unusual settings.
const maxMessage = 8 << 20

// Options configure a Store.
type Options struct {
	// Directory is the Store's own: it is made if it does not exist, and nobody but this
	// user can look into it. Required.
	Directory string
	// Sync has the disk confirm every write before it is acknowledged, so that it outlives
	// the machine too. Without it that takes up to ten seconds.
	Sync bool
	// MaxBytes bounds what the bus and all buckets may hold together, default 2 GiB. Their
	// own bounds are taken from it when they are opened. Files take up to a quarter more.
	MaxBytes int64
	// Timeout is how long an operation may wait for the disk, default 10s.
	Timeout time.Duration
	// LockTimeout is how long Open waits for a process that uses the directory to end, as a
	// predecessor that was told to; default 0, not at all.
	LockTimeout time.Duration
	// Clock tells the wall time. Required.
	Clock func() time.Time
	// Logger and Registerer are required.
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// tick is how often the Store looks after its streams.
	tick time.Duration
	// closing is how long Close waits for the disk.
	closing time.Duration
}

func (o Options) withDefaults() Options {
	if o.MaxBytes == 0 {
		o.MaxBytes = 2 << 30
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.tick == 0 {
		o.tick = time.Second
	}
	if o.closing == 0 {
		o.closing = 5 * time.Second
	}
	return o
}

func (o Options) validate() error {
	for name, absent := range map[string]bool{
		"Directory": o.Directory == "", "Clock": o.Clock == nil, "Logger": o.Logger == nil, "Registerer": o.Registerer == nil,
	} {
		if absent {
			return fmt.Errorf("%s is missing", name)
		}
	}
	switch {
	case o.MaxBytes < minBytes:
		return fmt.Errorf("MaxBytes is %d, must be at least %d", o.MaxBytes, minBytes)
	case o.Timeout < 0:
		return fmt.Errorf("negative Timeout %s", o.Timeout)
	case o.LockTimeout < 0:
		return fmt.Errorf("negative LockTimeout %s", o.LockTimeout)
	}
	return nil
}

// minBytes is the least that makes sense as a bound: one message, and room for a few more.
const minBytes = 2 * maxMessage

// BusOptions configure a Bus.
type BusOptions struct {
	// Retention is how long a candidate is kept at least: the longest span of any
	// rule, the lateness, and a reserve. Required.
	Retention time.Duration
	// MaxBytes bounds what is kept, default 1 GiB. Beyond it Publish refuses with ErrFull.
	// Less than the store holds takes effect at the first start at which it fits.
	MaxBytes int64
	// Drain is how long Consume goes on delivering what waits once its context
	// has ended, default 5s.
	Drain time.Duration
	// Dropped, if not nil, is told whenever n candidates are dropped because those whose events they
	// are have more than their share of the bus. The owner is as event.OwnerName has it. It must not wait, nor
	// call the Bus.
	Dropped func(owner string, n int)
}

func (o BusOptions) withDefaults() BusOptions {
	if o.Dropped == nil {
		o.Dropped = func(string, int) {}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Drain == 0 {
		o.Drain = 5 * time.Second
	}
	return o
}

func (o BusOptions) validate() error {
	switch {
	case o.Retention <= 0:
		return fmt.Errorf("the Retention is %s, must be positive", o.Retention)
	case o.MaxBytes < minBytes:
		return fmt.Errorf("MaxBytes is %d, must be at least %d", o.MaxBytes, minBytes)
	case o.Drain < 0:
		return fmt.Errorf("negative Drain %s", o.Drain)
	}
	return nil
}

// BucketOptions configure a Bucket.
type BucketOptions struct {
	// Name consists of letters, digits, "-" and "_". Required.
	Name string
	// TTL is how long a record is kept after it was last written. Required.
	TTL time.Duration
	// MaxBytes bounds what is kept. Beyond it Put refuses with ErrFull. Required.
	MaxBytes int64
}

func (o BucketOptions) validate() error {
	switch {
	case !validName(o.Name):
		return fmt.Errorf("the Name is %q, must be 1 to 64 letters, digits, - and _", o.Name)
	case o.TTL <= 0:
		return fmt.Errorf("the TTL is %s, must be positive", o.TTL)
	case o.MaxBytes < maxValue:
		return fmt.Errorf("MaxBytes is %d, must be at least %d", o.MaxBytes, maxValue)
	}
	return nil
}

func validName(name string) bool {
	for _, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return name != "" && len(name) <= 64
}
