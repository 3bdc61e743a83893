package webhook_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/endpoint"
)

// serve runs a handler as the server does. The client trusts it, by the certificate that is returned as well.
func serve(t testing.TB, h http.Handler) (client *http.Client, url string, certificate *x509.Certificate) {
	t.Helper()
	// The certificate that httptest has for 127.0.0.1.
	lender := httptest.NewUnstartedServer(nil)
	lender.StartTLS()
	defer lender.Close()
	s, err := endpoint.New(t.Context(), endpoint.Options{
		Name: "webhook", Address: "127.0.0.1:0", Handler: h,
		TLS:    &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS12},
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(lender.Certificate())
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		transport.CloseIdleConnections()
	})
	return &http.Client{Transport: transport}, "https://" + s.Address().String() + "/admit?timeout=5s", lender.Certificate()
}
