package auditsink

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/event"
)

func TestSheds(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"requests": func(o *Options) { o.MaxRequests = 1 },
		"bytes":    func(o *Options) { o.MaxBodyBytes, o.MaxPendingBytes = 4096, 4096 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, change)
			entered, leave := make(chan struct{}), make(chan struct{})
			s.pipeline.ingest = func(context.Context, []*event.Event) error {
				close(entered)
				<-leave
				return nil
			}
			c := s.cp1()
			first := make(chan error)
			go func() {
				got, err := s.do(c, http.MethodPost, "/audit/cp-1", asJSON(), bytes.NewReader(captured(t)["exec-tty"]))
				if err == nil && got.status != http.StatusOK {
					err = fmt.Errorf("%d %s", got.status, got.text)
				}
				first <- err
			}()
			<-entered
			header := s.post(c, captured(t)["exec-tty"], http.StatusTooManyRequests, "too many deliveries at once")
			if header.Get("Retry-After") != "1" || s.refused(reasonBusy) != 1 {
				t.Error("shed without Retry-After, or not counted")
			}
			close(leave)
			if err := <-first; err != nil {
				t.Errorf("the first one: %v", err)
			}
			s.pipeline.ingest = nil
			s.post(c, captured(t)["exec-tty"], http.StatusOK, "")
		})
	}
}

func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	s := newSink(t, nil)
	c := s.cp1()
	for range 50 {
		if _, err := s.do(c, http.MethodGet, "/audit/cp-1", asJSON(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(s.log.String(), "audit delivery refused"); n != 1 {
		t.Errorf("50 refusals made %d log lines", n)
	}
	if got := s.refused(reasonMethod); got != 50 {
		t.Errorf("counted %v", got)
	}
}

func TestSeenForgetsTheOldest(t *testing.T) {
	s := newSeen()
	body := func(i int) []byte { return fmt.Appendf(nil, "%d", i) }
	for i := range remembered + 1 {
		if s.before("cp-1", body(i)) {
			t.Fatalf("body %d is new", i)
		}
	}
	if s.before("cp-2", body(5)) {
		t.Error("another API server's body counts as a redelivery")
	}
	if s.before("cp-1", body(0)) {
		t.Error("the oldest is still remembered")
	}
	if !s.before("cp-1", body(remembered)) {
		t.Error("the newest is forgotten")
	}
	if len(s.hashes) != remembered {
		t.Errorf("remembers %d", len(s.hashes))
	}
}
