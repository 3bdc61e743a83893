package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func sample() Document {
	return Document{
		Version: Version, At: noon,
		Server: Server{Version: "v1", Pod: "portcullis-0", Started: noon.Add(-time.Hour), Ready: true, Mode: "observe", WatermarkLag: 2.5},
		Store:  Store{Kind: "disk", Waiting: 7, Bytes: 9},
		APIServers: []APIServer{{
			Address: "10.0.0.1:6443", Source: "audit/a", State: "live", Seen: true, Since: noon, LastSeen: noon,
			Lag: SecondsOf(1500 * time.Millisecond), Measured: true, Offset: -3, Tolerance: 0.25,
		}},
		Nodes: Nodes{Known: 2, Connected: 1, Unhealthy: []Node{{
			Name: "n1", DisconnectedSince: noon, Losses: []Loss{{Cause: "kernel-ring-full", Lost: 3, From: noon, To: noon}}, Partial: 1,
		}}},
		Losses:  []Loss{{Source: "server/bus", Cause: "lost", From: noon}},
		Rejects: Rejects{Events: 1, Newest: noon, APIServer: "a", Reason: "odd"},
		Rules:   Rules{Loaded: 71, Suspended: 1},
	}
}

func TestRoundTrip(t *testing.T) {
	text, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(text)
	if diff := cmp.Diff(sample(), got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestBounded: whatever a cluster and its attackers make of it, the document fits, and says what is left out.
func TestBounded(t *testing.T) {
	d := sample()
	long := strings.Repeat("é\x00", 10_000)
	d.Server.NotReady, d.Store.Error, d.Rejects.Reason = long, long, long
	for i := range 5000 {
		loss := Loss{Source: long, Cause: long, From: noon}
		d.Nodes.Unhealthy = append(d.Nodes.Unhealthy, Node{Name: fmt.Sprint(i) + long, Losses: slicesOf(loss, 50)})
		d.Losses = append(d.Losses, loss)
		d.APIServers = append(d.APIServers, APIServer{Address: long, Source: long})
	}
	text, err := Encode(d)
	if err != nil || len(text) > maxEncoded {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	got, err := Decode(text)
	if err != nil || !utf8.ValidString(got.Rejects.Reason) {
		t.Fatalf("%v, reason %.10q", err, got.Rejects.Reason)
	}
	for name, want := range map[string]int{"apiServers": 5001 - len(got.APIServers), "nodes.unhealthy": 5001 - len(got.Nodes.Unhealthy), "losses": 5001 - len(got.Losses)} {
		if got.Left[name] != want || want == 5001 {
			t.Errorf("%d of %s are said to be left out, and %d are", got.Left[name], name, want)
		}
	}
	if len(d.Nodes.Unhealthy) != 5001 || len(d.Nodes.Unhealthy[1].Losses) != 50 || d.Losses[1].Cause != long {
		t.Error("the caller's lists were changed")
	}
}

func slicesOf(l Loss, n int) []Loss {
	out := make([]Loss, n)
	for i := range out {
		out[i] = l
	}
	return out
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"{": "decode",
		`{"version":2,"at":"2026-03-04T12:00:00Z"}`: "older than the server",
		`{"at":"2026-03-04T12:00:00Z"}`:             "no version",
		`{"version":1}`:                             "no version or no time",
		strings.Repeat(" ", maxDocument+1):          "bytes",
	} {
		if d, err := Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || d.Version != 0 {
			t.Errorf("%.40q: %v, want one with %q", text, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	text, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Decode(text)
		if err != nil {
			return
		}
		again, err := Encode(d)
		if err != nil {
			t.Skip() // times that JSON cannot say
		}
		if _, err := Decode(again); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func TestSame(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Document)
		want   bool
	}{
		"time":             {func(d *Document) { d.At = d.At.Add(1) }, true},
		"lag":              {func(d *Document) { d.APIServers[0].Lag++; d.Server.WatermarkLag++ }, true},
		"more of one loss": {func(d *Document) { d.Losses[0].Lost++; d.Nodes.Unhealthy[0].Losses[0].Lost++ }, true},
		"another loss":     {func(d *Document) { d.Losses[0].Cause = "x" }, false},
		"ready":            {func(d *Document) { d.Server.Ready = false }, false},
		"node":             {func(d *Document) { d.Nodes.Unhealthy = nil }, false},
		"state":            {func(d *Document) { d.APIServers[0].State = "silent" }, false},
	} {
		d := sample()
		tc.change(&d)
		if same(d, sample()) != tc.want {
			t.Errorf("%s: want %v", name, tc.want)
		}
	}
}

// cluster is an API server with what was written to it.
type cluster struct {
	*fake.Clientset
	mu      sync.Mutex
	written []Document
	broken  error
}

func newCluster() *cluster {
	c := &cluster{Clientset: fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "guard", Name: ConfigMap, Labels: map[string]string{"a": "b"}}})}
	c.PrependReactor("patch", "configmaps", func(a clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.broken != nil {
			return true, nil, c.broken
		}
		var patch corev1.ConfigMap
		if err := json.Unmarshal(a.(clienttesting.PatchAction).GetPatch(), &patch); err != nil {
			return true, nil, err
		}
		d, err := Decode([]byte(patch.Data[Key]))
		c.written = append(c.written, d)
		return err != nil, nil, err
	})
	return c
}

func (c *cluster) breaks(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
}

func (c *cluster) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.written)
}

func TestPublishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		var mu sync.Mutex
		now := sample()
		p := newPublisher(t, c, func() Document {
			mu.Lock()
			defer mu.Unlock()
			now.At = time.Now()
			return now
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		check := func(after time.Duration, want int, why string) {
			t.Helper()
			time.Sleep(after) // within synctest this is no waiting
			synctest.Wait()
			if got := c.count(); got != want {
				t.Errorf("%s: written %d times, want %d", why, got, want)
			}
		}
		check(0, 1, "at once")
		check(DefaultMax-DefaultMin, 1, "nothing new")
		check(2*DefaultMin, 2, "old")
		mu.Lock()
		now.Nodes.Unhealthy = nil
		mu.Unlock()
		check(DefaultMin, 3, "something new")
		c.breaks(errors.New("away"))
		check(DefaultMax+DefaultMin, 3, "the API server is away")
		c.breaks(nil)
		check(DefaultMin, 4, "it is back")
		if got := testutil.ToFloat64(p.writes.WithLabelValues("failed")); got == 0 {
			t.Error("no failure was counted")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if last := c.written[c.count()-1].Server; c.count() != 5 || last.Ready || !strings.Contains(last.NotReady, "stopped") {
			t.Errorf("the last words are %+v", last)
		}
	})
}

func newPublisher(t *testing.T, c *cluster, collect func() Document) *Publisher {
	t.Helper()
	p, err := New(Options{
		Client: c, Namespace: "guard", Collect: collect, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPublishLeavesTheRestAlone(t *testing.T) {
	c := newCluster()
	p := newPublisher(t, c, sample)
	if err := p.patch(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	got, err := c.CoreV1().ConfigMaps("guard").Get(t.Context(), ConfigMap, metav1.GetOptions{})
	if err != nil || got.Labels["a"] != "b" || got.Data[Key] == "" {
		t.Errorf("%v, %+v", err, got)
	}
	if err := c.CoreV1().ConfigMaps("guard").Delete(t.Context(), ConfigMap, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := p.patch(t.Context(), sample()); err == nil || !strings.Contains(err.Error(), "helm upgrade") {
		t.Errorf("without the ConfigMap: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	full := Options{Client: newCluster(), Namespace: "x", Collect: sample, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	for field, change := range map[string]func(*Options){
		"Client": func(o *Options) { o.Client = nil }, "Namespace": func(o *Options) { o.Namespace = "" },
		"Collect": func(o *Options) { o.Collect = nil }, "Logger": func(o *Options) { o.Logger = nil },
		"Registerer": func(o *Options) { o.Registerer = nil }, "Min": func(o *Options) { o.Min = -1 },
	} {
		o := full
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
