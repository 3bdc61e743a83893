package canary

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// The Service that every cluster has in front of its API servers. Each of their certificates is
// valid for its DNS name, or pods could not use it.
const (
	serviceNamespace = "default"
	serviceName      = "kubernetes"
	serviceDNSName   = "kubernetes.default.svc"
)

const (
	// getTimeout bounds one request, with its connection.
	getTimeout = 10 * time.Second
	// maxAnswer bounds how much of an answer is read.
	maxAnswer = 64 << 10
)

// ServiceOptions are a Service's dependencies.
type ServiceOptions struct {
	// REST is how the server speaks to the API server, CA and credential included. Required.
	REST *rest.Config
	// Client reads the Service's EndpointSlices. Required.
	Client kubernetes.Interface
	// Path is what is got, such as /api/v1/namespaces/portcullis/configmaps/canary. Required.
	Path string
	// Clock is the one that the API servers' are measured against, the Canary's; time.Now if nil.
	Clock func() time.Time
	// Dial connects to an address; a plain net.Dialer if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Service reaches each API server behind the Service "kubernetes" for itself. It implements APIServers.
type Service struct {
	opts ServiceOptions
	tls  *tls.Config
	// host is where the REST configuration points, as host:port.
	host string

	mu   sync.Mutex
	last []string
}

var _ APIServers = (*Service)(nil)

// NewService returns the API servers of a cluster.
func NewService(opts ServiceOptions) (*Service, error) {
	switch {
	case opts.REST == nil:
		return nil, errors.New("canary: ServiceOptions.REST is nil")
	case opts.Client == nil:
		return nil, errors.New("canary: ServiceOptions.Client is nil")
	case opts.Path == "":
		return nil, errors.New("canary: ServiceOptions.Path is empty")
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{}).DialContext
	}
	config := rest.CopyConfig(opts.REST)
	if config.ServerName == "" && !config.Insecure {
		config.ServerName = serviceDNSName
	}
	secured, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("canary: TLS to the API servers: %w", err)
	}
	host, err := hostOf(config.Host)
	if err != nil {
		return nil, fmt.Errorf("canary: %w", err)
	}
	return &Service{opts: opts, tls: secured, host: host}, nil
}

func hostOf(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%q is no URL of an API server", server)
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "443"), nil
	}
	return u.Host, nil
}

// Addresses implements APIServers. With an error it returns what it returned last, or the one
// address that everybody uses.
func (s *Service) Addresses(ctx context.Context) ([]string, error) {
	slices, err := s.opts.Client.DiscoveryV1().EndpointSlices(serviceNamespace).List(ctx, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=" + serviceName,
		// Whatever the API server has in memory is new enough: it is asked again soon.
		ResourceVersion: "0",
	})
	var found []string
	if err != nil {
		err = fmt.Errorf("list the EndpointSlices of %s/%s: %w", serviceNamespace, serviceName, err)
	} else if found = addressesOf(slices.Items); len(found) == 0 {
		err = fmt.Errorf("the EndpointSlices of %s/%s name no address", serviceNamespace, serviceName)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.last = found
	case s.last == nil:
		s.last = []string{s.host}
	}
	return append([]string(nil), s.last...), err
}

func addressesOf(slices []discoveryv1.EndpointSlice) []string {
	var out []string
	for i := range slices {
		for _, port := range slices[i].Ports {
			if port.Port == nil || port.Name != nil && *port.Name != "" && *port.Name != "https" {
				continue
			}
			for _, endpoint := range slices[i].Endpoints {
				if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
					continue
				}
				for _, ip := range endpoint.Addresses {
					out = append(out, net.JoinHostPort(ip, fmt.Sprint(*port.Port)))
				}
			}
		}
	}
	return out
}

// Get implements APIServers. Every request has a connection of its own: where a load balancer stands in
// between, each of the API servers behind it gets its canaries.
func (s *Service) Get(ctx context.Context, address, userAgent string) (Trip, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	var trip Trip
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { trip.Sent = s.opts.Clock() },
		GotFirstResponseByte: func() { trip.Answered = s.opts.Clock() },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+s.opts.Path, nil)
	if err != nil {
		return Trip{}, fmt.Errorf("canary request: %w", err)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "application/json")
	plain := &http.Transport{DialContext: s.opts.Dial, TLSClientConfig: s.tls.Clone(), DisableKeepAlives: true}
	defer plain.CloseIdleConnections()
	// The wrappers add the credential; a token's file is read anew with each.
	transport, err := rest.HTTPWrappersForConfig(s.opts.REST, plain)
	if err != nil {
		return Trip{}, fmt.Errorf("canary request: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Trip{}, fmt.Errorf("canary request: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode != http.StatusOK {
		return trip, fmt.Errorf("canary request for %s was answered %s", s.opts.Path, resp.Status)
	}
	return trip, nil
}
