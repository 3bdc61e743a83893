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

// ServingTrust is what clients trust the endpoints by; nil before Ensure.
func (m *Manager) ServingTrust() Bundle {
	if cur := m.current.Load(); cur != nil {
		return cur.serving
	}
	return nil
}

// SinkTrust is what the audit sink trusts client certificates by; nil before Ensure.
func (m *Manager) SinkTrust() Bundle {
	if cur := m.current.Load(); cur != nil {
		return cur.sink
	}
	return nil
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
	config.ClientAuth = tls.RequireAndVerifyClientCert
	// A resumed session would skip the check of the client's certificate.
	config.SessionTicketsDisabled = true
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		cur := m.current.Load()
		if cur == nil {
			return nil, errNotReady
		}
		now := config.Clone()
		now.GetConfigForClient = nil
		now.ClientCAs = cur.sinkPool
		if cur.tokens.good(m.store.opts.Clock()) {
			now.ClientAuth = tls.VerifyClientCertIfGiven
		}
		return now, nil
	}
	return config
}
