package serverprocess

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/apiserver"
	"github.com/portcullis-dev/portcullis/test/child"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// Namespace is where the chart is installed.
const Namespace = "portcullis"

// patience bounds what a loaded machine may take for one step.
const patience = 3 * time.Minute

// Options of New.
type Options struct {
	// Configure changes the server's configuration; nil leaves it as the chart has it.
	Configure func(*config.Config)
	// Values are the chart's, as YAML.
	Values string
	// Binary is a server that is built already. Empty builds cmd/portcullis.
	Binary string
	// LogLevel of the server; "info" if empty.
	LogLevel string
	// APIServers are the control plane's machines, by name; the server's canaries fly to them in
	// turn. None: the server asks the real API server, whose audit events nobody sends.
	APIServers []APIServerOptions
	// WatchLag is how much later than others the server hears of pods.
	WatchLag time.Duration
}

// Site is an API server with Portcullis installed, and the server's process if it runs.
type Site struct {
	// API is the real API server.
	API *apiserver.Server
	// Client and Objects speak to it as a cluster administrator.
	Client  *kubernetes.Clientset
	Objects client.Client
	// Config is what the server runs with.
	Config config.Config
	// DataDirectory is the server's; it outlives the process.
	DataDirectory string
	// Ahead is how far the clock of the server's next process is ahead of ours, in whole seconds (package clockshift).
	Ahead time.Duration

	dir     string
	binary  string
	level   string
	gateway *gateway
	store   *pki.Store
	trust   pki.Bundle
	// http asks for readiness, scrape for metrics.
	http, scrape *http.Client
	scrapeToken  string
	process      *child.Process
	// servers are those of Options.APIServers.
	servers map[string]*APIServer
}

// New starts an API server, installs Portcullis, and builds the server. It skips or fails the test where the
// API server's binaries are missing.
func New(t standalone.TB, opts Options) *Site {
	t.Helper()
	s := &Site{
		API: apiserver.Start(t, apiserver.Options{}),
		dir: t.TempDir(), binary: opts.Binary, level: opts.LogLevel,
		http:    &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		servers: map[string]*APIServer{},
	}
	if s.binary == "" {
		s.binary = Build(t, s.dir)
	}
	s.connect(t)
	objects := Render(t, opts.Values)
	s.configure(t, objects, opts)
	s.install(t, objects)
	s.certify(t)
	s.allowScraping(t)
	for _, o := range opts.APIServers {
		s.servers[o.Name] = s.newAPIServer(t, o)
	}
	s.openGateway(t, opts.APIServers, opts.WatchLag)
	s.writeKubeconfig(t)
	return s
}

// Build builds cmd/portcullis into a directory and returns its path.
func Build(t standalone.TB, dir string) string {
	t.Helper()
	return build(t, dir, "portcullis")
}

// BuildAgent builds cmd/portcullis-agent into a directory and returns its path.
func BuildAgent(t standalone.TB, dir string) string {
	t.Helper()
	return build(t, dir, "portcullis-agent")
}

func build(t standalone.TB, dir, command string) string {
	t.Helper()
	binary := filepath.Join(dir, command)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/"+command) //nolint:gosec // a directory of the test
	cmd.Dir = root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", command, err, out)
	}
	return binary
}

// root is the repository's, found by where this file is in it.
func root(t standalone.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("the path of the source is not known: built with -trimpath?")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// configure takes the configuration that the chart renders, and gives the server addresses and a disk of
// this machine.
func (s *Site) configure(t standalone.TB, objects []client.Object, opts Options) {
	t.Helper()
	var err error
	if s.Config, err = config.Parse([]byte(configText(t, objects))); err != nil {
		t.Fatalf("the chart's configuration: %v", err)
	}
	c := &s.Config
	s.DataDirectory = filepath.Join(s.dir, "data")
	if err = os.Mkdir(s.DataDirectory, 0o700); err != nil {
		t.Fatalf("data directory: %v", err)
	}
	c.DataDirectory, c.RuleDirectories, c.ElasticRuleDirectories = s.DataDirectory, nil, nil
	c.PKI.ExtraNames = append(c.PKI.ExtraNames, "127.0.0.1")
	c.Notify.Stdout = true
	for _, address := range []*string{&c.Audit.Listen, &c.Collector.Listen, &c.Webhook.Listen, &c.Metrics.Listen, &c.Health.Listen} {
		*address = freeAddress(t)
	}
	if opts.Configure != nil {
		opts.Configure(c)
	}
	if err := s.writeConfig(); err != nil {
		t.Fatal(err)
	}
}

// Reconfigure changes what the server's next process runs with.
func (s *Site) Reconfigure(change func(*config.Config)) error {
	change(&s.Config)
	return s.writeConfig()
}

func (s *Site) writeConfig() error {
	text, err := yaml.Marshal(&s.Config)
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	if _, err := config.Parse(text); err != nil {
		return fmt.Errorf("the test's configuration: %w", err)
	}
	return os.WriteFile(s.file("config.yaml"), text, 0o600)
}

func (s *Site) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Site) write(t standalone.TB, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(s.file(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddress is a loopback address that was free a moment ago, and is the same in every life of the server.
func freeAddress(t standalone.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start runs the server and returns when it is ready.
func (s *Site) Start(t standalone.TB) {
	t.Helper()
	s.StartOnly(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.process.WaitFor(ctx, t, s.ready)
}

// StartOnly runs the server and does not wait.
func (s *Site) StartOnly(t standalone.TB) {
	t.Helper()
	s.process = child.Start(t, child.Options{
		Path: s.binary,
		Args: []string{"--config", s.file("config.yaml"), "--kubeconfig", s.file("kubeconfig"), "--log-level", orInfo(s.level)},
		Log:  s.file("server.log"), Stdout: s.file("detections.ndjson"), Ahead: s.Ahead,
	})
}

func orInfo(level string) string {
	if level == "" {
		return "info"
	}
	return level
}

// ready asks the server whether it can judge.
func (s *Site) ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Config.Health.Listen+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz: %s", resp.Status)
	}
	return nil
}

// Kill ends the server at once, as kill -9 does.
func (s *Site) Kill() { s.process.Kill() }

// Stop ends the server as Kubernetes does, which lets it drain. It fails the test unless the server ends in good order.
func (s *Site) Stop(t standalone.TB) {
	t.Helper()
	if err := s.process.Stop(); err != nil {
		t.Errorf("the server did not stop in good order: %v\n%s", err, s.process.Tail())
	}
}

// Process is the server's current process, or the last one.
func (s *Site) Process() *child.Process { return s.process }

// Log is the file with the logs of all the server's processes.
func (s *Site) Log() string { return s.file("server.log") }

// Keep copies the server's log and what it detected into a directory, for people to look at.
func (s *Site) Keep(dir string) error {
	for _, name := range []string{"server.log", "detections.ndjson", "config.yaml"} {
		data, err := os.ReadFile(s.file(name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600) //nolint:gosec // who runs the tests names the directory
		}
		if err != nil {
			return err
		}
	}
	return nil
}
