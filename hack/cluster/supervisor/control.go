package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/component"
)

const (
	maxOrder      = 64 << 10
	headerTimeout = 5 * time.Second
)

// ErrNotRunning says that no supervisor answers at the control socket.
var ErrNotRunning = errors.New("the cluster's supervisor does not answer")

// serveControl takes orders at the listener until ctx ends. Only root reaches
// it: the state directory is closed to others.
func (s *supervisor) serveControl(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(s.status(r.Context())) // the client is gone, or reads it
	})
	mux.HandleFunc("POST /apiserver", s.handleRestart)

	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("control socket: %w", err)
	case <-ctx.Done():
	}
	err := server.Close()
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func (s *supervisor) handleRestart(w http.ResponseWriter, r *http.Request) {
	var audit component.Audit
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder)).Decode(&audit); err != nil {
		http.Error(w, "read order: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err := s.restartAPIServer(r.Context(), audit); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// A Client gives orders to a running supervisor.
type Client struct {
	http *http.Client
}

// NewClient returns a client of the supervisor at this control socket.
func NewClient(socket string) *Client {
	dialer := &net.Dialer{}
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			connection, err := dialer.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
			}
			return connection, nil
		},
		DisableKeepAlives: true,
	}}}
}

// Status returns what each daemon is doing, in the order in which they start.
func (c *Client) Status(ctx context.Context) ([]Status, error) {
	answer, err := c.send(ctx, http.MethodGet, "/status", nil)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: it ended while it was asked: %w", ErrNotRunning, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	var statuses []Status
	if err := json.Unmarshal(answer, &statuses); err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	return statuses, nil
}

// RestartAPIServer restarts the API server with these audit settings and
// returns when it is ready again.
func (c *Client) RestartAPIServer(ctx context.Context, audit component.Audit) error {
	order, err := json.Marshal(audit)
	if err != nil {
		return fmt.Errorf("restart API server: %w", err)
	}
	if _, err := c.send(ctx, http.MethodPost, "/apiserver", order); err != nil {
		return fmt.Errorf("restart API server: %w", err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // read to its end below
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(string(bytes.TrimSpace(answer)))
	}
	return answer, nil
}
