package collector

import (
	"net"
	"testing"
	"time"
)

// TestSilentConnectionsAreNotWaitedFor: whoever connects and says nothing cannot hold up a stop.
func TestSilentConnectionsAreNotWaitedFor(t *testing.T) {
	r := newRig(t, func(o *Options) { o.StopTimeout = time.Hour })
	r.agent("node-1", "s1") // it is served, so the silent one after it is not the last to be accepted
	silent, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r.agent("node-2", "s2")
	r.stop()
	if err := <-r.stopped; err != nil {
		t.Errorf("serve: %v", err)
	}
	r.stopped <- nil
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Errorf("the silent connection is open: %v", err)
	}
}
