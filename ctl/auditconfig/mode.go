package auditconfig

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// mode is how the API server sends its events.
type mode string

const (
	// batch: in the background.
	batch mode = "batch"
	// blocking: each request is answered once its event was taken.
	blocking mode = "blocking"
)

// String returns the flag's value.
func (m *mode) String() string { return string(*m) }

// Type names the flag's value in the help.
func (m *mode) Type() string { return "mode" }

// Set reads the flag's value.
func (m *mode) Set(text string) error {
	switch mode(text) {
	case batch, blocking:
		*m = mode(text)
		return nil
	case "blocking-strict":
		return errors.New("blocking-strict refuses every request while the sink is away, exec or not: use blocking")
	default:
		return errors.New("must be batch or blocking")
	}
}

// maxName: the name goes into a certificate's common name, of 64 characters.
const maxName = 64 - len("apiserver:")

// checkName: the name is part of a URL and of a certificate, and people read it in detections.
func checkName(name string) error {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return fmt.Errorf("--api-server %q: %s", name, problems[0])
	}
	if len(name) > maxName {
		return fmt.Errorf("--api-server %q: has %d characters, at most %d fit into its certificate", name, len(name), maxName)
	}
	return nil
}

// checkAddress accepts HOST:PORT where an API server can resolve HOST.
func checkAddress(address string) error {
	if address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--address %q: must be HOST:PORT, with an IPv6 address in brackets", address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("--address %q: %q is no port", address, port)
	}
	if net.ParseIP(host) != nil {
		return nil
	}
	if problems := validation.IsDNS1123Subdomain(host); len(problems) > 0 {
		return fmt.Errorf("--address %q: %q is neither an IP address nor a DNS name", address, host)
	}
	for _, suffix := range []string{".svc", ".cluster.local"} {
		if strings.HasSuffix(host, suffix) {
			return fmt.Errorf("--address %q: API servers do not resolve cluster DNS: give an IP address", address)
		}
	}
	return nil
}
