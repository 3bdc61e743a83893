package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/portcullis-dev/portcullis/agent/collectortest"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// TestMain makes the test's binary the agent itself, for containers.
func TestMain(m *testing.M) {
	if os.Getenv("PORTCULLIS_TEST_TOOL") == "agent" {
		main()
	}
	kerneltest.Main(m)
}

// lines is what a command wrote, for others to wait on.
type lines struct {
	mu      sync.Mutex
	changed chan struct{}
	text    bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if l.changed != nil {
		close(l.changed)
	}
	l.changed = make(chan struct{})
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait waits until the output matches, and returns the submatches.
func (l *lines) wait(t testing.TB, pattern string) []string {
	t.Helper()
	re, timeout := regexp.MustCompile(pattern), time.After(kerneltest.Patience())
	for {
		l.mu.Lock()
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		found, changed := re.FindStringSubmatch(l.text.String()), l.changed
		l.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("nothing that matches %s in:\n%s", pattern, l)
		}
	}
}

// command is a command that runs.
type command struct {
	stdout, stderr lines
	stop           context.CancelFunc
	code           chan int
}

func start(t testing.TB, args ...string) *command {
	t.Helper()
	kerneltest.RequireRoot(t)
	ctx, cancel := context.WithCancel(context.Background())
	c := &command{stop: cancel, code: make(chan int, 1)}
	go func() { c.code <- realMain(ctx, args, &c.stdout, &c.stderr) }()
	t.Cleanup(func() {
		cancel()
		c.code <- <-c.code
	})
	return c
}

// end stops the command and expects it to end well.
func (c *command) end(t testing.TB) {
	t.Helper()
	c.stop()
	code := <-c.code
	c.code <- code
	if code != exitOK {
		t.Errorf("the command ended with %d:\n%s", code, &c.stderr)
	}
}

const coverageLogged = `"msg":"coverage","name":"token-open"`

func TestOutputJSON(t *testing.T) {
	agent := start(t, "--output=json", "--health-addr=")
	agent.stderr.wait(t, coverageLogged)
	c := kerneltest.Start(t, kerneltest.Options{})
	c.ExecTTY("/bb/sh", "-c", "cat /var/run/secrets/kubernetes.io/serviceaccount/token \x1b[31m\u202e 2>/dev/null; :")
	agent.stdout.wait(t, `serviceaccount/token"`)
	agent.end(t)

	var execs, opens []*telemetryv1.Event
	for line := range strings.Lines(agent.stdout.String()) {
		e := &telemetryv1.Event{}
		if err := protojson.Unmarshal([]byte(line), e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if e.GetContainer().GetPodUid() != c.UID || e.GetContainer().GetId() != c.ID {
			continue // of others on this machine
		}
		switch {
		case e.GetOpen() != nil:
			opens = append(opens, e)
		case e.GetExec() != nil:
			execs = append(execs, e)
		}
	}
	names := make([]string, 0, len(execs))
	for _, e := range execs {
		names = append(names, e.GetProcess().GetName())
	}
	if !slices.Equal(names, []string{"sleep", "sh", "cat"}) {
		t.Errorf("executed were %q, want sleep, sh and cat", names)
	}
	if len(opens) != 1 {
		t.Fatalf("%d opens, want 1", len(opens))
	}
	p := opens[0].GetProcess()
	if opens[0].GetOpen().GetPath() != "/var/run/secrets/kubernetes.io/serviceaccount/token" || p.GetName() != "cat" {
		t.Errorf("the open is %v", opens[0])
	}
	if p.GetInteractive() || !p.GetParent().GetInteractive() || !p.GetEntryLeader().GetInteractive() || p.GetParent().GetName() != "sh" {
		t.Errorf("the process is %v", p)
	}
	if bytes.ContainsAny([]byte(agent.stdout.String()), "\x1b") || strings.Contains(agent.stdout.String(), "\u202e") {
		t.Error("what a terminal acts upon was not escaped")
	}
}

// serve runs a collector, and returns the flags of an agent that sends to it.
func serve(t testing.TB) (server *collectortest.Collector, flags []string) {
	t.Helper()
	ca := collectortest.NewAuthority(t)
	server = &collectortest.Collector{Token: "secret"}
	addr, _ := server.Serve(t, ca.Certificate(t, "portcullis.test"), "127.0.0.1:0")
	dir := t.TempDir()
	for name, content := range map[string]string{"ca.crt": string(ca.PEM), "token": "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return server, []string{
		"--server=" + addr, "--server-name=portcullis.test", "--ca-file=" + dir + "/ca.crt", "--token-file=" + dir + "/token",
		"--health-addr=127.0.0.1:0", "--node-name=node-1",
	}
}

func TestEndingASessionOnCommand(t *testing.T) {
	server, flags := serve(t)
	agent := start(t, flags...)
	agent.stderr.wait(t, `"msg":"telemetry stream opened"`)
	c := kerneltest.Start(t, kerneltest.Options{})
	session := c.Command("/bin/sh", "-c", "sleep 1000; :", c.ID)
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	var leader *telemetryv1.EntryLeader
	server.Wait(t, "the session", func() bool {
		for _, e := range server.Events {
			if slices.Contains(e.GetProcess().GetArgs(), c.ID) {
				leader = e.GetProcess().GetEntryLeader()
			}
		}
		return leader != nil
	})
	end := &telemetryv1.EndSession{EntityId: leader.GetEntityId(), Container: &telemetryv1.Container{Id: c.ID, PodUid: c.UID}}
	result := server.Ask(t, &telemetryv1.Command{Id: "1", What: &telemetryv1.Command_EndSession{EndSession: end}})
	if result.GetOutcome() != telemetryv1.Outcome_OUTCOME_DONE || result.GetEnded() == 0 {
		t.Errorf("the answer is %v", result)
	}
	if err := session.Wait(); err == nil {
		t.Error("the session ended well")
	}
	result = server.Ask(t, &telemetryv1.Command{Id: "2"})
	if result.GetOutcome() != telemetryv1.Outcome_OUTCOME_UNSUPPORTED {
		t.Errorf("a command of a newer server was answered with %v", result)
	}
	agent.end(t)
}

func TestSendingToTheServer(t *testing.T) {
	kerneltest.RequireRoot(t)
	server, flags := serve(t)
	agent := start(t, flags...)
	address := agent.stderr.wait(t, `"msg":"serving health","node":"node-1","address":"([^"]+)"`)
	agent.stderr.wait(t, `"msg":"telemetry stream opened"`)

	base := "http://" + address[1]
	for path, want := range map[string]string{"/healthz": "coverage: ", "/readyz": "ok", "/metrics": "portcullis_agent_lost_total"} {
		if got := get(t, base+path); !strings.Contains(got, want) {
			t.Errorf("GET %s = %s, want %s in it", path, got, want)
		}
	}
	c := kerneltest.Start(t, kerneltest.Options{})
	c.Exec("/usr/bin/cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
	agent.end(t)

	if len(server.Hellos) != 1 {
		t.Fatalf("%d greetings", len(server.Hellos))
	}
	hello := server.Hellos[0]
	if hello.GetAgentVersion() != version || len(hello.GetBootId()) != 36 || hello.GetKernelRelease() == "" || hello.GetSessionId() == "" {
		t.Errorf("the greeting is %v", hello)
	}
	if len(hello.GetCoverage()) != 4 || !hello.GetCoverage()[0].GetComplete() {
		t.Errorf("the coverage is %v", hello.GetCoverage())
	}
	var kinds []string
	for _, e := range server.Events {
		if e.GetContainer().GetId() == c.ID && e.GetExit() == nil {
			kinds = append(kinds, e.GetProcess().GetName()+" "+e.GetOpen().GetPath())
		}
	}
	want := []string{"sleep ", "cat ", "cat /var/run/secrets/kubernetes.io/serviceaccount/token"}
	if !slices.Equal(kinds, want) {
		t.Errorf("arrived: %q, want %q", kinds, want)
	}
}

func get(t testing.TB, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCheck(t *testing.T) {
	c := start(t, "--check")
	code := <-c.code
	c.code <- code
	if code != exitOK {
		t.Errorf("the check ended with %d:\n%s", code, &c.stderr)
	}
	for _, pattern := range []string{`(?m)^exec +yes +`, `(?m)^token-open +(yes|partial) +`, `(?m)^kernel +\S+`, `(?m)^running-processes +yes `, `(?m)^end-session +yes `, `(?m)^coverage +(complete|partial)`} {
		c.stdout.wait(t, pattern)
	}
}

func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"nothing":         {nil, exitUsage, []string{"--server is required", "--ca-file is required", "--token-file is required"}},
		"an argument":     {[]string{"--output=json", "extra"}, exitUsage, []string{`unexpected argument "extra"`}},
		"an unknown flag": {[]string{"--no-such-flag"}, exitUsage, []string{"no-such-flag"}},
		"bad values": {
			[]string{"--output=xml", "--ring-bytes=100000", "--spool-bytes=1", "--container-rate=1", "--log-level=loud", "--drain-timeout=-1s"},
			exitUsage, []string{"--output", "--ring-bytes", "--spool-bytes", "--container-rate", "--log-level", "--drain-timeout"},
		},
		"help":    {[]string{"--help"}, exitOK, []string{"--server string"}},
		"version": {[]string{"--version"}, exitOK, []string{"portcullis-agent " + version}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			code := realMain(context.Background(), test.args, &out, &out)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, &out)
				}
			}
		})
	}
}

func TestHealthAddressThatIsTaken(t *testing.T) {
	first := start(t, "--output=json", "--health-addr=127.0.0.1:0")
	address := first.stderr.wait(t, `"msg":"serving health","address":"([^"]+)"`)[1]
	second := start(t, "--output=json", "--health-addr="+address)
	code := <-second.code
	second.code <- code
	if code != exitFailure || !strings.Contains(second.stderr.String(), "--health-addr") {
		t.Errorf("ended with %d:\n%s", code, &second.stderr)
	}
	first.end(t)
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":"plain äß€ 字"}`:  `{"a":"plain äß€ 字"}`,
		"\u009b31m":            `\u009b31m`,
		"\u202edrow":           `\u202edrow`,
		"\x7f":                 `\u007f`,
		"\U000e0041\U0001f600": `\udb40\udc41` + "\U0001f600",
		"line\n":               "line\n",
	} {
		if got := string(escape([]byte(in))); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPrinterDropsRatherThanWait(t *testing.T) {
	p := newPrinter(io.Discard, nil)
	for range printerQueue + 5 {
		p.Push(&telemetryv1.Event{})
	}
	if n := p.dropped.Load(); n != 5 {
		t.Errorf("%d events were dropped, want 5", n)
	}
}
