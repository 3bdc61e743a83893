// Command cluster brings a real Kubernetes up on one Debian machine, and down
// again without a trace: etcd, API server, controller-manager, scheduler,
// kube-proxy, kubelet and containerd, built from Go modules and run in
// namespaces of their own. The end-to-end tests and the demo use it.
//
//	go run ./hack/cluster up
//	eval "$(go run ./hack/cluster env)"
//	kubectl get nodes
//	go run ./hack/cluster down
//
// See README.md in this directory.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

var errInterrupted = errors.New("interrupted")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	if errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	fmt.Fprintf(os.Stderr, "\nerror: %v\n", err)
	os.Exit(1)
}
