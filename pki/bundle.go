package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
	pemECKey       = "EC PRIVATE KEY"
)

// maxBundle bounds how many certificates are read from one PEM text.
const maxBundle = 64

// Bundle is a list of trusted CA certificates: one in ordinary times, several
// while one authority takes over from another.
type Bundle []*x509.Certificate

// ParseBundle reads all certificates of a PEM text. A text without any is an
// error, as is a block that is not a certificate.
func ParseBundle(text []byte) (Bundle, error) {
	var b Bundle
	for rest := text; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && len(bytes.TrimSpace(rest)) > 0:
			return nil, fmt.Errorf("after %d certificates: what follows is not PEM", len(b))
		case block == nil && len(b) == 0:
			return nil, errors.New("no PEM block of type CERTIFICATE")
		case block == nil:
			return b, nil
		case block.Type != pemCertificate:
			return nil, fmt.Errorf("PEM block %d is of type %.40q, want CERTIFICATE", len(b)+1, block.Type)
		case len(b) == maxBundle:
			return nil, fmt.Errorf("more than %d certificates", maxBundle)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(b)+1, err)
		}
		b = append(b, cert)
	}
}

// PEM is the bundle as text.
func (b Bundle) PEM() []byte {
	var text bytes.Buffer
	for _, cert := range b {
		text.Write(encodeCertificate(cert.Raw))
	}
	return text.Bytes()
}

// WriteFile writes the bundle to a file that everybody may read. The file is replaced in one step: who
// reads it meanwhile finds the old or the new one.
func (b Bundle) WriteFile(name string) error {
	if err := replaceFile(name, b.PEM(), 0o644); err != nil {
		return fmt.Errorf("write CA certificates: %w", err)
	}
	return nil
}

// Pool is the bundle as crypto/tls wants it.
func (b Bundle) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range b {
		pool.AddCert(cert)
	}
	return pool
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})
}
