package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// openTimeout bounds everything until the tunnel is there.
	openTimeout = 30 * time.Second
	// answerTimeout is for the beginning of an answer.
	answerTimeout = 30 * time.Second
)

// Options are what a Tunnel needs; all are required.
type Options struct {
	// Config and Client reach the API server.
	Config *rest.Config
	Client client.Client
	// Namespace is where Portcullis is installed.
	Namespace string
}

// Tunnel is a way to the server. Close ends it.
type Tunnel struct {
	// HTTP calls the server, and says who calls.
	HTTP *http.Client
	// URL is where the server is for it.
	URL string

	transport *http.Transport
	cancel    context.CancelFunc
	// done is closed when forwarding has ended, with err.
	done chan struct{}
	err  error
}

// Open finds the server and makes a way to it. The Tunnel lives until Close, or until the connection is lost: then its calls fail.
func Open(ctx context.Context, o Options) (*Tunnel, error) {
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	to, err := find(opening, o)
	if err != nil {
		return nil, err
	}
	t := &Tunnel{done: make(chan struct{}), URL: "https://" + net.JoinHostPort(to.name, strconv.Itoa(int(to.port)))}
	said := &complaints{}
	port, err := t.forward(opening, o, to, said)
	if err != nil {
		return nil, err
	}
	local := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	t.transport = &http.Transport{
		// Never by a proxy: the way is this one.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", local)
		},
		TLSClientConfig:       &tls.Config{RootCAs: to.roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   openTimeout,
		ResponseHeaderTimeout: answerTimeout,
	}
	t.HTTP = &http.Client{
		Transport: &caller{next: t.transport, token: to.token, said: said},
		// The token is for that server alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return t, nil
}

// Close ends the tunnel and what goes through it.
func (t *Tunnel) Close() {
	t.transport.CloseIdleConnections()
	t.cancel()
	<-t.done
}

// forward opens a port of this computer that leads to the server's, and returns it.
func (t *Tunnel) forward(ctx context.Context, o Options, to target, said *complaints) (uint16, error) {
	dialer, err := dial(o.Config, to)
	if err != nil {
		return 0, err
	}
	// It ends with Close, and what it complains about is told with the call that fails of it.
	var life context.Context
	life, t.cancel = context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), said.logger()))
	ready := make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(life, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", to.port)}, ready, nil, nil)
	if err != nil {
		t.cancel()
		return 0, fmt.Errorf("forward a port to pod %s: %w", to.pod, err)
	}
	go func() {
		defer close(t.done)
		t.err = forwarder.ForwardPorts()
	}()
	select {
	case <-ready:
	case <-t.done:
		t.cancel()
		return 0, refused(o.Namespace, to, dialer.explain(t.err))
	case <-ctx.Done():
		t.cancel() // it cannot be waited for: a dial that hangs knows no context
		return 0, fmt.Errorf("forward a port to pod %s: %w", to.pod, ctx.Err())
	}
	ports, err := forwarder.GetPorts()
	if err != nil || len(ports) != 1 {
		t.cancel()
		<-t.done
		return 0, errors.Join(fmt.Errorf("forward a port to pod %s: no port was opened", to.pod), err)
	}
	return ports[0].Local, nil
}

// dialer remembers why it could not dial: the forwarder keeps the text alone.
type dialer struct {
	httpstream.Dialer
	err error
}

func (d *dialer) Dial(protocols ...string) (httpstream.Connection, string, error) {
	var c httpstream.Connection
	var protocol string
	c, protocol, d.err = d.Dialer.Dial(protocols...)
	return c, protocol, d.err
}

// explain is called when forwarding has ended.
func (d *dialer) explain(err error) error {
	if d.err != nil {
		return d.err
	}
	return err
}

// dial is how kubectl does it: by websocket, and by SPDY where the API server or something before it knows no other.
func dial(config *rest.Config, to target) (*dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, fmt.Errorf("forward a port: %w", err)
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, to.url)
	websocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(to.url, config)
	if err != nil {
		return nil, fmt.Errorf("forward a port: %w", err)
	}
	return &dialer{Dialer: portforward.NewFallbackDialerForStreaming(websocket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})}, nil
}
