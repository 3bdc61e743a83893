package serverprocess

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/config/audit"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// AuditFlags are those of a real API server (apiserver.Options, with Beside: s.API) that sends its audit events to the
// server under that name.
func (s *Site) AuditFlags(t standalone.TB, name string) []string {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	pair, err := s.store.IssueSinkClient(t.Context(), name, tokenLife)
	if err != nil {
		t.Fatalf("certificate of API server %s: %v", name, err)
	}
	if err = pair.WriteFiles(file("tls.crt"), file("tls.key")); err != nil {
		t.Fatal(err)
	}
	policy, err := audit.Policy(audit.Default())
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: sink, cluster: {server: "https://%s%s%s", certificate-authority-data: %s}}]
users: [{name: sink, user: {client-certificate: %s, client-key: %s}}]
contexts: [{name: sink, context: {cluster: sink, user: sink}}]
current-context: sink
`, s.Config.Audit.Listen, auditsink.PathPrefix, name, base64.StdEncoding.EncodeToString(s.trust.PEM()), file("tls.crt"), file("tls.key"))
	for name, text := range map[string][]byte{"policy.yaml": policy, "kubeconfig": []byte(kubeconfig)} {
		if err := os.WriteFile(file(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--audit-policy-file=" + file("policy.yaml"), "--audit-webhook-config-file=" + file("kubeconfig")}
}

// Reviewer is a client for the running server's webhook, and the URL that API servers are told: one connection of
// HTTP/2, as they have.
func (s *Site) Reviewer(t standalone.TB) (client *http.Client, url string) {
	t.Helper()
	hooks, err := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), s.Config.Webhook.ConfigurationName, metav1.GetOptions{})
	if err != nil || len(hooks.Webhooks) == 0 || hooks.Webhooks[0].ClientConfig.URL == nil {
		t.Fatalf("the webhook that is configured: %v, %+v", err, hooks)
	}
	transport := &http.Transport{
		ForceAttemptHTTP2: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{RootCAs: s.trust.Pool(), MinVersion: tls.VersionTLS12},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: requestTimeout}, *hooks.Webhooks[0].ClientConfig.URL + "?timeout=2s"
}
