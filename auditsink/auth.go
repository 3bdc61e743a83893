package auditsink

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Tokens knows the bearer tokens of API servers that have no client certificate.
type Tokens interface {
	// CheckSinkToken reports until when a token proves that its bearer is that API
	// server; ok is false if it does not. It takes as long for any token.
	CheckSinkToken(apiServer, token string) (expires time.Time, ok bool)
}

// authenticate returns the API server's name, which is the path's and which the client has proved.
func (h *Handler) authenticate(r *http.Request) (string, *refusal) {
	name, ok := strings.CutPrefix(r.URL.Path, PathPrefix)
	if !ok || !validName(name) {
		return "", &refusal{http.StatusNotFound, reasonPath,
			fmt.Errorf("path %s is not %s<API server name>", quote(r.URL.Path), PathPrefix)}
	}
	var refused *refusal
	switch {
	case r.TLS == nil:
		refused = forbidden(errors.New("this is served over TLS only"))
	case len(r.TLS.PeerCertificates) > 0:
		// Whoever shows a certificate is judged by it alone.
		refused = h.checkCertificate(r, name)
	default:
		refused = h.checkToken(r, name)
	}
	if refused != nil {
		return "", refused
	}
	return name, nil
}

func forbidden(err error) *refusal { return &refusal{http.StatusForbidden, reasonCertificate, err} }

func (h *Handler) checkCertificate(r *http.Request, name string) *refusal {
	if len(r.TLS.VerifiedChains) == 0 {
		return forbidden(errors.New("a client certificate of the sink CA is needed"))
	}
	cert := r.TLS.PeerCertificates[0]
	if want := ClientCommonName(name); cert.Subject.CommonName != want {
		return forbidden(fmt.Errorf("path %s needs a certificate of %q, this one is of %s",
			quote(r.URL.Path), want, quote(cert.Subject.CommonName)))
	}
	// Connections live long: the certificate may have ended since the handshake.
	if now := h.opts.Wall(); now.After(cert.NotAfter) {
		return forbidden(fmt.Errorf("the certificate of %q expired at %s", cert.Subject.CommonName, cert.NotAfter.Format(time.RFC3339)))
	}
	h.metrics.clientCert.WithLabelValues(name).Set(float64(cert.NotAfter.Unix()))
	return nil
}

// checkToken looks at each request's token anew: one that has been taken back ends at once, whatever the
// age of the connection.
func (h *Handler) checkToken(r *http.Request, name string) *refusal {
	if h.opts.Tokens == nil {
		return forbidden(errors.New("a client certificate of the sink CA is needed"))
	}
	// Nothing of what was shown gets into the error: it is logged, and may be the token of another API server.
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return &refusal{http.StatusUnauthorized, reasonToken, errors.New("a client certificate of the sink CA is needed, or a token")}
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return &refusal{http.StatusUnauthorized, reasonToken, errors.New("one Authorization header with a bearer token is needed")}
	}
	expires, ok := h.opts.Tokens.CheckSinkToken(name, token)
	if !ok {
		return &refusal{http.StatusUnauthorized, reasonToken,
			fmt.Errorf("the token is none of the API server %q, or has expired: portcullisctl audit config makes a new one", name)}
	}
	h.metrics.clientToken.WithLabelValues(name).Set(float64(expires.Unix()))
	return nil
}

// ClientCommonName is the common name of the certificate that an API server of
// that name has to show.
func ClientCommonName(apiServer string) string { return "apiserver:" + apiServer }

// validName accepts what can be the name of an API server: lower case letters,
// digits, dashes and dots.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}
