package sessions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession"
	serving "github.com/portcullis-dev/portcullis/execsession/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC) //nolint:gochecknoglobals // the time of all tests

// nasty is what somebody writes who wants to steer the reader's terminal.
const nasty = "a\x1b[2Jb\u009bc\u202ed\re\nf"

// server is the server's side: the real feed over sessions that a test makes.
type server struct {
	t       *testing.T
	url     string
	client  *http.Client
	changes chan execsession.Document
	// left tells of each follower who is gone.
	left chan struct{}

	mutex     sync.Mutex
	documents []execsession.Document
	filters   []execsession.Filter
	// homes are the namespaces that were connected to; down, if set, is what connecting fails with.
	homes []string
	down  []error
	// handler, if set, answers instead.
	handler http.Handler
	// cut ends the streams that there are.
	cut func()
}

func serve(t *testing.T, documents ...execsession.Document) *server {
	t.Helper()
	s := &server{t: t, documents: documents, changes: make(chan execsession.Document), left: make(chan struct{}, 100)}
	f, err := serving.New(serving.Options{Sessions: s, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	over := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.handler != nil {
			s.handler.ServeHTTP(w, r)
			return
		}
		f.ServeHTTP(w, r)
	}))
	over.EnableHTTP2 = true
	over.StartTLS()
	t.Cleanup(over.Close)
	s.url, s.client = over.URL, over.Client()
	s.cut = over.CloseClientConnections
	return s
}

func (s *server) List(f execsession.Filter) []execsession.Document {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.filters = append(s.filters, f)
	return s.documents
}

func (s *server) Get(id string) (execsession.Document, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, d := range s.documents {
		if d.ID == id {
			return d, true
		}
	}
	return execsession.Document{}, false
}

func (s *server) Follow(ctx context.Context, f execsession.Filter) <-chan execsession.Document {
	s.mutex.Lock()
	s.filters = append(s.filters, f)
	s.mutex.Unlock()
	out := make(chan execsession.Document)
	go func() {
		defer func() { s.left <- struct{}{} }()
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case d := <-s.changes:
				select {
				case out <- d:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

func (s *server) set(documents ...execsession.Document) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.documents = documents
}

func (s *server) connect(_ context.Context, namespace string) (*Server, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.homes = append(s.homes, namespace)
	if len(s.down) > 0 {
		err := s.down[0]
		s.down = s.down[1:]
		return nil, err
	}
	return &Server{HTTP: s.client, URL: s.url, Close: func() {}}, nil
}

func (s *server) start(ctx context.Context, namespace string, streams genericiooptions.IOStreams, args ...string) error {
	c := New(Options{ //nolint:contextcheck // a stream is ended by its context
		Connect: s.connect, Streams: streams, Now: func() time.Time { return now }, Retry: wait.Backoff{Duration: time.Millisecond, Steps: 1000},
		Namespace: func(fallback string) string {
			if namespace == "" {
				return fallback
			}
			return namespace
		},
	})
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(streams.Out)
	c.SetErr(streams.ErrOut)
	c.SetArgs(args)
	return c.ExecuteContext(ctx)
}

func (s *server) run(args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	err = s.start(s.t.Context(), "", streams, args...)
	checkHarmless(s.t, out.String())
	checkHarmless(s.t, errOut.String())
	return out.String(), errOut.String(), err
}

func (s *server) must(args ...string) string {
	s.t.Helper()
	out, _, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return out
}

func checkHarmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
			t.Errorf("U+%04X reaches the terminal in %q", r, text)
			return
		}
	}
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func code(n int) *int { return &n }

// exact is a session with everything in it.
func exact() execsession.Document {
	zero := now.Add(-time.Hour)
	at := zero.Add
	return execsession.Document{
		ID: "s-1", Aliases: []string{"s-2"}, Door: "exec", State: execsession.StateEnded,
		Attribution: event.AttributionExact, Final: true,
		User:      &execsession.User{Name: "alice", Groups: []string{"devs"}, Impersonator: "root-admin", Extra: map[string][]string{"scope": {"a", "b"}, "example.com/login": {nasty}}},
		Pod:       execsession.Pod{Namespace: "shop", Name: "cart-0", UID: "u-1", Node: "node1"},
		Container: "main", Command: []string{"sh", "-c", "curl " + nasty}, TTY: true, Interactive: true, Stdin: true,
		Request: &execsession.Request{Certain: true, SourceIPs: []string{"192.0.2.7"}, UserAgent: "kubectl/v1.35"},
		Verdict: &execsession.Verdict{Allowed: true}, Root: &execsession.Root{PID: 100},
		Requested: zero, Started: at(123 * time.Millisecond), Ended: at(75*time.Second + 456*time.Millisecond), LastSeen: at(80 * time.Second),
		Exit: &execsession.Exit{Code: 137, Signal: 9, KilledBy: "rule token-access"},
		Processes: []execsession.Process{
			{EntityID: "p1", ParentEntityID: "outside", PID: 100, Name: "sh", Executable: "/bin/busybox", Args: []string{"sh", "-c"}, Start: at(123 * time.Millisecond), End: at(75 * time.Second), ExitCode: code(137)},
			{EntityID: "p2", ParentEntityID: "p1", PID: 101, Executable: "/bin/cat", Args: []string{"cat", nasty}, Start: at(time.Second)},
			{EntityID: "p3", ParentEntityID: "p1", PID: 102, Args: []string{"sleep", "9"}, Start: at(2 * time.Second)},
			{EntityID: "p4", ParentEntityID: "p2", PID: 103, Name: "daemon"},
		}, ProcessesDropped: 3,
		Timeline: []execsession.Entry{
			{Time: zero, Kind: execsession.KindReview, User: "alice", Text: "sh -c " + nasty},
			{Time: at(time.Millisecond), Kind: execsession.KindVerdict, Text: "allowed"},
			{Time: at(123 * time.Millisecond), Kind: execsession.KindStart, PID: 100, Text: "sh -c"},
			{Time: at(2 * time.Second), Kind: execsession.KindOpen, PID: 101, Text: "/var/run/secrets/token"},
			{Time: at(3 * time.Second), Kind: execsession.KindAPICall, Scope: execsession.ScopeOfPod, Verb: "list", URI: "/api/v1/secrets?x=" + nasty, Code: 403, User: "system:serviceaccount:shop:cart"},
			{Time: at(4 * time.Second), Kind: execsession.KindDetection, Rule: "token-access", Text: "Token read, then used", ID: "d-1"},
			{Time: at(75 * time.Second), Kind: execsession.KindKill, Text: "ended by rule token-access"},
			{Time: at(75*time.Second + 456*time.Millisecond), Kind: execsession.KindEnd, PID: 100, Text: "signal 9"},
		}, TimelineDropped: 2,
		Detections: []execsession.Detection{{ID: "d-1", Rule: "token-access", Time: at(4 * time.Second)}, {ID: "d-2", Rule: "other", Time: at(5 * time.Second)}},
	}
}

func unsure() execsession.Document {
	return execsession.Document{
		ID: "r-3", Door: "exec", State: execsession.StateOpen, Attribution: event.AttributionCandidates,
		Candidates: []string{"alice", "bob" + nasty, "carol", "probe", "unaudited"}, Why: "two requests have the same command",
		Pod: execsession.Pod{Namespace: "shop", Name: "web-0"}, Container: "main", Command: []string{"ls"}, Started: now.Add(-2 * time.Minute),
	}
}

func nobody() execsession.Document {
	return execsession.Document{
		ID: "r-4", State: execsession.StateOpen, Attribution: event.AttributionNone, Unaudited: true, Final: true, CoverageHole: true,
		Pod: execsession.Pod{UID: "u-9"}, Command: []string{strings.Repeat("x", 100)}, Started: now.Add(-time.Minute),
	}
}

func TestListIsATable(t *testing.T) {
	s := serve(t, exact(), unsure(), nobody())
	out := s.must("list")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "ID ") {
		t.Fatalf("got\n%s", out)
	}
	at := strings.Index(lines[0], "USER")
	for _, line := range lines[1:] {
		if line[at-1] != ' ' || line[at] == ' ' {
			t.Errorf("columns do not align:\n%s", out)
		}
	}
	contains(t, lines[1], "s-1", "60m", "alice (by root-admin)", "exact", "exec", "shop/cart-0", "main", "sh -c 'curl a", "ended", "token-access +1")
	contains(t, lines[2], "2m", "alice? bob", `\u{1b}[2Jb`, "carol? +2", "candidates", "open")
	contains(t, lines[3], "none", strings.Repeat("x", 39)+"…")
	if strings.Contains(out, "192.0.2.7") || strings.Contains(out, "NODE") {
		t.Errorf("what belongs to -o wide:\n%s", out)
	}
	contains(t, s.must("list", "-o", "wide"), "NODE", "node1", "192.0.2.7", "1m15.333s", "signal 9 (killed)", "2026-01-31 14:04:05.000 UTC", strings.Repeat("x", 100))
	if out := s.must("list", "--no-headers"); strings.Count(out, "\n") != 3 || strings.Contains(out, "USER") {
		t.Errorf("without headers:\n%s", out)
	}
	if s.homes[0] != "portcullis" {
		t.Errorf("asked the Portcullis in %q", s.homes[0])
	}
}

func TestListForPrograms(t *testing.T) {
	want := []execsession.Document{exact(), unsure()}
	s := serve(t, want...)
	var all struct{ Items []execsession.Document }
	if err := json.Unmarshal([]byte(s.must("list", "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, all.Items); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	contains(t, s.must("list", "-o", "yaml"), "items:", "name: cart-0")
	out := s.must("list", "-o", "ndjson", "--details")
	var lines []execsession.Document
	for line := range strings.Lines(out) {
		var d execsession.Document
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		lines = append(lines, d)
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("NDJSON (-want +got):\n%s", diff)
	}
	if out := serve(t).must("list", "-o", "json"); !strings.Contains(out, `"items": []`) {
		t.Errorf("nothing as JSON: %s", out)
	}
}

// TestFieldsOfALaterServerAreKept: programs get what the server said, and not what this version knows of it.
func TestFieldsOfALaterServerAreKept(t *testing.T) {
	s := serve(t)
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"id":"s-1","mood":"sad","state":"bored","attribution":"vague"}`)
	})
	for _, args := range [][]string{{"list", "-o", "ndjson"}, {"list", "-o", "yaml"}, {"show", "s-1", "-o", "json"}} {
		contains(t, s.must(args...), "sad")
	}
	contains(t, s.must("list"), "bored", "vague")
}

func TestFiltersGoToTheServer(t *testing.T) {
	s := serve(t)
	streams, _, _, errOut := genericiooptions.NewTestIOStreams()
	err := s.start(t.Context(), "shop", streams, "list", "--user", "alice", "--pod", "pod/cart-0", "--since", "2d", "--until", "2026-01-31T15:00:00+01:00",
		"--attribution", "none", "--limit", "5", "--portcullis-namespace", "security")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, errOut.String(), "no such session")
	want := execsession.Filter{
		User: "alice", Namespace: "shop", Pod: "cart-0", Attribution: event.AttributionNone, Limit: 5,
		Since: now.Add(-48 * time.Hour), Until: time.Date(2026, 1, 31, 14, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff([]execsession.Filter{want}, s.filters); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.homes[0] != "security" {
		t.Errorf("asked the Portcullis in %q", s.homes[0])
	}
	for _, args := range [][]string{
		{"list", "--since", "yesterday"}, {"list", "--since", "-1h"}, {"list", "--until", "1x"}, {"list", "--since", "9999999999d"}, {"list", "--limit", "-1"},
		{"list", "--attribution", "sure"}, {"list", "--details"}, {"list", "-o", "name"}, {"list", "x"}, {"show"}, {"show", "a", "b"}, {"follow", "--since", "1h"},
	} {
		if _, _, err := s.run(args...); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	if len(s.homes) != 1 {
		t.Errorf("a mistake in the flags was found after connecting")
	}
}

func TestShowIsATimeline(t *testing.T) {
	got := serve(t, exact()).must("show", "s-1")
	want := `Session:      s-1 (also s-2)
State:        ended
Asked by:     alice (by root-admin)
Groups:       devs
Extra:        example.com/login=a\u{1b}[2Jb\u{9b}c\u{202e}d\u{d}e\u{a}f scope=a,b
Attribution:  exact
Door:         exec, with a terminal, with input
Pod:          shop/cart-0, container main, on node node1
Command:      sh -c 'curl a\u{1b}[2Jb\u{9b}c\u{202e}d\u{d}e\u{a}f'
From:         192.0.2.7 with kubectl/v1.35
Verdict:      allowed
Began:        2026-01-31 14:04:05.000 UTC
Started:      +0.123s
Ended:        +1m15.456s
Exit:         by signal 9, ended by Portcullis: rule token-access
Detections:   token-access at +4.000s (d-1)
              other at +5.000s (d-2)

Processes:
  PID  STARTED  ENDED       EXIT  COMMAND
  100  +0.123s  +1m15.000s  137   sh -c  [/bin/busybox]
  101  +1.000s  -           -     ├─ cat 'a\u{1b}[2Jb\u{9b}c\u{202e}d\u{d}e\u{a}f'
  103  -        -           -     │  └─ daemon
  102  +2.000s  -           -     └─ sleep 9
  3 more were not kept

Timeline, from 2026-01-31 14:04:05.000 UTC:
  +0.000s     review               alice asks for: sh -c a\u{1b}[2Jb\u{9b}c\u{202e}d\u{d}e\u{a}f
  +0.001s     verdict              allowed
  +0.123s     start                [100] runs sh -c
  +2.000s     open                 [101] opens /var/run/secrets/token
  +3.000s     API call of the pod  list /api/v1/secrets?x=a\u{1b}[2Jb\u{9b}c\u{202e}d\u{d}e\u{a}f (403) as system:serviceaccount:shop:cart
  +4.000s     DETECTION            token-access: Token read, then used (d-1)
  +1m15.000s  KILL                 ended by rule token-access
  +1m15.456s  end                  [100] signal 9
  2 more entries were not kept

API calls of the pod were made with its identity while the session ran: by the session, or by
anything else in the pod.
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShowSaysHowSureItIs(t *testing.T) {
	s := serve(t, unsure(), nobody())
	contains(t, s.must("show", "r-3"), "Asked by:     one of: alice, bob", "the kubelet (a probe", "nobody (it may have come past",
		"candidates, for now: what arrives later can change it: two requests have the same command")
	contains(t, s.must("show", "r-4"), "nobody is known to have asked", "Detected as:  unaudited", "the audit stream was not heard", "Door:         unknown")
	contains(t, s.must("show", "r-3", "-o", "yaml"), "id: r-3")
	if _, _, err := s.run("show", "s-9"); err == nil || !strings.Contains(err.Error(), `no session "s-9"`) || !strings.Contains(err.Error(), "sessions list") {
		t.Errorf("a missing one: %v", err)
	}
}

// TestTreeHasEachOnce: whatever processes say about their parents.
func TestTreeHasEachOnce(t *testing.T) {
	hostile := make([]execsession.Process, 0, 6000)
	hostile = append(hostile, []execsession.Process{
		{EntityID: "self", ParentEntityID: "self"}, {EntityID: "a", ParentEntityID: "b"}, {EntityID: "b", ParentEntityID: "a"},
		{EntityID: "same"}, {EntityID: "same", ParentEntityID: "same"}, {EntityID: "child", ParentEntityID: "same"}, {},
	}...)
	for i := range 5000 { // as deep as there are
		hostile = append(hostile, execsession.Process{EntityID: fmt.Sprint(i), ParentEntityID: fmt.Sprint(i - 1)})
	}
	got := tree(hostile)
	seen := map[*execsession.Process]bool{}
	for _, b := range got {
		if seen[b.Process] {
			t.Fatalf("%q is there twice", b.EntityID)
		}
		seen[b.Process] = true
		if len(b.before) > 6*(deepest+2) {
			t.Fatalf("indented by %d", len(b.before))
		}
	}
	if len(got) != len(hostile) {
		t.Errorf("%d of %d processes", len(got), len(hostile))
	}
}

func TestRelativeTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "+0.000s", 123 * time.Millisecond: "+0.123s", 59999 * time.Millisecond: "+59.999s", 59999500 * time.Microsecond: "+1m00.000s",
		time.Hour + 2*time.Minute + 3*time.Second: "+1h02m03.000s", -50 * time.Millisecond: "-0.050s",
	} {
		if got := relative(now.Add(d), now); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}

func TestComplaintsOfTheServer(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusUnauthorized: "does not accept the token", http.StatusForbidden: "portcullis-sessions-reader", http.StatusBadRequest: "does not understand",
		http.StatusServiceUnavailable: "503", http.StatusFound: "302",
	} {
		s := serve(t)
		s.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "because", status) })
		for _, args := range [][]string{{"list"}, {"show", "x"}, {"follow"}} {
			if _, _, err := s.run(args...); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%d, %v: %v, want %q", status, args, err, want)
			}
		}
	}
	s := serve(t)
	s.handler = http.NotFoundHandler()
	if _, _, err := s.run("list"); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("a server without sessions: %v", err)
	}
	s.down = []error{errors.New("no way"), errors.New("no way")}
	for _, args := range [][]string{{"list"}, {"follow"}} {
		if _, _, err := s.run(args...); err == nil || !strings.Contains(err.Error(), "no way") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestAListThatBreaksOffIsAnError: nobody takes a part for the whole.
func TestAListThatBreaksOffIsAnError(t *testing.T) {
	s := serve(t)
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"id":"s-1"}`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	if out, _, err := s.run("list", "-o", "ndjson"); err == nil {
		t.Errorf("no error, and %q", out)
	}
}

func TestCompletion(t *testing.T) {
	s := serve(t, exact(), nobody())
	contains(t, s.must("__complete", "show", ""), "s-1\talice (by root-admin) exec shop/cart-0 sh", "r-4\t- - u-9")
	if out := s.must("__complete", "show", "s-1", ""); strings.Contains(out, "r-4") {
		t.Errorf("a second ID: %q", out)
	}
	contains(t, s.must("__complete", "list", "--attribution", ""), "exact", "candidates", "none")
	contains(t, s.must("__complete", "list", "-o", ""), "ndjson", "wide")
	if s.filters[0].Limit == 0 {
		t.Error("completion asks for everything")
	}
}

// lines hands over what is written, line by line.
type lines struct {
	t    *testing.T
	text chan string
	rest bytes.Buffer
}

func newLines(t *testing.T) *lines { return &lines{t: t, text: make(chan string, 10_000)} }

func (l *lines) Write(p []byte) (int, error) {
	l.rest.Write(p)
	for {
		line, rest, whole := bytes.Cut(l.rest.Bytes(), []byte{'\n'})
		if !whole {
			return len(p), nil
		}
		l.text <- string(line)
		l.rest.Next(l.rest.Len() - len(rest))
	}
}

func (l *lines) next(wants ...string) {
	l.t.Helper()
	select {
	case line := <-l.text:
		checkHarmless(l.t, line)
		contains(l.t, line, wants...)
	case <-time.After(time.Minute):
		l.t.Fatalf("no line with %q", wants)
	}
}

// following runs the command until stop, which returns how it ended.
func (s *server) following(args ...string) (out, errOut *lines, stop func() error) {
	ctx, cancel := context.WithCancel(s.t.Context())
	out, errOut = newLines(s.t), newLines(s.t)
	done := make(chan error, 1)
	go func() {
		done <- s.start(ctx, "", genericiooptions.IOStreams{Out: out, ErrOut: errOut}, append([]string{"follow"}, args...)...)
	}()
	return out, errOut, func() error {
		cancel()
		return <-done
	}
}

func TestFollow(t *testing.T) {
	s := serve(t, unsure(), exact()) // exact has ended: it is none of what is told
	out, errOut, stop := s.following()
	out.next("SEEN", "USER")
	out.next("r-3", "alice? bob", "open")
	changed := unsure()
	s.changes <- changed // nothing that can be seen
	changed.User, changed.Attribution = &execsession.User{Name: "alice"}, event.AttributionExact
	changed.LastSeen = now
	s.changes <- changed
	out.next("15:04:05.000", "r-3", "alice ", "exact")

	missed := nobody()
	s.set(missed, changed)
	s.mutex.Lock()
	s.down = []error{errors.New("it starts\x1b again")}
	s.mutex.Unlock()
	s.cut()
	<-s.left
	errOut.next("The connection was lost")
	errOut.next(`it starts\u{1b} again`)
	out.next("r-4", "none")
	last := exact()
	s.changes <- last
	out.next("s-1", "ended", "token-access +1")
	if err := stop(); err != nil {
		t.Errorf("an interrupt is an error: %v", err)
	}
	if f := s.filters[len(s.filters)-1]; !f.Since.Equal(now.Add(-overlap)) {
		t.Errorf("what was missed is looked for since %s", f.Since)
	}
}

func TestFollowForPrograms(t *testing.T) {
	s := serve(t)
	out, _, stop := s.following("-o", "ndjson", "--user", "alice")
	s.changes <- exact()
	out.next(`{"id":"s-1"`)
	if err := stop(); err != nil {
		t.Error(err)
	}
	<-s.left // Else it may be the first one that takes the next change.
	if s.filters[0].User != "alice" {
		t.Errorf("filter %+v", s.filters[0])
	}
	out, _, stop = s.following("-o", "yaml")
	s.changes <- exact()
	out.next("---")
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestFollowGivesUpWhereItCannotHelp: a right that was taken away comes not back by asking again.
func TestFollowGivesUpWhereItCannotHelp(t *testing.T) {
	f := &follower{run: &run{Options: Options{Connect: func(context.Context, string) (*Server, error) {
		return nil, &refusal{status: http.StatusForbidden, text: "no"}
	}, Now: time.Now, Retry: wait.Backoff{Duration: time.Millisecond, Steps: 1000}}}, lost: now}
	var refused *refusal
	if err := f.follow(t.Context()); !errors.As(err, &refused) {
		t.Errorf("error %v", err)
	}
}
