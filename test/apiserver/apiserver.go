package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/test/child"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// binEnv names the directory of the binaries.
const binEnv = "PORTCULLIS_KUBE_BIN"

// startTimeout is generous: the API server needs some seconds on an idle
// machine, and several times that on a loaded one.
const startTimeout = 3 * time.Minute

// Options change the server that Start makes. The zero Options are a plain one
// with RBAC and with Portcullis' CRDs installed.
type Options struct {
	// Args are further kube-apiserver flags, such as those of an audit webhook.
	Args []string
	// WithoutCRDs leaves the CRDs out.
	WithoutCRDs bool
	// Ahead is how far the server's clock is ahead of ours, negative for behind, in whole seconds.
	Ahead time.Duration
	// Beside is a server whose etcd, certificates and keys the new one shares, as the API servers of one
	// cluster do: a token or object of one is known to the other. The CRDs are there already.
	Beside *Server
}

// Server is a running API server.
type Server struct {
	// Config reaches it as a member of system:masters. It is the test's to copy
	// and change.
	Config *rest.Config
	// Dir holds the server's files, among them ca.crt.
	Dir string
	// Address is where it listens, host:port.
	Address string

	ca   *authority
	etcd string
	// process is the API server's, child how to run it.
	process *child.Process
	child   child.Options
}

// Start runs etcd and an API server until the test ends, and returns when the
// API server is ready and its CRDs are served. It skips or fails the test when
// the binaries are missing.
func Start(t standalone.TB, opts Options) *Server {
	t.Helper()
	bin := binaries(t)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()

	s := newServer(t, bin, opts.Beside)
	port := freePort(t)
	s.Config = adminConfig(t, s.ca, port)
	s.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s.child = child.Options{
		Path: filepath.Join(bin, "kube-apiserver"), Args: append(apiServerArgs(s.ca, s.etcd, port), opts.Args...),
		Log: filepath.Join(t.TempDir(), "kube-apiserver.log"), Ahead: opts.Ahead,
	}
	s.Restart(t)
	if !opts.WithoutCRDs && opts.Beside == nil {
		installCRDs(ctx, t, s.Config)
	}
	return s
}

// Kill ends the API server at once (SIGKILL); its etcd goes on.
func (s *Server) Kill() { s.process.Kill() }

// AddArgs gives the API server further flags, from its next Restart on: those that are known only when it runs.
func (s *Server) AddArgs(args ...string) { s.child.Args = append(s.child.Args, args...) }

// Restart runs the API server again, at the same address and with the same etcd, and returns when it is ready.
func (s *Server) Restart(t standalone.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s.process = child.Start(t, s.child)
	s.process.WaitFor(ctx, t, s.ready)
}

// newServer has the keys and the etcd of a server, new ones or those of another.
func newServer(t standalone.TB, bin string, beside *Server) *Server {
	t.Helper()
	if beside != nil {
		return &Server{Dir: beside.Dir, ca: beside.ca, etcd: beside.etcd}
	}
	dir := t.TempDir()
	ca, err := newAuthority(dir)
	if err != nil {
		t.Fatalf("certificates of the API server: %v", err)
	}
	return &Server{Dir: dir, ca: ca, etcd: startEtcd(t, bin, dir)}
}

// UserConfig reaches the server as the user, in the given groups.
func (s *Server) UserConfig(t standalone.TB, user string, groups ...string) *rest.Config {
	t.Helper()
	cert, key, err := s.ca.client(user, groups...)
	if err != nil {
		t.Fatalf("client certificate of %s: %v", user, err)
	}
	c := rest.CopyConfig(s.Config)
	c.CertData, c.KeyData = cert, key
	return c
}

// binaries returns the directory that has etcd and kube-apiserver.
func binaries(t standalone.TB) string {
	t.Helper()
	dir := os.Getenv(binEnv)
	if dir == "" {
		const why = binEnv + " is not set: it names the directory of etcd and kube-apiserver, see hack/cluster"
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil { //nolint:gosec // who runs the tests names the directory
			t.Fatalf("%s has no %s: %v", binEnv, name, err)
		}
	}
	return dir
}

// startEtcd returns the URL that its clients use.
func startEtcd(t standalone.TB, bin, dir string) string {
	t.Helper()
	client, peer := loopbackURL(freePort(t)), loopbackURL(freePort(t))
	child.Start(t, child.Options{Path: filepath.Join(bin, "etcd"), Log: filepath.Join(dir, "etcd.log"), Args: []string{
		"--data-dir=" + filepath.Join(dir, "etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		// Nothing here outlives the test, so nothing needs to reach the disk.
		"--unsafe-no-fsync",
	}})
	return client
}

func loopbackURL(port int) string {
	return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func apiServerArgs(ca *authority, etcd string, port int) []string {
	return []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--service-cluster-ip-range=10.0.0.0/24",
		"--authorization-mode=RBAC",
		"--client-ca-file=" + ca.file("ca.crt"),
		"--tls-cert-file=" + ca.file("server.crt"),
		"--tls-private-key-file=" + ca.file("server.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + ca.file("server.key"),
		"--service-account-signing-key-file=" + ca.file("server.key"),
		// Without a controller manager no namespace has its default service account.
		"--disable-admission-plugins=ServiceAccount",
		"--endpoint-reconciler-type=none",
		"--enable-priority-and-fairness=false",
	}
}

func adminConfig(t standalone.TB, ca *authority, port int) *rest.Config {
	t.Helper()
	cert, key, err := ca.client("test-admin", "system:masters")
	if err != nil {
		t.Fatalf("client certificate of the administrator: %v", err)
	}
	return &rest.Config{
		Host: "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		TLSClientConfig: rest.TLSClientConfig{
			CAData: ca.certPEM, CertData: cert, KeyData: key,
		},
		// A test is one client that means every request it makes.
		QPS: -1,
	}
}

// ready asks the API server whether all of it is up.
func (s *Server) ready(ctx context.Context) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.Config.CAData)
	pair, err := tls.X509KeyPair(s.Config.CertData, s.Config.KeyData)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Config.Host+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err = errors.Join(err, statusError(resp, body)); err != nil {
		return fmt.Errorf("readyz: %w", err)
	}
	return nil
}

func statusError(resp *http.Response, body []byte) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("%s: %s", resp.Status, body)
}

// freePort returns a loopback port that was free a moment ago.
func freePort(t standalone.TB) int {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
