package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

// Exec is an exec without kubectl, by the same protocols: hundreds at once would be too many processes.
type Exec struct {
	Namespace, Pod, Container string
	Command                   []string
	// SPDY takes the older of the two protocols.
	SPDY   bool
	Stdin  io.Reader
	Stdout io.Writer
}

// Stream runs it to its end.
func (e Exec) Stream(ctx context.Context, config *rest.Config) error {
	query := url.Values{"command": e.Command, "container": {e.Container}, "stdout": {"true"}}
	if e.Stdin != nil {
		query.Set("stdin", "true")
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		return err
	}
	to = to.JoinPath("api/v1/namespaces", e.Namespace, "pods", e.Pod, "exec")
	to.RawQuery = query.Encode()
	return stream(ctx, config, to, e)
}

// StreamPast runs it through the kubelet's own port.
func (e Exec) StreamPast(ctx context.Context, kubelet *rest.Config) error {
	query := url.Values{"command": e.Command, "output": {"1"}}
	to, err := url.Parse(kubelet.Host)
	if err != nil {
		return err
	}
	to = to.JoinPath("exec", e.Namespace, e.Pod, e.Container)
	to.RawQuery = query.Encode()
	e.SPDY = true
	return stream(ctx, kubelet, to, e)
}

func stream(ctx context.Context, config *rest.Config, to *url.URL, e Exec) error {
	var run remotecommand.Executor
	var err error
	if e.SPDY {
		run, err = remotecommand.NewSPDYExecutor(config, http.MethodPost, to)
	} else {
		run, err = remotecommand.NewWebSocketExecutor(config, http.MethodGet, to.String())
	}
	if err != nil {
		return fmt.Errorf("exec into %s/%s: %w", e.Namespace, e.Pod, err)
	}
	if err := run.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: e.Stdin, Stdout: e.Stdout}); err != nil {
		return fmt.Errorf("exec into %s/%s: %w", e.Namespace, e.Pod, err)
	}
	return nil
}
