package pki

import (
	"crypto/tls"
	"errors"
	"time"
)

var errNotReady = errors.New("pki: there are no certificates yet: Ensure has not succeeded")

// GetCertificate is for tls.Config: it gives the server certificate in force.
func (m *Manager) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	cur := m.current.Load()
	if cur == nil {
		return nil, errNotReady
	}
	return &cur.certificate, nil
}

// Ready reports whether there are certificates to serve with.
func (m *Manager) Ready() bool { return m.current.Load() != nil }

// ServingTrust is what clients trust the endpoints by, but for the sink; nil before Ensure, and where somebody else issues the certificate
// and has not said by what it is trusted.
func (m *Manager) ServingTrust() Bundle {
	if cur := m.current.Load(); cur != nil {
		return cur.serving
	}
	return nil
}

// SinkTrust is what API servers trust the audit sink by, as ServingTrust.
func (m *Manager) SinkTrust() Bundle {
	if cur := m.current.Load(); cur != nil {
		return cur.sink
	}
	return nil
}

// KnownAdmissionPath reports whether a URL's path is one that API servers have been told, or will be or were told. It takes the same
// time for all that are not.
func (m *Manager) KnownAdmissionPath(path string) bool {
	cur := m.current.Load()
	return cur != nil && cur.paths.known(path)
}

// ServerTLS is the configuration of an endpoint that shows the server
// certificate and asks for none. It follows renewals by itself.
func (m *Manager) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13, // every caller is a Go program newer than that
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: m.GetCertificate,
	}
}

// WebhookTLS is the configuration of the webhook: that of ServerTLS, and callers must show a client
// certificate if there is a CA for those.
func (m *Manager) WebhookTLS() *tls.Config {
	config := m.ServerTLS()
	if m.opts.WebhookClientCA == "" {
		return config
	}
	return m.withClients(config, func(cur *current, now *tls.Config) { now.ClientCAs = cur.webhookClients })
}

// CheckSinkToken reports until when a token proves that its bearer is that API server.
func (m *Manager) CheckSinkToken(apiServer, token string) (expires time.Time, ok bool) {
	cur := m.current.Load()
	if cur == nil {
		return time.Time{}, false
	}
	return cur.tokens.check(apiServer, token, m.store.opts.Clock())
}

// SinkTLS is the configuration of the audit sink: callers must show a client
// certificate of the sink CA. It follows renewals of both sides by itself.
//
// While there is a token that is good, a caller may also come without certificate: his
// requests are to be asked for the token then. One that is shown is verified all the same.
func (m *Manager) SinkTLS() *tls.Config {
	config := m.ServerTLS()
	config.GetCertificate = nil
	return m.withClients(config, func(cur *current, now *tls.Config) {
		now.Certificates = []tls.Certificate{cur.sinkCertificate}
		now.ClientCAs = cur.sinkClients
		if cur.tokens.good(m.store.opts.Clock()) {
			now.ClientAuth = tls.VerifyClientCertIfGiven
		}
	})
}

// withClients has callers show certificates; change makes a configuration that of what is in force.
func (m *Manager) withClients(config *tls.Config, change func(*current, *tls.Config)) *tls.Config {
	config.ClientAuth = tls.RequireAndVerifyClientCert
	// A resumed session would skip the check of the client's certificate.
	config.SessionTicketsDisabled = true
	base := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		cur := m.current.Load()
		if cur == nil {
			return nil, errNotReady
		}
		now := base.Clone()
		change(cur, now)
		return now, nil
	}
	return config
}
