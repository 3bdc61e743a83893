package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/portcullis-dev/portcullis/hack/cluster/pki"
)

func fixed() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

func newAuthority(tb testing.TB) *pki.Authority {
	tb.Helper()
	authority, err := pki.NewAuthority(fixed)
	if err != nil {
		tb.Fatal(err)
	}
	return authority
}

func certificate(tb testing.TB, text []byte) *x509.Certificate {
	tb.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		tb.Fatal("not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func verify(tb testing.TB, authority *pki.Authority, pair pki.Pair, host string, usage x509.ExtKeyUsage) error {
	tb.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.Cert())
	_, err := certificate(tb, pair.Cert).Verify(x509.VerifyOptions{
		Roots: roots, DNSName: host, CurrentTime: fixed().Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

func TestIssueServer(t *testing.T) {
	authority := newAuthority(t)
	pair, err := authority.Issue(pki.Request{CommonName: "server", Hosts: []string{"localhost", "10.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "10.0.0.1"} {
		if err := verify(t, authority, pair, host, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("as %s: %v", host, err)
		}
	}
	if verify(t, authority, pair, "10.0.0.2", x509.ExtKeyUsageServerAuth) == nil {
		t.Error("it is valid for an address that was not asked for")
	}
	if verify(t, authority, pair, "", x509.ExtKeyUsageClientAuth) == nil {
		t.Error("a server's certificate works as a client's")
	}
	if _, err := tls.X509KeyPair(pair.Cert, pair.Key); err != nil {
		t.Errorf("certificate and key do not belong together: %v", err)
	}
}

func TestIssueClient(t *testing.T) {
	authority := newAuthority(t)
	pair, err := authority.Issue(pki.Request{CommonName: "alice", Organizations: []string{"devs", "ops"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, authority, pair, "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if verify(t, newAuthority(t), pair, "", x509.ExtKeyUsageClientAuth) == nil {
		t.Error("another authority vouches for it")
	}
	subject := certificate(t, pair.Cert).Subject
	slices.Sort(subject.Organization) // a certificate has them as a set
	if diff := cmp.Diff([]string{"devs", "ops"}, subject.Organization); diff != "" || subject.CommonName != "alice" {
		t.Errorf("subject %v", subject)
	}
}

func TestSaveAndLoad(t *testing.T) {
	authority := newAuthority(t)
	cert, key := filepath.Join(t.TempDir(), "ca.crt"), filepath.Join(t.TempDir(), "ca.key")
	if err := authority.Save(cert, key); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v (%v), want 0600", info.Mode(), err)
	}
	loaded, err := pki.LoadAuthority(cert, key, fixed)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := loaded.Issue(pki.Request{CommonName: "late"})
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, authority, pair, "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("what the loaded authority signs: %v", err)
	}
	if err := os.WriteFile(key, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadAuthority(cert, key, fixed); err == nil {
		t.Error("a key that is no key was loaded")
	}
}

func TestWriteKubeconfigIsReadByClientGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	authority := newAuthority(t)
	if err := authority.WriteKubeconfig(path, "https://10.0.0.1:6443", pki.Request{CommonName: "alice"}); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://10.0.0.1:6443" || string(config.CAData) != string(authority.Cert()) {
		t.Errorf("host %q or authority differ", config.Host)
	}
	if name := certificate(t, config.CertData).Subject.CommonName; name != "alice" {
		t.Errorf("the certificate is %q's", name)
	}
}

func TestSigningKey(t *testing.T) {
	private, public, err := pki.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string][]byte{"PRIVATE KEY": private, "PUBLIC KEY": public} {
		if block, _ := pem.Decode(text); block == nil || block.Type != what {
			t.Errorf("not a PEM %s", what)
		}
	}
}
