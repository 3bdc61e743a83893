package harness

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Environment variables that make the harness use a cluster that exists. It is
// not KUBECONFIG on purpose: that one points at somebody's production cluster
// too often, and the harness plays an attacker.
const (
	// ExistingKubeconfig names the kubeconfig of its administrator.
	ExistingKubeconfig = "PORTCULLIS_KUBECONFIG"
	// ExistingHost is this machine's address as the cluster's pods reach it.
	ExistingHost = "PORTCULLIS_HOST"
)

// existingAudit tells what only the cluster's owner can do.
const existingAudit = `
  The harness cannot set the flags of this cluster's API server. On its host,
  use the files in %s; the flags are printed by
    portcullisctl audit config --namespace %s --api-server %s --output-dir …
  It goes on as soon as the audit stream arrives.

`

// useExisting takes kubectl and helm from the path. The images must be on the
// cluster's nodes already: dist/portcullis.tar, dist/portcullis-agent.tar (make
// images) and shell.tar (bin/cluster image build-test DIR).
func (c *Cluster) useExisting(kubeconfig string) (err error) {
	c.existing = true
	c.Kubeconfig, err = filepath.Abs(kubeconfig)
	if err != nil {
		return err
	}
	for _, program := range []string{"kubectl", "helm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("an existing cluster is used with the %s of the path: %w", program, err)
		}
	}
	fmt.Fprintf(c.Log, "  using the cluster of %s (%s)\n", c.Kubeconfig, ExistingKubeconfig)
	return nil
}

// leaveExisting removes what the harness installed.
func (c *Cluster) leaveExisting(ctx context.Context) error {
	_, uninstalled := c.Admin().Must(ctx, "helm", "uninstall", "portcullis", "--namespace", Namespace, "--ignore-not-found")
	_, deleted := c.Admin().Must(ctx, "kubectl", "delete", "namespaces", "--ignore-not-found", "--selector", workloadLabel)
	return errors.Join(uninstalled, deleted)
}
