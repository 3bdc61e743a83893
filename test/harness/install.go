package harness

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// APIServer is the name under which the harness' API server delivers its audit events.
const APIServer = "test"

// Images builds the images and hands them to the cluster's container runtime.
func (c *Cluster) Images(ctx context.Context) error {
	return c.step("build the images and load them", func() error {
		if err := c.Make(ctx, "images"); err != nil {
			return err
		}
		if err := c.Make(ctx, "build"); err != nil {
			return err
		}
		if c.existing {
			return nil // its nodes have them, or it can pull them
		}
		_, err := c.Tool(ctx, "image", "load",
			filepath.Join(c.Root, "dist", "portcullis.tar"), filepath.Join(c.Root, "dist", "portcullis-agent.tar"))
		return err
	})
}

// helm runs helm with the chart and values.
func (c *Cluster) helm(ctx context.Context, verb string, flags, values []string) error {
	args := append([]string{verb, "portcullis", filepath.Join(c.Root, "charts", "portcullis"),
		"--namespace", Namespace, "--wait", "--timeout", "3m"}, flags...)
	for _, v := range values {
		args = append(args, "--set", v)
	}
	_, err := c.Admin().Must(ctx, "helm", args...)
	return err
}

// treeImages are the images of this tree, which the nodes have.
func treeImages() []string {
	return []string{
		"image.repository=localhost/portcullis", "image.tag=dev", "image.pullPolicy=IfNotPresent",
		"agent.image.repository=localhost/portcullis-agent", "agent.image.tag=dev", "agent.image.pullPolicy=IfNotPresent",
	}
}

// Install does what the README tells users to do: install the chart, make the
// API server's files with portcullisctl, set its flags, restart it, and wait
// until its audit events arrive.
func (c *Cluster) Install(ctx context.Context, values ...string) error {
	if err := c.step("helm install", func() error {
		return c.helm(ctx, "install", []string{"--create-namespace"}, append(treeImages(), values...))
	}); err != nil {
		return err
	}
	return c.ConnectAudit(ctx)
}

// ConnectAudit wires the API server's audit stream to the sink.
func (c *Cluster) ConnectAudit(ctx context.Context, flags ...string) error {
	dir := c.auditDir()
	if err := c.step("portcullisctl audit config", func() error {
		_, err := c.Admin().Must(ctx, "portcullisctl", "audit", "config", "--api-server", APIServer,
			"--namespace", Namespace, "--output-dir", dir, "--force")
		return err
	}); err != nil {
		return err
	}
	if c.existing {
		fmt.Fprintf(c.Log, existingAudit, dir, Namespace, APIServer)
	} else if err := c.step("set the API server's audit flags and restart it", func() error {
		_, err := c.Tool(ctx, append([]string{"apiserver", "restart", "--audit-dir", dir}, flags...)...)
		return err
	}); err != nil {
		return err
	}
	wait := 2 * time.Minute
	if c.existing {
		wait = 15 * time.Minute // somebody has to copy files and edit a manifest
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return c.step("wait for the audit stream", func() error {
		return c.Admin().AwaitLog(ctx, Namespace, "statefulset/portcullis", "audit events of an API server are seen")
	})
}

// auditDir is where the API server's files are.
func (c *Cluster) auditDir() string { return filepath.Join(c.Work, "audit") }

// Upgrade upgrades the release with changed values.
func (c *Cluster) Upgrade(ctx context.Context, values ...string) error {
	return c.step("helm upgrade", func() error { return c.helm(ctx, "upgrade", []string{"--reuse-values"}, values) })
}

// Uninstall removes the release.
func (c *Cluster) Uninstall(ctx context.Context) error {
	return c.step("helm uninstall", func() error {
		_, err := c.Admin().Must(ctx, "helm", "uninstall", "portcullis", "--namespace", Namespace, "--wait", "--timeout", "2m")
		return err
	})
}

// Diagnose prints what a person would look at when a step failed.
func (c *Cluster) Diagnose(ctx context.Context) {
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"describe", "pods", "-n", Namespace},
		{"logs", "-n", Namespace, "statefulset/portcullis", "--tail=60"},
		{"logs", "-n", Namespace, "daemonset/portcullis-agent", "--tail=40"},
		{"get", "quarantines", "-o", "yaml"},
	} {
		r, err := c.Admin().Run(ctx, "kubectl", args...)
		if err != nil {
			fmt.Fprintf(c.Log, "%v\n", err)
			continue
		}
		fmt.Fprintf(c.Log, "--- %s\n%s%s\n", r.Command, r.Stdout, r.Stderr)
	}
}
