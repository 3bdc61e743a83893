package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTestCA(t testing.TB) *CA {
	t.Helper()
	ca, err := NewCA("test CA", start, 24*time.Hour)
	if err != nil {
		t.Fatalf("new CA: %v", err)
	}
	return ca
}

func keyOf(t testing.TB, ca *CA) []byte {
	t.Helper()
	text, err := ca.KeyPEM()
	if err != nil {
		t.Fatalf("encode CA key: %v", err)
	}
	return text
}

func TestServerCertificateVerifies(t *testing.T) {
	ca := newTestCA(t)
	pair, err := ca.IssueServer("portcullis", []string{"portcullis.portcullis.svc", "10.96.0.7", "fd00::7"}, start, time.Hour)
	if err != nil {
		t.Fatalf("issue: %v", err)
	}
	for _, name := range []string{"portcullis.portcullis.svc", "10.96.0.7", "fd00::7"} {
		if _, err := pair.Certificate().Verify(x509.VerifyOptions{
			DNSName: name, Roots: ca.Bundle().Pool(), CurrentTime: start,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	if _, err := pair.Certificate().Verify(x509.VerifyOptions{
		Roots: ca.Bundle().Pool(), CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err == nil {
		t.Error("the server's certificate also passes as a client's")
	}
}

func TestClientCertificateIsNoServers(t *testing.T) {
	ca := newTestCA(t)
	pair, err := ca.IssueClient("apiserver:cp-1", start, time.Hour)
	if err != nil {
		t.Fatalf("issue: %v", err)
	}
	options := x509.VerifyOptions{Roots: ca.Bundle().Pool(), CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := pair.Certificate().Verify(options); err != nil {
		t.Errorf("as a client's: %v", err)
	}
	options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if _, err := pair.Certificate().Verify(options); err == nil {
		t.Error("the client's certificate also passes as a server's")
	}
}

func TestLeafNeverOutlivesItsCA(t *testing.T) {
	ca := newTestCA(t)
	pair, err := ca.IssueClient("apiserver:cp-1", start, 365*24*time.Hour)
	if err != nil {
		t.Fatalf("issue: %v", err)
	}
	if got, want := pair.Certificate().NotAfter, ca.Certificate().NotAfter; !got.Equal(want) {
		t.Errorf("leaf ends %s, its CA %s", got, want)
	}
}

func TestIssueRefuses(t *testing.T) {
	ca := newTestCA(t)
	server := func(names ...string) error {
		_, err := ca.IssueServer("portcullis", names, start, time.Hour)
		return err
	}
	client := func(cn string, now time.Time, lifetime time.Duration) error {
		_, err := ca.IssueClient(cn, now, lifetime)
		return err
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"no names":       {server(), "at least one name"},
		"odd name":       {server("a b"), "neither an IP address nor a DNS name"},
		"no CN":          {client("", start, time.Hour), "1 to 64"},
		"long CN":        {client(strings.Repeat("x", 65), start, time.Hour), "1 to 64"},
		"no lifetime":    {client("x", start, 0), "not positive"},
		"CA has expired": {client("x", start.Add(25*time.Hour), time.Hour), "expired at 2026-03-02"},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want one with %q", name, tc.err, tc.want)
		}
	}
}

func TestParseCARoundTrip(t *testing.T) {
	old, current := newTestCA(t), newTestCA(t)
	// The signing certificate need not come first.
	bundle := append(old.Bundle().PEM(), current.Bundle().PEM()...)
	ca, err := ParseCA(bundle, keyOf(t, current))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	if !ca.Certificate().Equal(current.Certificate()) {
		t.Error("another certificate signs than the one that the key belongs to")
	}
	if diff := cmp.Diff(string(bundle), string(ca.Bundle().PEM())); diff != "" {
		t.Errorf("the bundle changed (-want +got):\n%s", diff)
	}
}

func TestParseCARefuses(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	leaf, err := ca.IssueClient("x", start, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	good, key := ca.Bundle().PEM(), keyOf(t, ca)
	for name, tc := range map[string]struct {
		bundle, key []byte
		want        string
	}{
		"empty":         {nil, key, "no PEM block of type CERTIFICATE"},
		"not PEM":       {[]byte("hello"), key, "not PEM"},
		"text behind":   {append(bytes.Clone(good), "trailing"...), key, "after 1 certificates"},
		"key as bundle": {key, key, "want CERTIFICATE"},
		"broken DER":    {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key, "certificate 1"},
		"no key":        {good, nil, "read CA key: no PEM block"},
		"cert as key":   {good, good, "want PRIVATE KEY"},
		"broken key":    {good, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "does not hold a key"},
		"foreign key":   {good, keyOf(t, other), "belongs to none of the 1 certificates"},
		"leaf as CA":    {leaf.CertificatePEM(), leaf.KeyPEM(), "is not a CA's"},
		"too many":      {bytes.Repeat(good, maxBundle+1), key, "more than 64"},
	} {
		_, err := ParseCA(tc.bundle, tc.key)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, tc.want)
		}
		if err != nil && bytes.Contains([]byte(err.Error()), []byte("BEGIN")) {
			t.Errorf("%s: the error quotes what it read: %v", name, err)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	ca := newTestCA(t)
	pair, err := ca.IssueClient("apiserver:cp-1", start, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", pair, ca)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("issued", "pair", pair, "ca", ca)
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "KEY") || len(line) > 300 {
			t.Errorf("prints more than its purpose: %.200s", line)
		}
	}
	if !strings.Contains(out.String(), `certificate and key of "apiserver:cp-1"`) {
		t.Errorf("does not say what it is: %s", out.String())
	}
}

func TestWriteFiles(t *testing.T) {
	pair, err := newTestCA(t).IssueClient("apiserver:cp-1", start, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if err = os.WriteFile(key, []byte("an older key that all may read"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err = pair.WriteFiles(cert, key); err != nil {
		t.Fatalf("write: %v", err)
	}
	info, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v", info.Mode())
	}
	text, err := os.ReadFile(key)
	if err != nil || !bytes.Equal(text, pair.KeyPEM()) {
		t.Errorf("the key was not replaced (%v)", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
	if err := pair.WriteFiles(cert, filepath.Join(dir, "missing", "tls.key")); err == nil || !strings.HasPrefix(err.Error(), "write key:") {
		t.Errorf("writing into a missing folder: %v", err)
	}
}
