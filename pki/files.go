package pki

import (
	"fmt"
	"io"
	"os"
)

// maxFile bounds what is read of a file of certificates.
const maxFile = 1 << 20

// Files are a server certificate that somebody else issues and renews, such as cert-manager: they
// are read again at every check. Certificate holds the chain.
type Files struct {
	Certificate, Key string
	// CA is what clients are told to trust. Where it is empty, nobody is told anything: whoever issues the certificate
	// does that too (as cert-manager's CA injector), or everybody trusts its CA anyway.
	CA string
}

// IsZero reports whether the certificate is not somebody else's.
func (f Files) IsZero() bool { return f == Files{} }

func (f Files) validate(option string) error {
	if !f.IsZero() && (f.Certificate == "" || f.Key == "") {
		return fmt.Errorf("pki: Options.%s must have both a certificate and a key", option)
	}
	return nil
}

// read returns what the files hold now. Certificate and key must belong together: while they are being replaced
// they may not, for a moment.
func (f Files) read() (Serving, error) {
	certificate, err := readFile(f.Certificate)
	if err != nil {
		return Serving{}, err
	}
	key, err := readFile(f.Key)
	if err != nil {
		return Serving{}, err
	}
	pair, err := parsePair(certificate, key)
	if err != nil {
		return Serving{}, fmt.Errorf("%s, %s: %w", f.Certificate, f.Key, err)
	}
	trust, err := readBundle(f.CA)
	return Serving{Pair: pair, Trust: trust}, err
}

// readBundle reads a file of CA certificates; without one there are none.
func readBundle(name string) (Bundle, error) {
	if name == "" {
		return nil, nil
	}
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	bundle, err := ParseBundle(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return bundle, nil
}

// readFile reads a small file. Its errors never hold what was read.
func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return text, nil
}
