package tunnel

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
)

// caller says who calls, and with a call that failed why the tunnel did.
type caller struct {
	next  http.RoundTripper
	token string
	said  *complaints
}

func (c *caller) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		if why := c.said.last(); why != nil {
			err = fmt.Errorf("%w (the port-forward says: %w)", err, why)
		}
	}
	return resp, err
}

// complaints keep the last error that the forwarder logged: that is how it tells what becomes of single connections.
type complaints struct {
	mutex sync.Mutex
	err   error
}

func (c *complaints) logger() logr.Logger { return logr.New(sink{c}) }

func (c *complaints) last() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.err
}

// sink takes errors out of a log.
type sink struct{ into *complaints }

func (sink) Init(logr.RuntimeInfo)            {}
func (sink) Enabled(int) bool                 { return false }
func (sink) Info(int, string, ...any)         {}
func (s sink) WithValues(...any) logr.LogSink { return s }
func (s sink) WithName(string) logr.LogSink   { return s }

func (s sink) Error(err error, _ string, _ ...any) {
	s.into.mutex.Lock()
	defer s.into.mutex.Unlock()
	s.into.err = err
}
