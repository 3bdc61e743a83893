package event

import (
	"strings"
	"testing"
)

func TestOwnerIsWhoMadeItHappenAndNobodyElse(t *testing.T) {
	t.Parallel()
	alice := AuditUser{Username: "alice"}
	for name, test := range map[string]struct {
		event       *Event
		owner, name string
	}{
		"telemetry":                  {&Event{Pod: Pod{UID: "u", Name: "p"}}, "pod/uid:u", "uid:u"},
		"an unknown pod's telemetry": {&Event{Pod: Pod{UID: "u"}, Source: "agent/n"}, "source/agent/n", "agent/n"},
		"telemetry without a UID":    {&Event{Pod: Pod{Namespace: "n", Name: "p"}}, "pod/name:n/p", "name:n/p"},
		"a pod's token":              {&Event{Audit: &Audit{User: alice, Caller: Pod{UID: "u", Confidence: Exact}}}, "caller/uid:u", "uid:u"},
		"a token that may be many":   {&Event{Audit: &Audit{User: alice, Caller: Pod{UID: "u", Confidence: Ambiguous}}}, "user/alice", "alice"},
		"a token that names a pod":   {&Event{Audit: &Audit{User: alice, Caller: Pod{Name: "p", Confidence: ByName}}}, "user/alice", "alice"},
		"a user":                     {&Event{Audit: &Audit{User: alice, Target: Pod{UID: "u"}, ImpersonatedUser: &AuditUser{Username: "bob"}}}, "user/alice", "alice"},
		"a user named like a pod":    {&Event{Audit: &Audit{User: AuditUser{Username: "pod/uid:u"}}}, "user/pod/uid:u", "pod/uid:u"},
		"nobody":                     {&Event{Source: "agent/n"}, "source/agent/n", "agent/n"},
		"a long name":                {&Event{Source: strings.Repeat("x", 1000)}, "source/" + strings.Repeat("x", 249), strings.Repeat("x", 249)},
	} {
		got := string(test.event.AppendOwner([]byte("before,")))
		if got != "before,"+test.owner {
			t.Errorf("%s: owner is %q, want %q", name, got, test.owner)
		}
		if whose := OwnerName(test.owner); whose != test.name {
			t.Errorf("%s: it is %q's, want %q", name, whose, test.name)
		}
	}
}
