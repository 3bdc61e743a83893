package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/component"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// serve runs the control socket of a supervisor with one daemon, which is not running.
func serve(tb testing.TB) *Client {
	tb.Helper()
	d := newDaemon(tb, "exit 0", component.Probe{Socket: "/no/such/socket"})
	s := &supervisor{
		logger: slog.New(slog.DiscardHandler), prober: newProber(),
		daemons: map[string]*daemon{"daemon": d}, order: []string{"daemon"},
	}
	socket := filepath.Join(tb.TempDir(), "s")
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.serveControl(ctx, listener) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			tb.Errorf("control socket: %v", err)
		}
	})
	return NewClient(socket)
}

func TestStatusOverTheSocket(t *testing.T) {
	statuses, err := serve(t).Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(statuses) != 1 || statuses[0].Name != "daemon" || statuses[0].Running || statuses[0].Healthy {
		t.Errorf("statuses %+v", statuses)
	}
}

func TestRestartIsRefusedBeforeAnythingIsStopped(t *testing.T) {
	err := serve(t).RestartAPIServer(within(t), component.Audit{Dir: "/no/such/dir", Mode: "batch", BatchMaxWait: time.Second})
	if err == nil || !strings.Contains(err.Error(), "/no/such/dir/audit-policy.yaml") {
		t.Errorf("error %v", err)
	}
}

func TestClientSaysThatNobodyAnswers(t *testing.T) {
	_, err := NewClient(filepath.Join(t.TempDir(), "s")).Status(within(t))
	if !errors.Is(err, ErrNotRunning) {
		t.Errorf("error %v, want ErrNotRunning", err)
	}
}

func TestReports(t *testing.T) {
	var sent bytes.Buffer
	r := reporter{w: &sent}
	r.milestone("%d of %d", 1, 2)
	r.failed(errors.New("no"))
	r.ready()
	decoder := json.NewDecoder(&sent)
	for _, want := range []Report{{Milestone: "1 of 2"}, {Failure: "no"}, {Ready: true}} {
		var got Report
		if err := decoder.Decode(&got); err != nil || got != want {
			t.Errorf("report %+v (%v), want %+v", got, err, want)
		}
	}
}

// Stopping ends every process of the mount namespace. Started by hand, that
// would be the machine's.
func TestRunRefusesTheMachinesNamespaces(t *testing.T) {
	l, err := layout.New("/tmp/never", "/bin")
	if err != nil {
		t.Fatal(err)
	}
	var reports bytes.Buffer
	err = Run(within(t), Options{
		Layout: l, Cable: strings.NewReader(""), Reports: &reports, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err == nil || !strings.Contains(reports.String(), "nobody else should") {
		t.Fatalf("Run: %v, reports %q", err, reports.String())
	}
}

func TestOptionsAreValidated(t *testing.T) {
	whole := Options{
		Layout: layout.Layout{State: "/x"}, Cable: strings.NewReader(""), Reports: io.Discard, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	if err := whole.validate(); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*Options){
		"Layout":  func(o *Options) { o.Layout = layout.Layout{} },
		"Cable":   func(o *Options) { o.Cable = nil },
		"Reports": func(o *Options) { o.Reports = nil },
		"Logger":  func(o *Options) { o.Logger = nil },
		"Now":     func(o *Options) { o.Now = nil },
	} {
		options := whole
		spoil(&options)
		if err := options.validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("without %s: %v", field, err)
		}
	}
}
