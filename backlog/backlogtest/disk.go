// Package backlogtest has the store that tests of what must outlive a process run
// on: it stays when the process that is tested is thrown away, and fails, hangs or
// dies whenever the test says so.
package backlogtest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Disk is a store in memory. Its methods may be called from any goroutine.
type Disk struct {
	mu     sync.Mutex
	order  []string
	values map[string][]byte
	gate   Gate
}

// Gate decides about each write before it happens. It may block until the context
// ends, and its error is the write's.
type Gate func(ctx context.Context, key string) error

// NewDisk makes an empty Disk.
func NewDisk() *Disk { return &Disk{values: map[string][]byte{}} }

// SetGate has the gate decide about the writes from now on; nil lets all of them happen.
func (d *Disk) SetGate(gate Gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gate = gate
}

// Put stores a value.
func (d *Disk) Put(ctx context.Context, key string, value []byte) error {
	return d.write(ctx, key, func() { d.values[key], d.order = bytes.Clone(value), append(d.order, key) })
}

// Delete removes a value.
func (d *Disk) Delete(ctx context.Context, key string) error {
	return d.write(ctx, key, func() {})
}

func (d *Disk) write(ctx context.Context, key string, action func()) error {
	d.mu.Lock()
	gate := d.gate
	d.mu.Unlock()
	if gate != nil {
		if err := gate(ctx, key); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.values[key]; there {
		delete(d.values, key)
		d.order = slices.DeleteFunc(d.order, func(k string) bool { return k == key })
	}
	action()
	return nil
}

// Range calls visit with each value in the order in which they were written, until it returns an
// error, which Range returns.
func (d *Disk) Range(_ context.Context, visit func(key string, value []byte, at time.Time) error) error {
	d.mu.Lock()
	order, values := slices.Clone(d.order), maps.Clone(d.values)
	d.mu.Unlock()
	for _, key := range order {
		if err := visit(key, values[key], time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// Len is how many values there are.
func (d *Disk) Len() int { return len(d.Values()) }

// Values are the values as texts.
func (d *Disk) Values() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]string, len(d.values))
	for key, value := range d.values {
		out[key] = string(value)
	}
	return out
}

// Fails is a Gate that lets nothing happen.
func Fails(err error) Gate {
	return func(context.Context, string) error { return err }
}
