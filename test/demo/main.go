// Command demo shows the main job on a real Kubernetes on this machine: it
// installs Portcullis, plays an attacker who execs into a pod, reads its token
// and calls the API server with it, and shows what Portcullis saw, what it
// concluded, how long each step took, and that the next exec is denied.
//
// It exits non-zero if any step did not happen.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

const introduction = `
Portcullis, the main job on a real Kubernetes
=============================================

What you will see, on a cluster that this command builds from source and runs
on this machine (etcd, kube-apiserver, kubelet, containerd, …; nothing is mocked):

  1. Portcullis is installed with its Helm chart: a server, and an eBPF agent
     on the node. The API server sends its audit events to the server.
  2. mallory opens a shell in the pod shop/web-0 with kubectl exec, reads the
     pod's service account token, and asks the API server for Secrets with it.
     The API server refuses: the pod has no right to them.
  3. The agent saw the shell, the token and the curl; the API server's audit
     stream shows the refused call, made with a token that is bound to that very
     pod. Portcullis joins the two by the pod's UID and the time of each event.
  4. The rules fire, the pod is put into quarantine, mallory's next exec
     into it is denied, and the shell that is open ends. The pod of the same name
     next door is not touched. Rules in mode observe only tell.
  5. The session is shown: who asked for it, what it started, which API calls followed.
  6. The quarantine is released. Then mallory is put into quarantine by hand, Portcullis is
     taken away altogether, and mallory stays out all the same. alice does not.

The first run compiles Kubernetes (some 5 to 10 minutes on two cores); what was
built is kept, and the next run takes about a minute.

`

func main() {
	keep := flag.Bool("keep", os.Getenv("KEEP") != "", "leave the cluster up at the end (also: KEEP=1 make demo)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *keep)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, keep bool) (err error) {
	fmt.Print(introduction)
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "portcullis-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	heading("Setting up")
	cluster, err := setUp(ctx, root, work)
	if cluster != nil {
		defer func() { err = errors.Join(err, finish(ctx, cluster, keep)) }()
	}
	if err != nil {
		return err
	}
	return newStory(cluster).tell(ctx)
}

func setUp(ctx context.Context, root, work string) (*harness.Cluster, error) {
	if _, err := os.Stat(filepath.Join(root, "bin", "cluster")); err != nil {
		return nil, fmt.Errorf("start the demo with `make demo`, which builds what it needs: %w", err)
	}
	cluster, err := harness.Up(ctx, root, work, os.Stdout)
	if err != nil {
		return nil, err
	}
	return cluster, cluster.Images(ctx)
}

// finish takes the cluster down, also when the demo failed or was interrupted.
func finish(ctx context.Context, cluster *harness.Cluster, keep bool) error {
	if keep {
		fmt.Printf("\nThe cluster is still up. Use it:   eval \"$(bin/cluster env)\" && kubectl get pods -A\nTake it down: make cluster-down\n")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	heading("Tidying up")
	return cluster.Down(ctx)
}

func heading(text string) { fmt.Printf("\n── %s ──\n", text) }
