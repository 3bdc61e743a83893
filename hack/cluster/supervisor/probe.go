package supervisor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/component"
)

const (
	// pollInterval is how often something is asked whether it is ready.
	pollInterval = 100 * time.Millisecond
	// probeTimeout bounds one question.
	probeTimeout = 5 * time.Second
)

// A prober asks daemons whether they work.
type prober struct {
	client *http.Client
}

func newProber() *prober {
	return &prober{client: &http.Client{
		Timeout: probeTimeout,
		Transport: &http.Transport{
			// Loopback of our own network namespace; several daemons make up a
			// certificate at start that nothing could verify.
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
			DisableKeepAlives: true,
		},
	}}
}

// ask returns nil when the probe's daemon works.
func (p *prober) ask(ctx context.Context, probe component.Probe) error {
	if probe.Socket != "" {
		dialer := net.Dialer{Timeout: probeTimeout}
		connection, err := dialer.DialContext(ctx, "unix", probe.Socket)
		if err != nil {
			return err
		}
		return connection.Close()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, probe.URL, http.NoBody)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // nothing more is read
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", probe.URL, response.Status)
	}
	return nil
}
