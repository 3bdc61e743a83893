package endpoint

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

func TestRequestsUnderWayFinish(t *testing.T) {
	for _, protocol := range []string{"HTTP/2.0", "HTTP/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				select {
				case <-leave:
					_, _ = io.WriteString(w, r.Proto)
				case <-r.Context().Done():
					_, _ = io.WriteString(w, "given up")
				}
			}), nil)
			c := r.client("127.0.0.1")
			if protocol == "HTTP/1.1" {
				plain, ok := c.Transport.(*http.Transport)
				if !ok {
					t.Fatal("another transport")
				}
				plain.ForceAttemptHTTP2 = false
				plain.TLSClientConfig.NextProtos = []string{"http/1.1"}
			}
			silent := r.dial("127.0.0.1")
			answer := make(chan string, 1)
			go func() {
				resp, err := c.Get(r.url)
				if err != nil {
					answer <- err.Error()
					return
				}
				defer resp.Body.Close()
				text, _ := io.ReadAll(resp.Body)
				answer <- string(text)
			}()
			<-entered
			stopped := make(chan error, 1)
			go func() { stopped <- r.stop() }()
			// Who has asked for nothing is not waited for. Then the server is draining.
			ended(t, silent)
			select {
			case err := <-stopped:
				t.Fatalf("stopped with a request under way: %v", err)
			default:
			}
			if _, err := net.Dial("tcp", r.server.Address().String()); err == nil {
				t.Error("still takes connections")
			}
			close(leave)
			if got := <-answer; got != protocol {
				t.Errorf("the request under way got %q", got)
			}
			if err := <-stopped; err != nil {
				t.Errorf("Run says %v", err)
			}
		})
	}
}

func TestRequestsThatDoNotFinishAreCutOff(t *testing.T) {
	entered, cut := make(chan struct{}), make(chan struct{})
	r := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(cut)
	}), func(o *Options) { o.Drain = 10 * time.Millisecond })
	c := r.client("127.0.0.1")
	go func() {
		if resp, err := c.Get(r.url); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	if err := r.stop(); err == nil || !strings.Contains(err.Error(), "1 requests did not finish within 10ms") {
		t.Errorf("Run says %v", err)
	}
	<-cut
}

// TestAgeingCostsNoRequest has the client of an API server post for many lives of its connections. (Lives
// are not so short that a request meets the end of two in a row: from then on the client waits before it tries again.)
func TestAgeingCostsNoRequest(t *testing.T) {
	const posters, lives = 4, 30
	var connections sync.Map
	var begun, sent, received, failed atomic.Int64
	body := bytes.Repeat([]byte("x"), 30<<10)
	r := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, known := connections.LoadOrStore(r.RemoteAddr, true); !known {
			begun.Add(1)
		}
		if n, err := io.Copy(io.Discard, r.Body); err == nil && n == int64(len(body)) {
			received.Add(1)
		}
	}), func(o *Options) { o.Age = 50 * time.Millisecond })
	client := r.kubernetes()

	var group sync.WaitGroup
	for range posters {
		group.Go(func() {
			for begun.Load() < lives && failed.Load() == 0 {
				sent.Add(1)
				result := client.Post().AbsPath("/audit/cp-1").Body(body).MaxRetries(0).Do(context.Background())
				if err := result.Error(); err != nil && failed.Add(1) == 1 {
					t.Errorf("a request failed: %v", err)
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d requests over %d connections, %d failed", sent.Load(), begun.Load(), failed.Load())
	if received.Load() < sent.Load() {
		t.Errorf("%d of %d requests arrived whole", received.Load(), sent.Load())
	}
}

func TestYoungConnectionsAreKept(t *testing.T) {
	var connections sync.Map
	r := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { connections.Store(r.RemoteAddr, true) }), nil)
	client := r.kubernetes()
	for range 20 {
		if err := client.Post().AbsPath("/").Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	lives := 0
	connections.Range(func(any, any) bool { lives++; return true })
	if lives != 1 {
		t.Errorf("%d connections", lives)
	}
}

// kubernetes is a client as API servers call webhooks and audit sinks with.
func (r *rig) kubernetes() *rest.RESTClient {
	r.t.Helper()
	config := &rest.Config{Host: r.url, QPS: -1, Timeout: 30 * time.Second}
	config.CAData = r.ca
	config.GroupVersion = &schema.GroupVersion{}
	config.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme())
	client, err := rest.RESTClientFor(config)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(client.Client.Transport) })
	return client
}

func TestServeFails(t *testing.T) {
	s, err := New(t.Context(), Options{
		Name: "test", Address: "127.0.0.1:0", Handler: http.HandlerFunc(ok), Logger: quiet(), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "serve") {
		t.Errorf("Run says %v without a listener", err)
	}
}

func TestOptionsNameTheField(t *testing.T) {
	full := Options{Name: "test", Address: "127.0.0.1:0", Handler: http.HandlerFunc(ok), Logger: quiet()}
	for field, change := range map[string]func(*Options){
		"Name":          func(o *Options) { o.Name = "" },
		"Handler":       func(o *Options) { o.Handler = nil },
		"Logger":        func(o *Options) { o.Logger = nil },
		"Registerer":    func(o *Options) { o.Registerer = nil },
		"Age":           func(o *Options) { o.Age = -1 },
		"Connections":   func(o *Options) { o.Limits.Connections = -1 },
		"WriteTimeout":  func(o *Options) { o.Limits.WriteTimeout = -1 },
		"ReceiveBuffer": func(o *Options) { o.Limits.ReceiveBuffer = 1 },
		"256.0.0.1":     func(o *Options) { o.Address = "256.0.0.1:0" },
	} {
		o := full
		o.Registerer = prometheus.NewRegistry()
		change(&o)
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got error %v", field, err)
		}
	}
}
