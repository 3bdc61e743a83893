package doctor

import (
	"context"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/pki"
)

// TestDoorsAreTheCharts: what the chart guards is what is asked for.
func TestDoorsAreTheCharts(t *testing.T) {
	text, err := os.ReadFile("../../charts/portcullis/templates/webhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lists := regexp.MustCompile(`resources: \[(.*)\]`).FindAllStringSubmatch(string(text), -1)
	want, got := make([]string, 0, len(lists)), make([]string, 0, len(doors()))
	for _, list := range lists {
		want = append(want, strings.Split(list[1], ", ")...)
	}
	for _, d := range doors() {
		got = append(got, d.String())
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-chart +doctor):\n%s", diff)
	}
}

// TestWhatTheServerWritesIsRight: with the server's own certificate and with somebody else's, by a Service and by a URL.
func TestWhatTheServerWritesIsRight(t *testing.T) {
	certificate := files(t)
	for name, tc := range map[string]struct {
		files config.CertificateFiles
		url   string
	}{
		"its own": {}, "by URL": {url: "https://192.0.2.7"}, "theirs": {files: certificate},
		"of a known authority": {files: config.CertificateFiles{Certificate: certificate.Certificate, Key: certificate.Key}},
	} {
		p := healthy(t)
		p.config.PKI.ServingFiles, p.now = tc.files, time.Now()
		configuration := webhookTrusting(nil, p.namespace)
		configuration.Webhooks[0].ClientConfig.Service.Path = nil
		if tc.url != "" {
			byURL(&configuration.Webhooks[0], tc.url)
		}
		p.webhook = published(t, configuration, p.config)
		if c := p.checkWebhook(); c.State != OK {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// published is the configuration as the server leaves it.
func published(t *testing.T, w *admissionv1.ValidatingWebhookConfiguration, settings *config.Config) *admissionv1.ValidatingWebhookConfiguration {
	t.Helper()
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "portcullis", Name: name} }
	c := fake.NewClientBuilder().WithObjects(w, &corev1.ConfigMap{ObjectMeta: in("trust")},
		&corev1.Secret{ObjectMeta: in("serving")}, &corev1.Secret{ObjectMeta: in("sink")}).Build()
	discard := slog.New(slog.DiscardHandler)
	store, err := pki.NewStore(pki.StoreOptions{
		Client: c, Namespace: "portcullis", ServingSecret: "serving", SinkCASecret: "sink", Clock: time.Now, Logger: discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	manager, err := pki.NewManager(pki.Options{
		Store: store, Names: func(context.Context) ([]string, error) { return []string{"portcullis.portcullis.svc"}, nil },
		TrustConfigMap: "trust", WebhookConfiguration: w.Name, Serving: pki.Files(settings.PKI.ServingFiles),
		Logger: discard, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err = manager.Ensure(t.Context()); err == nil {
		err = manager.Publish(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	found := &admissionv1.ValidatingWebhookConfiguration{}
	if err = c.Get(t.Context(), client.ObjectKeyFromObject(w), found); err != nil {
		t.Fatal(err)
	}
	return found
}

// files are a certificate that somebody else has issued.
func files(t *testing.T) config.CertificateFiles {
	t.Helper()
	ca, err := pki.NewCA("theirs", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.IssueServer("portcullis", []string{"portcullis.portcullis.svc"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := config.CertificateFiles{Certificate: dir + "/tls.crt", Key: dir + "/tls.key", CA: dir + "/ca.crt"}
	if err = pair.WriteFiles(f.Certificate, f.Key); err == nil {
		err = os.WriteFile(f.CA, ca.Bundle().PEM(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}
