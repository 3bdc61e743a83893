package auditconfig

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

var discard = slog.New(slog.DiscardHandler)

// delivery is one EventList as the sink received it.
type delivery struct {
	path, caller string
	events       auditv1.EventList
}

// TestAnAPIServerUnderstandsTheFiles starts a real one with the flags that the
// command prints, and a sink with the certificates of package pki. Nothing but
// the files says how the two find and trust each other: the sink's address is
// not among the names of its certificate.
func TestAnAPIServerUnderstandsTheFiles(t *testing.T) {
	for _, tc := range []struct {
		mode mode
		auth auth
	}{{batch, byCertificate}, {blocking, byCertificate}, {blocking, byToken}} {
		t.Run(string(tc.mode)+" "+string(tc.auth), func(t *testing.T) {
			c, dir := installed(t), t.TempDir()
			manager, address, deliveries := sink(t, c)
			out, err := execute(t, c, "--api-server", "cp-1", "--output-dir", dir, "--address", address,
				"--mode", string(tc.mode), "--auth", string(tc.auth))
			if err != nil {
				t.Fatal(err)
			}
			// As the server does within a minute: it may have a token to learn.
			if err = manager.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
			server := apiserver.Start(t, apiserver.Options{Args: printedFlags(t, out, dir), WithoutCRDs: true})

			// As the command's own words have it, an exec is recorded at Request.
			user := kubernetes.NewForConfigOrDie(server.UserConfig(t, "mallory"))
			_ = user.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/pods/web-0/exec").Param("command", "sh").Do(t.Context()).Error()
			_, _ = user.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})

			missing := map[string]auditv1.Level{"exec": auditv1.LevelRequest, "": auditv1.LevelMetadata}
			for len(missing) > 0 {
				select {
				case d := <-deliveries:
					if d.path != "/audit/cp-1" || d.caller != "apiserver:cp-1" {
						t.Fatalf("%s delivered to %s", d.caller, d.path)
					}
					for _, e := range d.events.Items {
						if e.Stage == auditv1.StageRequestReceived {
							t.Errorf("a stage that the policy leaves out: %+v", e)
						}
						if e.User.Username == "mallory" && e.ObjectRef != nil && e.Level == missing[e.ObjectRef.Subresource] {
							delete(missing, e.ObjectRef.Subresource)
						}
					}
				case <-time.After(2 * time.Minute):
					t.Fatalf("no event of mallory's for %v", missing)
				}
			}
		})
	}
}

// printedFlags are the flags as a person would copy them from the instructions.
func printedFlags(t *testing.T, out, dir string) []string {
	t.Helper()
	var flags []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "   --audit-") {
			flags = append(flags, strings.TrimSpace(line))
		}
	}
	if len(flags) < 5 || !strings.Contains(strings.Join(flags, " "), filepath.Join(dir, policyFile)) {
		t.Fatalf("flags %q in\n%s", flags, out)
	}
	return flags
}

// sink listens with Portcullis' certificates.
func sink(t *testing.T, c client.Client) (manager *pki.Manager, address string, deliveries <-chan delivery) {
	t.Helper()
	manager, err := pki.NewManager(pki.Options{
		Store:          store(t, c),
		Names:          func(context.Context) ([]string, error) { return []string{"portcullis.portcullis.svc"}, nil },
		TrustConfigMap: "portcullis-trust",
		Logger:         discard,
		Registerer:     prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err = manager.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	received := make(chan delivery, 10_000)
	server := &http.Server{
		TLSConfig: manager.SinkTLS(),
		ErrorLog:  slog.NewLogLogger(discard.Handler(), slog.LevelInfo),
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			d := delivery{path: r.URL.Path, caller: caller(manager, r)}
			body, readErr := io.ReadAll(r.Body)
			if readErr == nil {
				readErr = json.Unmarshal(body, &d.events)
			}
			if readErr != nil {
				t.Errorf("delivery: %v", readErr)
			}
			received <- d
		}),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return manager, listener.Addr().String(), received
}

// caller is whom the client has proved to be.
func caller(manager *pki.Manager, r *http.Request) string {
	if len(r.TLS.PeerCertificates) > 0 {
		return r.TLS.PeerCertificates[0].Subject.CommonName
	}
	name := strings.TrimPrefix(r.URL.Path, sinkPath)
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, ok := manager.CheckSinkToken(name, token); !ok {
		return ""
	}
	return "apiserver:" + name
}
