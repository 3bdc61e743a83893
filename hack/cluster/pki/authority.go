package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// Validity is how long every certificate lives.
const Validity = 365 * 24 * time.Hour

// skew lets a certificate be used by a process whose clock is a little behind.
const skew = 5 * time.Minute

// A Pair is a certificate and its private key, both PEM.
type Pair struct {
	Cert, Key []byte
}

// An Authority signs certificates.
type Authority struct {
	pair Pair
	cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// A Request says what to certify.
type Request struct {
	// CommonName is the user or server name, Organizations the groups.
	CommonName    string
	Organizations []string
	// Hosts are DNS names and IP addresses of a server. With none, the certificate is a client's.
	Hosts []string
}

// NewAuthority makes a new certificate authority. The clock dates its certificates.
func NewAuthority(now func() time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate authority key: %w", err)
	}
	template, err := template(now(), pkix.Name{CommonName: "portcullis-test-ca"})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	pair, err := sign(template, template, key, key)
	if err != nil {
		return nil, fmt.Errorf("sign authority: %w", err)
	}
	return parse(pair, now)
}

// LoadAuthority reads the authority that an earlier [Authority.Save] wrote.
func LoadAuthority(certPath, keyPath string, now func() time.Time) (*Authority, error) {
	cert, err := os.ReadFile(certPath)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	key, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	return parse(Pair{Cert: cert, Key: key}, now)
}

func parse(pair Pair, now func() time.Time) (*Authority, error) {
	certBlock, _ := pem.Decode(pair.Cert)
	keyBlock, _ := pem.Decode(pair.Key)
	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("parse authority: not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse authority: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse authority key: %w", err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("parse authority key: it cannot sign")
	}
	return &Authority{pair: pair, cert: cert, key: key, now: now}, nil
}

// Cert is the authority's certificate, PEM.
func (a *Authority) Cert() []byte { return a.pair.Cert }

// Save writes the authority for [LoadAuthority].
func (a *Authority) Save(certPath, keyPath string) error { return a.pair.Save(certPath, keyPath) }

// Issue makes a key and certifies it.
func (a *Authority) Issue(r Request) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("generate key for %s: %w", r.CommonName, err)
	}
	template, err := template(a.now(), pkix.Name{CommonName: r.CommonName, Organization: r.Organizations})
	if err != nil {
		return Pair{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(r.Hosts) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, host := range r.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	pair, err := sign(template, a.cert, key, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign %s: %w", r.CommonName, err)
	}
	return pair, nil
}

// Save writes the certificate for all to read and the key for its owner only.
func (p Pair) Save(certPath, keyPath string) error {
	if err := os.WriteFile(certPath, p.Cert, 0o644); err != nil { //nolint:gosec // a certificate is public
		return fmt.Errorf("save certificate: %w", err)
	}
	if err := os.WriteFile(keyPath, p.Key, 0o600); err != nil {
		return fmt.Errorf("save key: %w", err)
	}
	return nil
}

// SigningKey makes the key pair that the API server signs service account tokens with, as PEM.
func SigningKey() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate signing key: %w", err)
	}
	private, err = encodeKey(key)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	return private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func template(now time.Time, subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(Validity),
	}, nil
}

func sign(template, parent *x509.Certificate, key, parentKey crypto.Signer) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return Pair{}, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: keyPEM}, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
