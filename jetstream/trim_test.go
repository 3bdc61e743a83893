package jetstream

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

func TestWhatIsTooLargeIsTrimmedAndWhoDidItIsNot(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", maxText) // twice as many bytes
	cut := strings.Repeat("é", maxText/2)
	object := []byte(strings.Repeat("x", maxObject+1))
	small := func() *event.Audit {
		return &event.Audit{
			Verb: "create", RequestURI: "/api", User: event.AuditUser{Username: "alice", Groups: []string{"dev"}},
			RequestObject: object[:maxObject], ResponseObject: []byte("{}"), Annotations: map[string]string{"a": "b"},
		}
	}
	many := make([]string, 10*maxTexts)
	for name, test := range map[string]struct {
		large, want func(*event.Audit)
		left        int
	}{
		"nothing is":          {func(*event.Audit) {}, func(*event.Audit) {}, 0},
		"the request object":  {func(a *event.Audit) { a.RequestObject = object }, func(a *event.Audit) { a.RequestObject = nil }, len(object)},
		"the response object": {func(a *event.Audit) { a.ResponseObject = object }, func(a *event.Audit) { a.ResponseObject = nil }, len(object)},
		"the URI":             {func(a *event.Audit) { a.RequestURI = "x" + long }, func(a *event.Audit) { a.RequestURI = "x" + cut[:maxText-2] }, maxText + 2},
		"the user agent":      {func(a *event.Audit) { a.UserAgent = long }, func(a *event.Audit) { a.UserAgent = cut }, maxText},
		"addresses":           {func(a *event.Audit) { a.SourceIPs = many }, func(a *event.Audit) { a.SourceIPs = many[:maxTexts/8] }, 8*len(many) - maxTexts},
		"annotations": {
			func(a *event.Audit) {
				a.Annotations = map[string]string{"a": "b", "b": strings.Repeat("x", maxTexts), "c": "d"}
			},
			func(a *event.Audit) { a.Annotations = map[string]string{"a": "b", "c": "d"} }, maxTexts + 17,
		},
		"the impersonated user's groups": {
			func(a *event.Audit) {
				a.ImpersonatedUser = &event.AuditUser{Username: long, Groups: []string{"g", string(object)}}
			},
			func(a *event.Audit) { a.ImpersonatedUser = &event.AuditUser{Username: long, Groups: []string{"g"}} }, len(object) + 8,
		},
		"a user's extra": {
			func(a *event.Audit) { a.User.Extra = map[string][]string{"k": {string(object)}, "l": {"m"}} },
			func(a *event.Audit) { a.User.Extra = map[string][]string{"l": {"m"}} }, len(object) + 17,
		},
	} {
		before, want := small(), small()
		test.large(before)
		test.want(want)
		e := &event.Event{ID: "e", Audit: before}
		got := trimmed(e)
		if diff := cmp.Diff(want, got.Audit); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got.Trimmed != test.left || (got == e) != (test.left == 0) {
			t.Errorf("%s: %d bytes are left out, want %d", name, got.Trimmed, test.left)
		}
		again := small()
		test.large(again)
		if diff := cmp.Diff(again, e.Audit); diff != "" || e.Trimmed != 0 {
			t.Errorf("%s: the publisher's event was changed: %s", name, diff)
		}
	}
}

func TestTrimmedEventsAreStoredOnceAndCounted(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b := openBus(t, s)
	large := &event.Event{ID: "large", Audit: &event.Audit{Verb: "create", RequestObject: noise(t, maxMessage)}}
	publish(t, b, bus.Candidate{Key: "k", Event: large}, bus.Candidate{Key: "k", Stage: 1, Event: large}, candidate("k", 2))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []bus.Candidate
	err := b.Consume(ctx, func(_ context.Context, c bus.Candidate) error {
		if got = append(got, c); len(got) == 3 {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if e := got[0].Event; e.Audit.RequestObject != nil || e.Audit.Verb != "create" || e.Trimmed != maxMessage || got[1].Event != e {
		t.Errorf("events are %s and %s", fmt.Sprint(e.Audit), fmt.Sprint(got[1].Event.Audit))
	}
	if len(large.Audit.RequestObject) != maxMessage {
		t.Error("the publisher's event was changed")
	}
	counted(t, "trimmed events", s.metrics.trimmed, 1)
}
