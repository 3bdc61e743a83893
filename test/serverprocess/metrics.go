package serverprocess

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authnv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/test/standalone"
)

// scraper is the service account that reads the server's metrics.
const scraper = "scraper"

// allowScraping makes an account that may read metrics, by the chart's own role.
func (s *Site) allowScraping(t standalone.TB) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: scraper, Namespace: Namespace}}
	if err := s.Objects.Create(t.Context(), account); err != nil {
		t.Fatalf("account for metrics: %v", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: scraper},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "portcullis-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: scraper, Namespace: Namespace}},
	}
	if err := s.Objects.Create(t.Context(), binding); err != nil {
		t.Fatalf("right to read metrics: %v", err)
	}
	s.scrapeToken = s.token(t, scraper, &authnv1.TokenRequest{Spec: authnv1.TokenRequestSpec{ExpirationSeconds: seconds(tokenLife)}})
	s.scrape = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.trust.Pool(), MinVersion: tls.VersionTLS13}}}
	t.Cleanup(s.scrape.CloseIdleConnections)
}

// Metrics are the running server's, by name. They begin anew with each process.
func (s *Site) Metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.Config.Metrics.Listen+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.scrapeToken)
	resp, err := s.scrape.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(io.LimitReader(resp.Body, 16<<20))
}

// AwaitClock waits until the server has measured the clock of a source (such as "audit/cp-1"), which is ahead
// of ours by that much.
func (s *Site) AwaitClock(ctx context.Context, source string, ahead time.Duration) error {
	for {
		offsets, err := s.clocks(ctx)
		got, known := offsets[source]
		if err == nil && known && (got-ahead).Abs() < time.Second {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the clock of %s is not measured: the server has %v", source, offsets), err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// clocks reads the measured offsets of API servers from the server's metrics.
func (s *Site) clocks(ctx context.Context) (map[string]time.Duration, error) {
	families, err := s.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]time.Duration{}
	for _, m := range families["portcullis_audit_clock_offset_seconds"].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "source" {
				out[l.GetValue()] = time.Duration(m.GetGauge().GetValue() * float64(time.Second))
			}
		}
	}
	return out, nil
}
