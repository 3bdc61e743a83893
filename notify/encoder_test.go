package notify

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files; commit the difference only if you understand it")

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// stolenToken is a sequence: a shell in a pod reads the token, and the token is used.
func stolenToken() *event.Detection {
	no := false
	pod := event.Pod{UID: "3f9c", Namespace: "shop", Name: "web-0", Node: "node-1", Confidence: event.Exact}
	read := &event.Event{
		ID: "e1", Kind: event.KindFile, Source: "agent/node-1", Time: noon, Received: noon.Add(20 * time.Millisecond),
		Category: []string{"file"}, Type: []string{"access"}, Action: []string{"open"}, Pod: pod,
		Container: &event.Container{ID: "c1", Name: "main", Image: "busybox:1", Privileged: &no},
		Process: &event.Process{
			PID: 42, PPID: 41, EntityID: "boot-42-1", Name: "curl", Executable: "/usr/bin/curl",
			Args:             []string{"curl", "-H", "Authorization: Bearer " + jwt, "https://kubernetes.default.svc/api/v1/secrets"},
			WorkingDirectory: "/", Start: noon.Add(-time.Second), Interactive: true,
			Parent:      &event.ProcessRef{PID: 41, Name: "sh", Args: []string{"sh", "-c", "PASSWORD=" + hunter2 + " ./go"}},
			EntryLeader: &event.EntryLeader{PID: 40, MetaType: "container", Start: noon.Add(-time.Hour)},
		},
		File: &event.File{Path: "/var/run/secrets/kubernetes.io/serviceaccount/token", ResolvedPath: "/run/secrets/..data/token"},
	}
	used := &event.Event{
		ID: "e2", Kind: event.KindAudit, Source: "audit/cp-1", Time: noon.Add(2 * time.Second), Received: noon.Add(3 * time.Second),
		Category: []string{"authentication"}, Type: []string{"allowed"}, Action: []string{"list"},
		Audit: &event.Audit{
			AuditID: "a-1", Stage: "ResponseComplete", Verb: "list", RequestURI: "/api/v1/secrets?token=" + hunter2,
			UserAgent: "curl/8", SourceIPs: []string{"10.0.0.7"},
			User:      event.AuditUser{Username: "system:serviceaccount:shop:web", Groups: []string{"system:serviceaccounts"}},
			ObjectRef: event.ObjectRef{Resource: "secrets", APIVersion: "v1"}, Code: 403, Reason: "Forbidden",
			Annotations:   map[string]string{"authorization.k8s.io/decision": "forbid"},
			RequestObject: json.RawMessage(`{"secret":"never shown"}`), Caller: pod,
		},
	}
	read.Session = &event.Session{
		ID: "s-1", User: "alice", Groups: []string{"devs"}, Impersonator: "root-admin", Attribution: event.AttributionExact,
		Door: "exec", Interactive: true, Command: []string{"sh", "-c", "PASSWORD=" + hunter2 + " ./go"},
	}
	other := &event.Session{ID: "r-2", Attribution: event.AttributionCandidates, Candidates: []string{"bob", "unaudited"}}
	return &event.Detection{
		ID: "9f3c1a", Sessions: []*event.Session{read.Session, other}, Time: used.Time, At: noon.Add(3*time.Second + 1500*time.Microsecond),
		Rule: event.DetectionRule{
			Name: "token-theft", Title: "Token read, then used", Description: "A shell read the token.",
			Severity: "high", RiskScore: 73, Tags: []string{"Kubernetes"},
			Threats: []event.Threat{
				{TacticID: "TA0006", TacticName: "Credential Access", TechniqueID: "T1552", TechniqueName: "Unsecured Credentials"},
				{TacticID: "TA0006", TacticName: "Credential Access", TechniqueID: "T1552.007", TechniqueName: "Container API"},
			},
		},
		Events: []*event.Event{read, used}, Pod: pod, User: used.Audit.User.Username, Action: event.ActionQuarantine,
	}
}

func TestDocument(t *testing.T) {
	for name, d := range map[string]*event.Detection{
		"stolen-token": stolenToken(),
		"user-only": {
			ID: "1", Rule: event.DetectionRule{Name: "anonymous-access", Severity: "medium"}, Time: noon, At: noon,
			User: "system:anonymous", Action: event.ActionNone, Why: "the rule asks for no response",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := NewEncoder("prod-1").Encode(d)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{jwt, hunter2, "never shown"} {
				if bytes.Contains(got, []byte(secret)) {
					t.Errorf("the document shows %q", secret)
				}
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, got, "", "  "); err != nil {
				t.Fatal(err)
			}
			pretty.WriteByte('\n')
			golden(t, filepath.Join("testdata", name+".json"), pretty.Bytes())
		})
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestDocumentIsOneSafeLine(t *testing.T) {
	evil := "\x1b[2J\u009b31m\u202eadmin\u2028\x7f\n\xff\U000e0001" + strings.Repeat("x", 100_000)
	d := stolenToken()
	d.Events[0].Process.Args = []string{evil, evil}
	d.Events[0].Process.Name, d.Events[0].File.Path, d.User = evil, evil, evil
	d.Events[1].Audit.RequestURI, d.Events[1].Audit.UserAgent, d.Events[1].Audit.Annotations = evil, evil, map[string]string{evil: evil}
	for range 1000 {
		d.Events = append(d.Events, d.Events[0], d.Events[1])
		d.Sessions = append(d.Sessions, &event.Session{ID: "s-1", User: evil, Candidates: []string{evil}, Command: []string{evil}})
		d.Events[0].Process.Args = append(d.Events[0].Process.Args, "x")
		d.Events[1].Audit.User.Groups = append(d.Events[1].Audit.User.Groups, "g")
	}
	got, err := NewEncoder("").Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) > 128<<10 {
		t.Errorf("the document has %d bytes", len(got))
	}
	for _, r := range string(got) {
		if !unicode.IsPrint(r) {
			t.Errorf("the document has %U", r)
		}
	}
	var back struct {
		User       struct{ Name string }
		Portcullis struct {
			Detection struct {
				Events        []any
				EventsOmitted int `json:"events_omitted"`
			}
		}
	}
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(evil[:100], "\xff", "\ufffd"); !strings.HasPrefix(back.User.Name, want[:40]) {
		t.Errorf("escaping changed the text: %q", back.User.Name[:40])
	}
	if n := len(back.Portcullis.Detection.Events); n != maxEvents || back.Portcullis.Detection.EventsOmitted != 2002-maxEvents {
		t.Errorf("%d events, %d omitted", n, back.Portcullis.Detection.EventsOmitted)
	}
}

func TestEscapeUnprintable(t *testing.T) {
	for in, want := range map[string]string{
		`"plain ä 漢"`:      `"plain ä 漢"`,
		"\"\u009b\u202e\"": `"\u009b\u202e"`,
		"\"\x7f\"":         `"\u007f"`,
		"\"\U000e0001\"":   `"\udb40\udc01"`,
	} {
		if got := string(escapeUnprintable([]byte(in))); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	enc, d := NewEncoder("prod-1"), stolenToken()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := enc.Encode(d); err != nil {
			b.Fatal(err)
		}
	}
}
