package auditsink

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/event"
)

// request is one stage of a request of alice's.
func request(id, uri, stage string, change ...func(*event.Event)) *event.Event {
	a := &event.Audit{AuditID: id, Stage: stage, Verb: "get", RequestURI: uri, User: event.AuditUser{Username: "alice"}}
	e := &event.Event{Delivered: id + uri + stage, Source: "audit/cp-1", Audit: a}
	for _, c := range change {
		c(e)
	}
	return e
}

func TestAuditIDReuse(t *testing.T) {
	const received, complete = "RequestReceived", "ResponseComplete"
	twin := func(e *event.Event) { e.Delivered = "another content" }
	later := func(e *event.Event) { e.Time = time.Unix(1, 0) }
	elsewhere := func(e *event.Event) { e.Source, e.Time = "audit/metrics", time.Unix(1, 0) }
	other := func(e *event.Event) { e.Audit.User.Username = "bob" }
	first := request("mine", "/a", received)
	for name, tc := range map[string]struct {
		then *event.Event
		want bool
	}{
		"delivered again":                         {request("mine", "/a", received), false},
		"the next stage":                          {request("mine", "/a", complete), false},
		"another request":                         {request("mine", "/b", complete), true},
		"the same request later":                  {request("mine", "/a", received, later), true},
		"the same moment, another content":        {request("mine", "/a", received, twin), true},
		"passed on to an aggregated API server":   {request("mine", "/a", received, elsewhere), false},
		"another request to another API server":   {request("mine", "/b", received, elsewhere), true},
		"another user's at another API server":    {request("mine", "/a", received, elsewhere, other), true},
		"another ID":                              {request("yours", "/a", received), false},
		"none":                                    {request("", "/b", received), false},
		"another request of which nobody said it": {request("", "/a", received, later), false},
	} {
		ids := newAuditIDs()
		batch := []*event.Event{first, request("", "/a", received), tc.then}
		reused := ids.mark(batch)
		if tc.then.Audit.AuditIDReused != tc.want || (reused == 1) != tc.want || first.Audit.AuditIDReused {
			t.Errorf("%s: reused %v, counted %d, want %v", name, tc.then.Audit.AuditIDReused, reused, tc.want)
		}
		// A batch that is sent again says the same again.
		if again := ids.mark(batch); again != reused {
			t.Errorf("%s: when delivered again %d are reused, at first %d", name, again, reused)
		}
	}
}

func TestAuditIDsAreBounded(t *testing.T) {
	ids := newAuditIDs()
	for i := range rememberedIDs + 10 {
		ids.mark([]*event.Event{request(fmt.Sprint(i), "/a", "ResponseComplete")})
	}
	if len(ids.uses) != rememberedIDs {
		t.Errorf("%d IDs are remembered, want %d", len(ids.uses), rememberedIDs)
	}
	for i, want := range map[int]bool{0: false, 20: true, rememberedIDs: true} {
		if got := ids.mark([]*event.Event{request(fmt.Sprint(i), "/b", "ResponseComplete")}) == 1; got != want {
			t.Errorf("ID %d is remembered: %v, want %v", i, got, want)
		}
	}
}

func TestReusedIDsAreToldAndCounted(t *testing.T) {
	s := newSink(t, nil)
	hidden := `,"auditID":"a","requestURI":"/api/v1/secrets"`
	s.post(s.cp1(), list(item(""), item(hidden)), 200, "")
	s.post(s.cp1(), list(item(hidden)), 200, "")
	if got := s.pipeline.count(); got != 3 {
		t.Errorf("%d events have reached the pipeline", got)
	}
	if got := testutil.ToFloat64(s.handler.metrics.reused.WithLabelValues("cp-1")); got != 2 {
		t.Errorf("%v are counted", got)
	}
}
