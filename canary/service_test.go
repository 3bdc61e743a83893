package canary

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/portcullis-dev/portcullis/pki"
)

const path = "/api/v1/namespaces/portcullis/configmaps/canary"

func endpoints(name, service string, port int32, portName string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Ports:      []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

func newService(t *testing.T, client *fake.Clientset, change ...func(*ServiceOptions)) *Service {
	t.Helper()
	opts := ServiceOptions{REST: &rest.Config{Host: "https://10.96.0.1"}, Client: client, Path: path}
	for _, c := range change {
		c(&opts)
	}
	s, err := NewService(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAddresses(t *testing.T) {
	no := false
	away := endpoints("kubernetes-b", "kubernetes", 6443, "https", "10.0.0.3")
	away.Endpoints[0].Conditions.Ready = &no
	client := fake.NewClientset(
		endpoints("kubernetes", "kubernetes", 6443, "https", "10.0.0.1", "10.0.0.2"),
		endpoints("kubernetes-6", "kubernetes", 443, "", "fd00::1"),
		endpoints("kubernetes-metrics", "kubernetes", 9090, "metrics", "10.0.0.1"),
		endpoints("other", "other", 443, "https", "10.0.0.9"),
		away,
	)
	s := newService(t, client)
	want := []string{"10.0.0.1:6443", "10.0.0.2:6443", "[fd00::1]:443"}
	got, err := s.Addresses(t.Context())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("addresses (-want +got):\n%s%v", diff, err)
	}

	// When they cannot be read any more those known before stay.
	forbidden := errors.New("forbidden")
	client.PrependReactor("list", "endpointslices", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
	got, err = s.Addresses(t.Context())
	if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, forbidden) {
		t.Errorf("addresses after an error (-want +got):\n%s%v", diff, err)
	}
}

func TestAddressesWithoutAService(t *testing.T) {
	s := newService(t, fake.NewClientset())
	got, err := s.Addresses(t.Context())
	if diff := cmp.Diff([]string{"10.96.0.1:443"}, got); diff != "" || err == nil {
		t.Errorf("addresses (-want +got):\n%s%v", diff, err)
	}
}

// apiServer is a TLS server with a certificate for those names, of the CA that is returned too.
func apiServer(t *testing.T, handler http.HandlerFunc, names ...string) (address string, ca []byte) {
	t.Helper()
	authority, err := pki.NewCA("test", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.IssueServer("apiserver", names, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), authority.Bundle().PEM()
}

func TestGet(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var heard *http.Request
	status := http.StatusOK
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC) // a clock that goes on when it is read
	clock := func() time.Time { at = at.Add(time.Second); return at }
	address, ca := apiServer(t, func(w http.ResponseWriter, r *http.Request) { heard = r; w.WriteHeader(status) }, serviceDNSName)
	s := newService(t, fake.NewClientset(), func(o *ServiceOptions) {
		o.REST = &rest.Config{
			Host: "https://10.96.0.1", BearerTokenFile: token, UserAgent: "portcullis", TLSClientConfig: rest.TLSClientConfig{CAData: ca},
		}
		o.Dial = func(ctx context.Context, network, asked string) (net.Conn, error) {
			if asked != "10.0.0.1:6443" {
				t.Errorf("dialled %s", asked)
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		o.Clock = clock
	})
	before := at
	trip, err := s.Get(t.Context(), "10.0.0.1:6443", UserAgentPrefix+"x")
	if err != nil {
		t.Fatal(err)
	}
	if !trip.Sent.After(before) || !trip.Answered.After(trip.Sent) || at.Before(trip.Answered) {
		t.Errorf("the trip is %+v", trip)
	}
	if heard.URL.Path != path || heard.UserAgent() != UserAgentPrefix+"x" || heard.Header.Get("Authorization") != "Bearer secret" {
		t.Errorf("the request was %s by %q with %q", heard.URL, heard.UserAgent(), heard.Header.Get("Authorization"))
	}
	// Whatever the answer: it was answered, and is in the audit log.
	status = http.StatusNotFound
	if trip, err = s.Get(t.Context(), "10.0.0.1:6443", "x"); err == nil || trip.Answered.IsZero() || !strings.Contains(err.Error(), "404") {
		t.Errorf("a missing ConfigMap: %+v, %v", trip, err)
	}
}

// TestGetVerifies: an address that somebody has put behind the Service does not get the token.
func TestGetVerifies(t *testing.T) {
	asked := func(http.ResponseWriter, *http.Request) { t.Error("an impostor was asked") }
	_, trusted := apiServer(t, asked, serviceDNSName)
	for name, names := range map[string][]string{"of another CA": {serviceDNSName}, "of another name": {"web.shop.svc"}} {
		address, ca := apiServer(t, asked, names...)
		if name == "of another CA" {
			ca = trusted
		}
		s := newService(t, fake.NewClientset(), func(o *ServiceOptions) {
			o.REST = &rest.Config{Host: "https://10.96.0.1", TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
		})
		if trip, err := s.Get(t.Context(), address, "x"); err == nil || !trip.Answered.IsZero() {
			t.Errorf("%s: %+v, %v", name, trip, err)
		}
	}
}

func TestServiceOptionsAreChecked(t *testing.T) {
	for name, opts := range map[string]ServiceOptions{
		"REST is nil": {}, "Client is nil": {REST: &rest.Config{}}, "Path is empty": {REST: &rest.Config{}, Client: fake.NewClientset()},
		"no URL": {REST: &rest.Config{Host: "here"}, Client: fake.NewClientset(), Path: path},
	} {
		if _, err := NewService(opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q, got %v", name, err)
		}
	}
}
