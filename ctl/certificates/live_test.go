package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// serverName is what API servers know the sink by.
const serverName = "portcullis.portcullis.svc"

// patience bounds how long something that must happen is waited for.
const patience = time.Minute

// TestARunningServerTakesUpWhatTheCommandsDo has a real API server keep the Secrets, and a server's Manager look at them.
func TestARunningServerTakesUpWhatTheCommandsDo(t *testing.T) {
	server := apiserver.Start(t, apiserver.Options{WithoutCRDs: true})
	admin := &user{client: connected(t, server.Config), now: time.Now()}
	install(t, server.Config)
	manager, address := running(t, admin)

	t.Run("who may read nothing is told what is needed", func(t *testing.T) {
		nobody := &user{client: connected(t, server.UserConfig(t, "alice")), now: time.Now()}
		for _, args := range [][]string{{"show"}, {"rotate", "serving"}, {"rotate", "sink", "finish", "--yes"}} {
			if out, _, err := nobody.run(t, args...); err == nil || !strings.Contains(err.Error(), "the right to get") || out != "" {
				t.Errorf("%q: %v\n%s", args, err, out)
			}
		}
	})
	t.Run("who may only read sees", func(t *testing.T) {
		viewer := &user{client: connected(t, server.UserConfig(t, "victor")), now: time.Now()}
		if out := viewer.must(t, "show"); !strings.Contains(out, "sink certificate") {
			t.Error(out)
		}
		if _, _, err := viewer.run(t, "rotate", "serving"); err == nil || !strings.Contains(err.Error(), "to update") {
			t.Error(err)
		}
		if got := states(t, viewer); len(got) != 4 {
			t.Errorf("%q", got)
		}
	})
	t.Run("the serving CA", func(t *testing.T) {
		admin.must(t, "rotate", "serving")
		eventually(t, "both serving CAs are published", func() bool {
			published := &corev1.ConfigMap{}
			key := client.ObjectKey{Namespace: DefaultNamespace, Name: config.Default().PKI.TrustConfigMap}
			if err := admin.client.Get(t.Context(), key, published); err != nil {
				t.Fatal(err)
			}
			return strings.Count(published.Data[pki.KeyCACertificate], "BEGIN CERTIFICATE") == 2
		})
	})
	t.Run("the sink CA", func(t *testing.T) { replaceSinkCA(t, admin, manager, address) })
}

// replaceSinkCA does what people do, as the command tells them.
func replaceSinkCA(t *testing.T, admin *user, manager *pki.Manager, address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	before := manager.SinkTrust()
	first := issue(t, admin)
	mustMeet(t, address, before, first)

	admin.must(t, "rotate", "sink", "begin", "--trust-file", file)
	both := bundle(t, file)
	eventually(t, "the sink trusts both", func() bool { return len(manager.SinkTrust()) == 2 })
	mustMeet(t, address, before, first) // who has not replaced the file yet
	mustMeet(t, address, both, first)

	admin.must(t, "rotate", "sink", "finish", "--yes")
	eventually(t, "the sink shows a certificate of the next CA", func() bool { return meet(t, address, both[1:], first) == nil })
	mustMeet(t, address, both, first) // whose certificate is not made anew yet
	mustMeet(t, address, both, issue(t, admin))
	if err := meet(t, address, before, first); err == nil {
		t.Error("who has not replaced the file still trusts the sink: the test shows nothing")
	}
}

func connected(t *testing.T, c *rest.Config) client.WithWatch {
	t.Helper()
	made, err := cluster.NewClient(c, "test", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// install makes the chart's objects, and lets victor read them.
func install(t *testing.T, admin *rest.Config) {
	t.Helper()
	c, err := client.New(admin, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	in := metav1.ObjectMeta{Namespace: DefaultNamespace, Name: "viewer"}
	objects := append([]client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: DefaultNamespace}}}, secrets()...)
	objects = append(objects,
		&rbacv1.Role{ObjectMeta: in, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets", "configmaps"}, Verbs: []string{"get"}}}},
		&rbacv1.RoleBinding{
			ObjectMeta: in, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: in.Name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "victor"}},
		})
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// running is a server's Manager, which looks often, and its sink.
func running(t *testing.T, u *user) (manager *pki.Manager, address string) {
	t.Helper()
	manager, err := pki.NewManager(pki.Options{
		Store: u.store(t), Names: func(context.Context) ([]string, error) { return []string{serverName}, nil },
		TrustConfigMap: config.Default().PKI.TrustConfigMap, CheckInterval: 50 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err = manager.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = manager.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return manager, listen(t, manager.SinkTLS())
}

// listen answers everybody whose certificate is right with one byte.
func listen(t *testing.T, settings *tls.Config) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", settings)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = conn.Write([]byte{1})
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// issue makes an API server's certificate, as "audit config" does.
func issue(t *testing.T, u *user) tls.Certificate {
	t.Helper()
	pair, err := u.store(t).IssueSinkClient(t.Context(), "cp-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	made, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// meet fails unless an API server and the sink trust each other.
func meet(t *testing.T, address string, trust pki.Bundle, own tls.Certificate) error {
	t.Helper()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{
		RootCAs: trust.Pool(), Certificates: []tls.Certificate{own}, ServerName: serverName, MinVersion: tls.VersionTLS13,
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	if _, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: trust.Pool()}); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1)) // TLS 1.3 tells the client only now that it is refused
	return err
}

func mustMeet(t *testing.T, address string, trust pki.Bundle, own tls.Certificate) {
	t.Helper()
	if err := meet(t, address, trust, own); err != nil {
		t.Fatal(err)
	}
}

// eventually asks again and again: nothing tells when the server has looked.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) { return done(), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
