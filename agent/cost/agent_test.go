package cost

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/portcullis-dev/portcullis/agent/collectortest"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// patience is how long something may take that must come.
const patience = time.Minute

// counts of what arrived, of one container.
type counts struct{ execs, exits, limits int }

// server acknowledges everything, and keeps numbers only.
type server struct {
	telemetryv1.UnimplementedCollectorServer
	welcomed chan struct{} // one for each stream

	mu     sync.Mutex
	counts map[string]counts // by container
	lost   *telemetryv1.Lost // as last said
	args   map[string]bool   // first arguments that were seen
}

// Stream implements the protocol.
func (s *server) Stream(st grpc.BidiStreamingServer[telemetryv1.AgentMessage, telemetryv1.ServerMessage]) error {
	if _, err := st.Recv(); err != nil {
		return err
	}
	err := st.Send(&telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Welcome{Welcome: &telemetryv1.Welcome{}}})
	if err != nil {
		return err
	}
	s.welcomed <- struct{}{}
	for {
		m, err := st.Recv()
		if err != nil {
			return err
		}
		if m.GetBatch() == nil {
			continue
		}
		s.note(m.GetBatch())
		err = st.Send(&telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Ack{
			Ack: &telemetryv1.Ack{Sequence: m.GetBatch().GetSequence()},
		}})
		if err != nil {
			return err
		}
	}
}

func (s *server) note(b *telemetryv1.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = b.GetLost()
	for _, e := range b.GetEvents() {
		c := s.counts[e.GetContainer().GetId()]
		switch e.GetWhat().(type) {
		case *telemetryv1.Event_Exec:
			c.execs++
			if args := e.GetProcess().GetArgs(); len(args) > 1 {
				s.args[args[1]] = true
			}
		case *telemetryv1.Event_Exit:
			c.exits++
		case *telemetryv1.Event_Limit:
			c.limits++
		}
		s.counts[e.GetContainer().GetId()] = c
	}
}

func (s *server) of(container string) (counts, *telemetryv1.Lost) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[container], s.lost
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts, s.args, s.lost = map[string]counts{}, map[string]bool{}, nil
}

// lab is the agent's binary with a server to send to.
type lab struct {
	tb     testing.TB
	server *server
	codec  *codec
	binary string
	flags  []string
}

const serverName = "portcullis.test"

func newLab(tb testing.TB) *lab {
	tb.Helper()
	dir := tb.TempDir()
	l := &lab{tb: tb, binary: filepath.Join(dir, "portcullis-agent"), server: &server{welcomed: make(chan struct{}, 16)}, codec: newCodec()}
	l.server.forget()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", l.binary, "../../cmd/portcullis-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build the agent: %v\n%s", err, out)
	}
	ca := collectortest.NewAuthority(tb)
	cert := ca.Certificate(tb, serverName)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&cert)), grpc.ForceServerCodecV2(l.codec))
	telemetryv1.RegisterCollectorServer(g, l.server)
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(listener) }()
	tb.Cleanup(func() { g.Stop(); <-done })
	for name, content := range map[string]string{"ca.crt": string(ca.PEM), "token": "token"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	l.flags = []string{
		"--server=" + listener.Addr().String(), "--server-name=" + serverName, "--ca-file=" + filepath.Join(dir, "ca.crt"),
		"--token-file=" + filepath.Join(dir, "token"), "--health-addr=", "--log-level=error",
	}
	return l
}

// running is an agent's process.
type running struct {
	lab  *lab
	cmd  *exec.Cmd
	over atomic.Bool
}

// start runs an agent until stop, or the benchmark's end.
func (l *lab) start(flags ...string) *running {
	l.tb.Helper()
	l.server.forget()
	cmd := exec.Command(l.binary, append(flags, l.flags...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		l.tb.Fatal(err)
	}
	r := &running{lab: l, cmd: cmd}
	l.tb.Cleanup(r.stop)
	select {
	case <-l.server.welcomed:
	case <-time.After(patience):
		l.tb.Fatal("the agent does not connect")
	}
	return r
}

// stop ends the agent once it has delivered all that it saw.
func (r *running) stop() {
	if !r.over.CompareAndSwap(false, true) {
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	if err := r.cmd.Wait(); err != nil {
		r.lab.tb.Errorf("the agent ended with %v", err)
	}
}

// status is a number of /proc/<pid>/status, in kB.
func (r *running) status(name string) int {
	r.lab.tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		r.lab.tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			var n int
			_, _ = fmt.Sscan(rest, &n)
			return n
		}
	}
	r.lab.tb.Fatalf("no %s in\n%s", name, b)
	return 0
}

// cpu is the time that the agent has used.
func (r *running) cpu() time.Duration {
	r.lab.tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	if err != nil {
		r.lab.tb.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var user, system int64
	_, _ = fmt.Sscan(fields[11], &user)
	_, _ = fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}
