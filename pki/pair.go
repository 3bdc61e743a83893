package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// Pair is a certificate with its private key. It prints and logs as what it is
// for; the key is only to be had from KeyPEM and WriteFiles.
type Pair struct {
	leaf        *x509.Certificate
	certificate []byte
	key         []byte
}

// newPair makes a Pair of a certificate and the key that it was issued for.
func newPair(der []byte, key crypto.Signer) (*Pair, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the issued certificate: %w", err)
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return &Pair{leaf: leaf, certificate: encodeCertificate(der), key: text}, nil
}

// parsePair reads a certificate and its key, and fails unless they belong together.
func parsePair(certificate, key []byte) (*Pair, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("read certificate and key: %w", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	return &Pair{leaf: leaf, certificate: certificate, key: key}, nil
}

// Certificate is the parsed certificate. Callers must not change it.
func (p *Pair) Certificate() *x509.Certificate { return p.leaf }

// CertificatePEM is the certificate as text.
func (p *Pair) CertificatePEM() []byte { return p.certificate }

// KeyPEM is the private key as text: the one place where it leaves the Pair.
func (p *Pair) KeyPEM() []byte { return p.key }

// TLS is the pair as crypto/tls wants it.
func (p *Pair) TLS() (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(p.certificate, p.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("use certificate and key: %w", err)
	}
	return pair, nil
}

// WriteFiles writes certificate and key to two files. Both are replaced in one
// step each, so that a reader never sees half a file; only their owner can read
// the key.
func (p *Pair) WriteFiles(certificate, key string) error {
	if err := replaceFile(key, p.key, 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := replaceFile(certificate, p.certificate, 0o644); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

// Format writes what the pair is for, whatever the verb: a key must not get
// into a log by way of %v or %x.
func (p *Pair) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, describe("certificate and key", p.leaf))
}

// LogValue is what Format writes.
func (p *Pair) LogValue() slog.Value {
	return slog.StringValue(describe("certificate and key", p.leaf))
}

func describe(what string, cert *x509.Certificate) string {
	if cert == nil {
		return what
	}
	return fmt.Sprintf("%s of %q", what, cert.Subject.CommonName)
}

// replaceFile makes name a file with that content and mode, complete from the
// moment it can be seen. The file is made anew, so that an older one with wider
// permissions does not hand them on.
func replaceFile(name string, content []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".portcullis-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already where the rename succeeded
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der}), nil
}

// parseKey reads one private key. Its errors never hold what was read.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	var parsed any
	var err error
	switch block.Type {
	case pemPrivateKey:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case pemECKey:
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("PEM block is of type %.40q, want PRIVATE KEY or EC PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("PEM block of type %s does not hold a key", block.Type)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", parsed)
	}
	return key, nil
}
