package containers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// namespace is where the kubelet's containers and images are.
const namespace = "k8s.io"

// A Client speaks to the containerd at one socket.
type Client struct {
	socket string
}

// NewClient returns a client of the containerd that listens at socket.
func NewClient(socket string) Client { return Client{socket: socket} }

// Import loads a docker or OCI archive and returns the names of its images.
func (c Client) Import(ctx context.Context, archive string) ([]string, error) {
	// Debian's ctr prints one line "unpacking <name> (<digest>)...done" per image.
	output, err := c.run(ctx, "images", "import", archive)
	if err != nil {
		return nil, fmt.Errorf("import image %s: %w", archive, err)
	}
	var names []string
	for line := range strings.Lines(output) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "unpacking" {
			names = append(names, fields[1])
		}
	}
	return names, nil
}

// Images returns the names of all images.
func (c Client) Images(ctx context.Context) ([]string, error) {
	output, err := c.run(ctx, "images", "list", "--quiet")
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	names := slices.DeleteFunc(strings.Fields(output), func(name string) bool {
		return strings.HasPrefix(name, "sha256:") // the same images once more, by their digest
	})
	return names, nil
}

func (c Client) run(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--address", c.socket, "--namespace", namespace}, args...)
	output, err := exec.CommandContext(ctx, "ctr", args...).Output() //nolint:gosec // no shell sees them
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("ctr: %w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("ctr: %w", err)
	}
	return string(output), nil
}
