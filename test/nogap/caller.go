package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/test/standalone"
)

// caller asks the API server.
type caller struct {
	http *http.Client
	host string
}

// newCaller speaks HTTP/1.1 if it is to upgrade connections, as an exec does, else HTTP/2.
func newCaller(t standalone.TB, config *rest.Config, upgrades bool) *caller {
	t.Helper()
	security, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: security, ForceAttemptHTTP2: !upgrades, DisableCompression: true, MaxIdleConnsPerHost: 1}
	if upgrades {
		security.NextProtos = []string{"http/1.1"}
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{http: &http.Client{Transport: transport, Timeout: patience}, host: config.Host}
}

// get returns the status and the body, when the API server has ended it. The token is empty for whoever has a certificate.
func (c *caller) get(ctx context.Context, path, token string, header http.Header) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.host+path, nil) //nolint:gosec // the API server that was started for it
	if err != nil {
		return 0, "", err
	}
	if header != nil {
		req.Header = header
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req) //nolint:gosec // the same
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// warm has the connection be there.
func (c *caller) warm(ctx context.Context) error {
	code, body, err := c.get(ctx, "/version", "", nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("/version: %d %.300s", code, body)
	}
	return err
}

// exec asks for an exec into a pod, over a websocket. Who is admitted is told that the node cannot be reached.
func (c *caller) exec(ctx context.Context, pod, token, mark string) (admitted bool, message string, err error) {
	query := url.Values{"command": {mark}, "container": {"main"}, "stdout": {"true"}}
	code, body, err := c.get(ctx, "/api/v1/namespaces/"+inside+"/pods/"+pod+"/exec?"+query.Encode(), token, http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
		"Sec-Websocket-Protocol": {"v5.channel.k8s.io"},
	})
	switch {
	case err != nil:
		return false, "", err
	case code == http.StatusForbidden && strings.Contains(body, "ortcullis"):
		return false, body, nil
	case code == http.StatusSwitchingProtocols && strings.Contains(body, "dial tcp"):
		return true, body, nil
	default:
		return false, body, fmt.Errorf("an exec into %s: %d %.300s", pod, code, body)
	}
}
