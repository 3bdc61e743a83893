package bpf

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// TestEveryWayOfWatchingOpensLoads: an agent takes the best that the kernel allows, so the
// others would otherwise meet only the verifiers of kernels that need them.
func TestEveryWayOfWatchingOpensLoads(t *testing.T) {
	kerneltest.RequireRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Log(err) // as in Load: newer kernels need nothing
	}
	spec, err := prepare(Options{RingSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, hook := range openHooks() {
		t.Run(hook.program, func(t *testing.T) {
			c, err := ebpf.NewCollection(only(spec, hook.program))
			if errors.Is(err, unix.EPERM) && hook.complete && os.Getenv("PORTCULLIS_KERNEL_TEST") == "" {
				t.Skipf("this kernel does not allow it: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	}
}
