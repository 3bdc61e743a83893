package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/portcullis-dev/portcullis/test/child"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// readyPatience is how long a server may take to get ready on a machine that is busy.
const readyPatience = 2 * time.Minute

// errEnded says that the server's process has ended although nobody had it end.
var errEnded = errors.New("the server has ended by itself")

// server is the server's process, one after the other.
type server struct {
	site     *serverprocess.Site
	tb       standalone.TB
	receiver *receiver
	health   *http.Client

	life    int
	process *child.Process
	// graceful are the lives that ended in good order.
	graceful map[int]bool
	// took are how long it was until the server was ready again, stopping how long it took to drain.
	took, stopping []time.Duration
}

func newServer(t standalone.TB, site *serverprocess.Site, r *receiver) *server {
	return &server{
		site: site, tb: t, receiver: r, graceful: map[int]bool{},
		health: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// start starts it and does not wait.
func (s *server) start() {
	if s.process != nil {
		s.process.Kill() // It has ended, most likely by other means; how is known.
	}
	s.life = s.receiver.begin()
	s.site.StartOnly(s.tb)
	s.process = s.site.Process()
}

// restart starts it, waits until it is ready, and notes how long that took.
func (s *server) restart(ctx context.Context) error {
	began := time.Now()
	s.start() //nolint:contextcheck // the process ends with the suite, not with a context
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	s.took = append(s.took, time.Since(began))
	return nil
}

// awaitReady waits until the server says that it can judge.
func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.process.Exited():
			return fmt.Errorf("%w: %s", errEnded, s.process.Tail())
		case <-ctx.Done():
			return fmt.Errorf("the server does not get ready: %w: %s", err, s.process.Tail())
		}
	}
}

func (s *server) ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.site.Config.Health.Listen+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := s.health.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// kill ends it as kill -9 does.
func (s *server) kill() { s.process.Kill() }

// stop ends it as Kubernetes does.
func (s *server) stop() error {
	began := time.Now()
	err := s.process.Stop()
	s.stopping = append(s.stopping, time.Since(began))
	if err != nil {
		return fmt.Errorf("the server does not stop in good order: %w: %s", err, s.process.Tail())
	}
	s.graceful[s.life] = true
	return nil
}

// ended reports whether its process has.
func (s *server) ended() bool {
	select {
	case <-s.process.Exited():
		return true
	default:
		return false
	}
}

// awaitEnd waits for the process' end for so long, and reports whether it came.
func (s *server) awaitEnd(ctx context.Context, long time.Duration) bool {
	select {
	case <-s.process.Exited():
		return true
	case <-time.After(long):
	case <-ctx.Done():
	}
	return false
}
