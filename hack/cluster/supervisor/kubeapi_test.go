package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/hack/cluster/pki"
)

// fakeAPI keeps objects by path and answers as an API server does.
type fakeAPI struct {
	mu      sync.Mutex
	objects map[string]map[string]any
	users   map[string]bool
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users[r.TLS.PeerCertificates[0].Subject.CommonName] = true
	switch r.Method {
	case http.MethodPost:
		f.create(w, r)
	case http.MethodDelete:
		if _, ok := f.objects[r.URL.Path]; !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		delete(f.objects, r.URL.Path)
	case http.MethodGet:
		f.get(w, r)
	}
}

func (f *fakeAPI) create(w http.ResponseWriter, r *http.Request) {
	var created map[string]any
	if err := json.NewDecoder(r.Body).Decode(&created); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	name, _ := created["metadata"].(map[string]any)["name"].(string)
	at := path.Join(r.URL.Path, name)
	if _, taken := f.objects[at]; taken {
		w.WriteHeader(http.StatusConflict)
		return
	}
	f.objects[at] = created
	w.WriteHeader(http.StatusCreated)
}

func (f *fakeAPI) get(w http.ResponseWriter, r *http.Request) {
	if found, ok := f.objects[r.URL.Path]; ok {
		_ = json.NewEncoder(w).Encode(found)
		return
	}
	if r.URL.Path != volumesPath {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"reason":"NotFound"}`))
		return
	}
	var items []map[string]any
	for _, at := range slices.Sorted(maps.Keys(f.objects)) {
		if path.Dir(at) == volumesPath {
			items = append(items, f.objects[at])
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
}

func (f *fakeAPI) names(dir string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, at := range slices.Sorted(maps.Keys(f.objects)) {
		if path.Dir(at) == dir {
			names = append(names, path.Base(at))
		}
	}
	return names
}

func (f *fakeAPI) setPhase(at, phase string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.objects[at]["status"] = map[string]any{"phase": phase}
}

// newFakeAPI serves one over TLS, with a client that authenticates as an administrator.
func newFakeAPI(tb testing.TB) (*fakeAPI, *kubeAPI) {
	tb.Helper()
	authority, err := pki.NewAuthority(time.Now)
	if err != nil {
		tb.Fatal(err)
	}
	pair, err := authority.Issue(pki.Request{CommonName: "server", Hosts: []string{"127.0.0.1"}})
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		tb.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority.Cert())
	fake := &fakeAPI{objects: map[string]map[string]any{}, users: map[string]bool{}}
	server := httptest.NewUnstartedServer(fake)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.StartTLS()
	tb.Cleanup(server.Close)

	kubeconfig := filepath.Join(tb.TempDir(), "kubeconfig")
	if err = authority.WriteKubeconfig(kubeconfig, server.URL, pki.Request{CommonName: "admin"}); err != nil {
		tb.Fatal(err)
	}
	api, err := newKubeAPI(kubeconfig)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(api.client.CloseIdleConnections)
	return fake, api
}

func TestKubeAPI(t *testing.T) {
	fake, api := newFakeAPI(t)
	ctx := within(t)
	pod := object{"metadata": object{"name": "a"}, "spec": object{"x": "y"}}
	if err := api.create(ctx, "/pods", pod); err != nil {
		t.Fatal(err)
	}
	if err := api.create(ctx, "/pods", pod); err != nil {
		t.Errorf("creating it twice: %v", err)
	}
	var got struct{ Spec struct{ X string } }
	if err := api.get(ctx, "/pods/a", &got); err != nil || got.Spec.X != "y" {
		t.Errorf("get: %+v, %v", got, err)
	}
	if err := api.remove(ctx, "/pods/a"); err != nil {
		t.Error(err)
	}
	if err := api.remove(ctx, "/pods/a"); err != nil {
		t.Errorf("removing it twice: %v", err)
	}
	if err := api.get(ctx, "/pods/a", nil); !errors.Is(err, errNotFound) {
		t.Errorf("get what is gone: %v", err)
	}
	if err := api.create(ctx, "/pods", make(chan int)); err == nil {
		t.Error("something was created that cannot be encoded")
	}
	if !fake.users["admin"] {
		t.Errorf("users seen: %v", fake.users)
	}
}

func TestNewKubeAPIRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"rubbish":       "{",
		"empty":         "",
		"unknown field": "cluster: []\n",
		"no key":        "clusters: [{name: c, cluster: {server: 'https://x'}}]\nusers: [{name: u, user: {}}]\n",
	} {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := newKubeAPI(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNodeReady(t *testing.T) {
	fake, api := newFakeAPI(t)
	ready := api.nodeReady("node1")
	node := func(conditions ...map[string]any) {
		fake.mu.Lock()
		defer fake.mu.Unlock()
		fake.objects["/api/v1/nodes/node1"] = object{"status": object{"conditions": conditions}}
	}
	tests := []struct {
		name string
		set  func()
		ok   bool
		want string
	}{
		{"no node", func() {}, false, "not found"},
		{"silent", func() { node() }, false, "has not reported"},
		{"not ready", func() { node(object{"type": "Ready", "status": "False", "message": "no network"}) }, false, "no network"},
		{"ready", func() {
			node(object{"type": "DiskPressure", "status": "False"}, object{"type": "Ready", "status": "True"})
		}, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.set()
			ok, err := ready(within(t))
			if ok != test.ok || (test.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), test.want)) {
				t.Errorf("ready %t, %v, want %t with %q", ok, err, test.ok, test.want)
			}
		})
	}
}

func TestUntilSaysWhatItWaitedFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := until(ctx, "the moon", func(context.Context) (bool, error) { return false, errors.New("clouds") })
	if err == nil || !strings.Contains(err.Error(), "the moon") || !strings.Contains(err.Error(), "clouds") {
		t.Errorf("error %v", err)
	}
}

func newVolumes(tb testing.TB) (*volumes, *fakeAPI) {
	tb.Helper()
	fake, api := newFakeAPI(tb)
	v := &volumes{api: api, dir: tb.TempDir(), logger: slog.New(slog.DiscardHandler)}
	if err := v.create(within(tb)); err != nil {
		tb.Fatal(err)
	}
	return v, fake
}

func allVolumes() []string {
	names := make([]string, 0, volumeCount)
	for i := range volumeCount {
		names = append(names, fmt.Sprintf("volume-%d", i+1))
	}
	return names
}

func TestVolumesAreCreated(t *testing.T) {
	v, fake := newVolumes(t)
	if diff := cmp.Diff(allVolumes(), fake.names(volumesPath)); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if names := fake.names("/apis/storage.k8s.io/v1/storageclasses"); !slices.Equal(names, []string{storageClass}) {
		t.Errorf("storage classes %v", names)
	}
	for _, name := range allVolumes() {
		if _, err := os.Stat(filepath.Join(v.dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestReleasedVolumesComeBackEmpty(t *testing.T) {
	v, fake := newVolumes(t)
	for _, name := range []string{"volume-1", "volume-2"} {
		if err := os.WriteFile(filepath.Join(v.dir, name, "data"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fake.setPhase(volumesPath+"/volume-1", "Released")
	fake.setPhase(volumesPath+"/volume-2", "Bound")
	for range 2 { // it goes, then it is made anew
		if err := v.recycle(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(allVolumes(), fake.names(volumesPath)); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if left, err := os.ReadDir(filepath.Join(v.dir, "volume-1")); err != nil || len(left) != 0 {
		t.Errorf("the released volume has %v (%v)", left, err)
	}
	if left, err := os.ReadDir(filepath.Join(v.dir, "volume-2")); err != nil || len(left) != 1 {
		t.Errorf("the bound volume has %v (%v), want its data", left, err)
	}
}
