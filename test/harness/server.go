package harness

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
)

// metricsPort is the server's.
const metricsPort = "8080"

// Server is a way to the server's own HTTP endpoint, with a service account's rights: /metrics, /sessions. The machine
// reaches the pod by itself, so that it works when nothing else of the cluster does.
func (c *Cluster) Server(ctx context.Context, serviceAccount string) (*HTTP, error) {
	pod, err := c.Admin().Pod(ctx, Namespace, "portcullis-0")
	if err != nil {
		return nil, err
	}
	token, err := c.Admin().Must(ctx, "kubectl", "create", "token", serviceAccount, "-n", Namespace)
	if err != nil {
		return nil, err
	}
	roots, err := c.Admin().Must(ctx, "kubectl", "get", "configmap", "portcullis-trust", "-n", Namespace, "-o", `jsonpath={.data.ca\.crt}`)
	if err != nil {
		return nil, err
	}
	return newHTTP(&rest.Config{
		Host: "https://" + net.JoinHostPort(pod.IP, metricsPort), BearerToken: token.Stdout,
		TLSClientConfig: rest.TLSClientConfig{ServerName: "portcullis." + Namespace + ".svc", CAData: []byte(roots.Stdout)},
	})
}

// Metric reads a series of the server, written as it is exposed: name{label="value"}.
func (h *HTTP) Metric(ctx context.Context, series string) (float64, error) {
	answer, err := h.Do(ctx, "GET", "/metrics", "", nil)
	if err != nil {
		return 0, err
	}
	if answer.Code != 200 {
		return 0, fmt.Errorf("metrics: %d: %s", answer.Code, answer.Body)
	}
	for line := range strings.Lines(answer.Body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("there is no series %s", series)
}
