package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// backdate is how long before now a certificate starts to be valid, for callers
// whose clock is behind. It is also by how much the clock of whoever made one may
// have been ahead of ours; see ahead.
const backdate = 5 * time.Minute

// CA is a certificate authority: the certificate and key that sign, and the
// bundle of all certificates that are to be trusted.
type CA struct {
	signer *x509.Certificate
	key    crypto.Signer
	bundle Bundle
}

// NewCA makes an authority with a new key, valid from now for lifetime.
func NewCA(commonName string, now time.Time, lifetime time.Duration) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	cert, err := selfSign(x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{"portcullis.dev"}},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves only
	}, key, now, lifetime)
	if err != nil {
		return nil, err
	}
	return &CA{signer: cert, key: key, bundle: Bundle{cert}}, nil
}

// again is the same authority with another certificate, valid from now for
// lifetime. Key and name stay: what was signed before is good by either
// certificate, and who trusts only the old one trusts what is signed from now on,
// as soon as the old one is valid. The old one stays in the bundle.
func (ca *CA) again(now time.Time, lifetime time.Duration) (*CA, error) {
	cert, err := selfSign(*ca.signer, ca.key, now, lifetime)
	if err != nil {
		return nil, err
	}
	return &CA{signer: cert, key: ca.key, bundle: slices.Concat(Bundle{cert}, ca.bundle)}, nil
}

// selfSigned reports whether the authority's certificate is by itself.
func (ca *CA) selfSigned() bool { return ca.signer.CheckSignatureFrom(ca.signer) == nil }

// selfSign makes the certificate of an authority, valid from now for lifetime.
func selfSign(template x509.Certificate, key crypto.Signer, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	template.SerialNumber = nil // a random one
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the CA certificate: %w", err)
	}
	return cert, nil
}

// ParseCA reads an authority from PEM: a bundle and the private key that belongs
// to one of its certificates.
func ParseCA(bundle, key []byte) (*CA, error) {
	certs, err := ParseBundle(bundle)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	signing, err := parseKey(key)
	if err != nil {
		return nil, fmt.Errorf("read CA key: %w", err)
	}
	public, ok := signing.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("read CA key: keys of type %T are not supported", signing)
	}
	i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return public.Equal(c.PublicKey) })
	switch {
	case i < 0:
		return nil, fmt.Errorf("the CA key belongs to none of the %d certificates", len(certs))
	case !certs[i].IsCA:
		return nil, fmt.Errorf("the certificate of %q is not a CA's", certs[i].Subject.CommonName)
	}
	return &CA{signer: certs[i], key: signing, bundle: certs}, nil
}

// Certificate is the signing certificate. Callers must not change it.
func (ca *CA) Certificate() *x509.Certificate { return ca.signer }

// Bundle is what to trust. Callers must not change it.
func (ca *CA) Bundle() Bundle { return ca.bundle }

// KeyPEM is the authority's private key as text: the one place where it leaves the CA.
func (ca *CA) KeyPEM() ([]byte, error) { return encodeKey(ca.key) }

// Format writes whose authority it is, whatever the verb.
func (ca *CA) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, describe("CA", ca.signer)) }

// LogValue is what Format writes.
func (ca *CA) LogValue() slog.Value { return slog.StringValue(describe("CA", ca.signer)) }

// IssueServer issues a server certificate for DNS names and IP addresses, valid
// from now for lifetime or until the authority itself ends.
func (ca *CA) IssueServer(commonName string, names []string, now time.Time, lifetime time.Duration) (*Pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(names) == 0 {
		return nil, errors.New("a server certificate needs at least one name")
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
			return nil, fmt.Errorf("%.80q is neither an IP address nor a DNS name: %s", name, msgs[0])
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	return ca.issue(template, now, lifetime)
}

// IssueClient issues a client certificate for that common name.
func (ca *CA) IssueClient(commonName string, now time.Time, lifetime time.Duration) (*Pair, error) {
	// RFC 5280 gives a common name 64 characters.
	if commonName == "" || len(commonName) > 64 {
		return nil, fmt.Errorf("common name %.80q must have 1 to 64 characters", commonName)
	}
	return ca.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now, lifetime)
}

func (ca *CA) issue(template *x509.Certificate, now time.Time, lifetime time.Duration) (*Pair, error) {
	if lifetime <= 0 {
		return nil, fmt.Errorf("a lifetime of %s is not positive", lifetime)
	}
	if !now.Before(ca.signer.NotAfter) {
		return nil, fmt.Errorf("the CA of %q expired at %s", ca.signer.Subject.CommonName, ca.signer.NotAfter.Format(time.RFC3339))
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(lifetime)
	if template.NotAfter.After(ca.signer.NotAfter) {
		template.NotAfter = ca.signer.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, ca.signer, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %q: %w", template.Subject.CommonName, err)
	}
	return newPair(der, key)
}
