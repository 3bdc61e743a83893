package leaks

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/app"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

// lives is how often the server is started and stopped after the first time.
const lives = 3

// patience bounds what a loaded machine may take for one life.
const patience = 2 * time.Minute

func TestNothingIsLeftBehind(t *testing.T) {
	crlog.SetLogger(logr.Discard()) // a global of the library, which says so otherwise
	temporary := t.TempDir()
	s := newStage(t)
	t.Setenv("TMPDIR", temporary)
	// What libraries make once for a process is made now.
	s.live(t, 0)
	goroutines, before := goleak.IgnoreCurrent(), s.left(t)
	t.Logf("after the first life: %d open files and connections, %d files of data", before.Open, len(before.Data))
	for n := 1; n <= lives; n++ {
		s.live(t, n)
	}
	if err := goleak.Find(goroutines); err != nil {
		t.Errorf("goroutines are left: %v", err)
	}
	// Connections end a moment after both sides have said so.
	deadline := time.Now().Add(30 * time.Second)
	for s.left(t).Open > before.Open && time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
	}
	after := s.left(t)
	if after.Open > before.Open {
		t.Errorf("%d open files and connections, %d after the first life:\n%s", after.Open, before.Open, strings.Join(descriptors(t), "\n"))
	}
	if diff := cmp.Diff(before.Data, after.Data); diff != "" {
		t.Errorf("files in the data directory (-after the first life +now):\n%s", diff)
	}
	if diff := cmp.Diff([]string(nil), files(t, temporary)); diff != "" {
		t.Errorf("temporary files (-want +got):\n%s", diff)
	}
}

// left is what a process has.
type left struct {
	// Open are file descriptors.
	Open int
	// Data are the names of the files in the data directory.
	Data []string
}

func (s *stage) left(t *testing.T) left {
	t.Helper()
	return left{Open: len(descriptors(t)), Data: files(t, s.site.DataDirectory)}
}

// descriptors are what the process has open.
func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	var open []string
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil { // the listing's own is gone
			open = append(open, target)
		}
	}
	return open
}

// files are the names of the files below a directory. Blocks of messages are numbered on and on: only how many there are counts.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name := strings.TrimPrefix(path, dir)
			if filepath.Ext(name) == ".blk" {
				name = filepath.Join(filepath.Dir(name), "N.blk")
			}
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// stage is a cluster with sources of events, in which the server runs.
type stage struct {
	site  *serverprocess.Site
	pod   *corev1.Pod
	agent *serverprocess.Agent
	api   *rest.Config
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{site: serverprocess.New(t, serverprocess.Options{
		Binary:     "none", // the server runs in this process
		Configure:  func(c *config.Config) { c.Audit.CanaryPeriod.Duration = time.Second },
		APIServers: []serverprocess.APIServerOptions{{Name: "cp-1"}},
	})}
	s.api = rest.CopyConfig(s.site.API.Config)
	s.api.QPS = -1
	var err error
	s.pod, err = s.site.Client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-0"},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "main", Image: "shell:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.agent = s.site.Agent(t, serverprocess.AgentOptions{Node: "node-1"})
	return s
}

// live runs the server once, with traffic on every endpoint, and stops it.
func (s *stage) live(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := app.New(ctx, app.Options{
		Config: s.site.Config, REST: s.api, Detections: io.Discard,
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatalf("life %d: %v", n, err)
	}
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(running) }()
	for server.Ready() != nil {
		select {
		case err := <-done:
			t.Fatalf("life %d: %v", n, err)
		case <-ctx.Done():
			t.Fatalf("life %d: not ready: %v", n, server.Ready())
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := s.traffic(ctx, n); err != nil {
		t.Errorf("life %d: %v", n, err)
	}
	silent := s.silent(t)
	stop()
	if err := <-done; err != nil {
		t.Errorf("life %d did not end well: %v", n, err)
	}
	for _, c := range silent {
		_ = c.Close()
	}
	s.agent.Cut()
	if client, err := rest.HTTPClientFor(s.api); err == nil { // client-go keeps it for the process
		utilnet.CloseIdleConnectionsFor(client.Transport)
	}
}

func (s *stage) traffic(ctx context.Context, n int) error {
	if err := s.agent.Connect(ctx); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	for i := range 100 {
		s.agent.Spool.Push(&telemetryv1.Event{
			Time: timestamppb.Now(), Container: &telemetryv1.Container{Id: strings.Repeat("c", 64), PodUid: string(s.pod.UID)},
			Process: &telemetryv1.Process{Pid: uint32(i + 1), EntityId: fmt.Sprint(n, i), Name: "sh", Interactive: true},
			What:    &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}},
		})
	}
	if err := s.agent.Drain(ctx); err != nil {
		return err
	}
	for i := range 20 {
		if err := s.site.APIServer("cp-1").Deliver(ctx, s.request(fmt.Sprintf("%d-%d", n, i))); err != nil {
			return err
		}
	}
	// A review, which the API server asks for. There is no node on which the exec could happen.
	exec := s.site.Client.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/pods/web-0/exec").Param("command", "id")
	_ = exec.Do(ctx).Error()
	if _, err := s.site.Metrics(ctx); err != nil {
		return err
	}
	resp, err := http.Get("http://" + s.site.Config.Health.Listen + "/readyz")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// request is an audit event of a request with the pod's token, in a list.
func (s *stage) request(id string) []byte {
	return fmt.Appendf(nil, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"level":"Metadata","auditID":%q,`+
		`"stage":"ResponseComplete","requestURI":"/api/v1/namespaces/default/secrets","verb":"list",`+
		`"user":{"username":"system:serviceaccount:default:default","extra":{`+
		`"authentication.kubernetes.io/pod-name":["web-0"],"authentication.kubernetes.io/pod-uid":[%q]}},`+
		`"objectRef":{"resource":"secrets","namespace":"default","apiVersion":"v1"},"responseStatus":{"code":200},`+
		`"requestReceivedTimestamp":%[3]q,"stageTimestamp":%[3]q}]}`, id, s.pod.UID, time.Now().UTC().Format(time.RFC3339Nano))
}

// silent connects to every endpoint and says nothing: the server has to end these as well.
func (s *stage) silent(t *testing.T) []net.Conn {
	t.Helper()
	c := s.site.Config
	addresses := []string{c.Audit.Listen, c.Collector.Listen, c.Webhook.Listen, c.Metrics.Listen, c.Health.Listen}
	all := make([]net.Conn, 0, len(addresses))
	for _, address := range addresses {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	return all
}
