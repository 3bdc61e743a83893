package event

import (
	"slices"
	"testing"
)

func TestServiceAccountOf(t *testing.T) {
	for user, want := range map[string][2]string{
		"system:serviceaccount:shop:web": {"shop", "web"},
		"system:serviceaccount:shop:":    {}, "system:serviceaccount::web": {}, "system:serviceaccount:shop": {},
		"system:serviceaccount:shop:web:x": {}, "alice": {}, "": {},
	} {
		namespace, name, ok := ServiceAccountOf(user)
		if ok != (want[0] != "") || ok && [2]string{namespace, name} != want {
			t.Errorf("%q is %q, %q, %v", user, namespace, name, ok)
		}
	}
}

func request(groups []string, credentials ...string) *Event {
	e := &Event{Audit: &Audit{User: AuditUser{Groups: groups}}}
	e.Audit.User.Extra = map[string][]string{ExtraCredentialID: credentials}
	// Who is impersonated is the client's choice.
	e.Audit.ImpersonatedUser = &AuditUser{Groups: []string{"claimed"}, Extra: map[string][]string{ExtraCredentialID: {"claimed"}}}
	return e
}

func TestCredentialOfADetection(t *testing.T) {
	for name, tt := range map[string]struct {
		events []*Event
		want   string
	}{
		"one":                           {[]*Event{request(nil, "JTI=1")}, "JTI=1"},
		"one, beside telemetry":         {[]*Event{{}, request(nil, "JTI=1"), request(nil, "JTI=1")}, "JTI=1"},
		"two":                           {[]*Event{request(nil, "JTI=1"), request(nil, "JTI=2")}, ""},
		"one that does not say":         {[]*Event{request(nil, "JTI=1"), request(nil)}, ""},
		"several in one, which is none": {[]*Event{request(nil, "JTI=1", "JTI=2")}, ""},
		"no request":                    {[]*Event{{}}, ""},
	} {
		got, err := (&Detection{Events: tt.events}).Credential()
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.want)
		}
	}
}

func TestGroupsOfADetection(t *testing.T) {
	d := &Detection{Events: []*Event{{}, request([]string{"devs", "all"}), request([]string{"all", "ops"}), {Session: &Session{Groups: []string{"on-call", "ops"}}}}}
	if got := d.Groups(); !slices.Equal(got, []string{"devs", "all", "ops", "on-call"}) {
		t.Errorf("got %v", got)
	}
}
