package event_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

func lent() *event.Event {
	return &event.Event{
		Kind: event.KindAudit, Source: "audit/cp-1", Time: time.Unix(10, 0), Delivered: `{"auditID":"a"}`, Action: []string{"get"},
		Audit: &event.Audit{AuditID: "a", Verb: "get", SourceIPs: []string{"10.0.0.1"}, RequestObject: []byte("{}"), ImpersonatedUser: &event.AuditUser{Username: "x"}},
	}
}

func TestOwnIsTheSameEventWithItsID(t *testing.T) {
	e := lent()
	own := e.Own()
	if own == e || own.Audit == e.Audit || own.ID == "" || own.Delivered != "" {
		t.Errorf("%+v", own)
	}
	if want := event.RequestOf(e.Source, e.Time, e.Audit); own.Request != want {
		t.Errorf("request %s, want %s", own.Request, want)
	}
	want := lent()
	want.ID, want.Request, want.Delivered = own.ID, own.Request, ""
	if diff := cmp.Diff(want, own); diff != "" {
		t.Errorf("-lent +own:\n%s", diff)
	}
	if again := own.Own(); again != own {
		t.Error("an event that is its own was copied")
	}
}

// TestIDsAreWhatTheyWere: what is stored goes by them.
func TestIDsAreWhatTheyWere(t *testing.T) {
	for _, length := range []int{0, 17, 5000} { // the last has no room on the stack
		e := lent()
		e.Delivered += strings.Repeat(" ", length)
		e.Audit.User = event.AuditUser{Username: "alice", UID: "u", Groups: []string{"a", "b"}, Extra: map[string][]string{"y": {"1"}, "x": {"2", "3"}}}
		e.Audit.RequestURI = strings.Repeat("/", length)
		var id, request event.Digest
		id.Text(e.Source)
		id.Rest([]byte(e.Delivered))
		for _, text := range []string{e.Source, "a", "get", e.Audit.RequestURI, ""} {
			request.Text(text)
		}
		request.Number(e.Time.UnixNano())
		request.List(e.Audit.SourceIPs)
		request.Text("alice")
		request.Text("u")
		request.List([]string{"a", "b"})
		request.Text("x")
		request.List([]string{"2", "3"})
		request.Text("y")
		request.List([]string{"1"})
		if e.Identify(); e.ID != id.ID() || e.Request != request.ID() {
			t.Errorf("%d bytes: %s, %s; want %s, %s", length, e.ID, e.Request, id.ID(), request.ID())
		}
	}
	if id := (&event.Digest{1, 2}).ID(); id != "a12871fee210fb8619291eaea194581c" {
		t.Errorf("the digest of two bytes is %s", id)
	}
}

func TestIdentifyLeavesIDsThatAreThere(t *testing.T) {
	e := lent()
	e.ID, e.Request = "id", "request"
	if e.Identify(); e.ID != "id" || e.Request != "request" {
		t.Errorf("%s, %s", e.ID, e.Request)
	}
	process := &event.Event{Source: "agent/n1", Delivered: "x"}
	if process.Identify(); process.ID == "" || process.Request != process.ID {
		t.Errorf("%s, %s", process.ID, process.Request)
	}
	if nothing := (&event.Event{}); nothing.Own() != nothing || nothing.ID != "" {
		t.Error("an event of which nothing was delivered has an ID")
	}
}
