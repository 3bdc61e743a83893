package webhook

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portcullis-dev/portcullis/event"
)

// What a review says can be read from the audit event that the request becomes, but for what that does not have.
func TestARequestIsReadFromItsEvent(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d reviews, error %v", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := decode(body)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := OfEvent(want.Event(time.Now()))
		if !ok {
			t.Errorf("%s: is no door", file)
			continue
		}
		ignored := []string{"ID", "Session", "PodUID", "NewContainers", "Ports"}
		if want.Door == DoorEphemeralContainers { // They are in the body, which is not read again.
			ignored = append(ignored, "Container", "Command", "Stdin", "TTY")
		}
		if diff := cmp.Diff(*want, got, cmpopts.IgnoreFields(Request{}, ignored...), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-review +event):\n%s", file, diff)
		}
	}
}

// Admission sees whom somebody acts as.
func TestOfAnImpersonationTheOtherUserIsRead(t *testing.T) {
	e := &event.Event{Audit: &event.Audit{
		Verb: "get", RequestURI: "/api/v1/namespaces/shop/pods/web-0/exec?command=id",
		ObjectRef: event.ObjectRef{Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "web-0"},
		User:      event.AuditUser{Username: "alice"}, ImpersonatedUser: &event.AuditUser{Username: "bob", Groups: []string{"ops"}},
	}}
	if r, ok := OfEvent(e); !ok || r.User != "bob" || len(r.Groups) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestOtherEventsAreNoRequests(t *testing.T) {
	for name, ref := range map[string]event.ObjectRef{
		"no door":       {Resource: "pods", Subresource: "log", Name: "web-0"},
		"another group": {APIGroup: "example.org", Resource: "pods", Subresource: "exec", Name: "web-0"},
		"no name":       {Resource: "pods", Subresource: "exec"},
		"only read":     {Resource: "pods", Subresource: "ephemeralcontainers", Name: "web-0"},
	} {
		if _, ok := OfEvent(&event.Event{Audit: &event.Audit{Verb: "get", ObjectRef: ref}}); ok {
			t.Errorf("%s: is read as a request", name)
		}
	}
	if _, ok := OfEvent(&event.Event{}); ok {
		t.Error("telemetry is read as a request")
	}
}
