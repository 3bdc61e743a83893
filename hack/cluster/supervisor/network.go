package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// prepareNetwork gives the node its address at the inner end of the cable.
func prepareNetwork(ctx context.Context) error {
	commands := []string{
		"link set lo up",
		"addr add " + layout.NodeIP + "/24 dev " + layout.NodeLink,
		"link set " + layout.NodeLink + " up",
		"route add default via " + layout.HostIP,
	}
	for _, command := range commands {
		if err := ip(ctx, command); err != nil {
			return err
		}
	}
	// Of this network namespace only.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("forward packets: %w", err)
	}
	return nil
}

func ip(ctx context.Context, command string) error {
	output, err := exec.CommandContext(ctx, "ip", strings.Fields(command)...).CombinedOutput() //nolint:gosec // the words are ours
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(output)))
	}
	if err != nil {
		return fmt.Errorf("ip %s: %w", command, err)
	}
	return nil
}
