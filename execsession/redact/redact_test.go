package redact_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/execsession/redact"
)

func TestArgs(t *testing.T) {
	t.Parallel()
	r := redact.Default()
	jwt := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"
	for _, tt := range []struct{ args, want []string }{
		{[]string{"psql", "--password", "hunter2", "-h", "db"}, []string{"psql", "--password", "[redacted]", "-h", "db"}},
		{[]string{"app", "--db-password=hunter2"}, []string{"app", "--db-password=[redacted]"}},
		{[]string{"app", "-token", "abc"}, []string{"app", "-token", "[redacted]"}},
		{[]string{"app", "--token", "--verbose"}, []string{"app", "--token", "--verbose"}},
		{[]string{"env", "PGPASSWORD=hunter2", "psql"}, []string{"env", "PGPASSWORD=[redacted]", "psql"}},
		{[]string{"sh", "-c", "export API_KEY='a b'; run --secret x y"}, []string{"sh", "-c", "export API_KEY=[redacted]; run --secret [redacted] y"}},
		{[]string{"curl", "-u", "alice:hunter2", "https://x"}, []string{"curl", "-u", "alice:[redacted]", "https://x"}},
		{[]string{"curl", "https://alice:hunter2@host/path"}, []string{"curl", "https://alice:[redacted]@host/path"}},
		{[]string{"curl", "https://host/?a=1&access_token=abc&b=2"}, []string{"curl", "https://host/?a=1&access_token=[redacted]&b=2"}},
		{[]string{"curl", "-H", "Authorization: Bearer abcdefgh"}, []string{"curl", "-H", "Authorization: Bearer [redacted]"}},
		{[]string{"curl", "-H", "X-Vault-Token: s.abc"}, []string{"curl", "-H", "X-Vault-Token: [redacted]"}},
		{[]string{"curl", "-H", "X-Custom: " + jwt}, []string{"curl", "-H", "X-Custom: [redacted]"}},
		{[]string{"echo", "AKIAIOSFODNN7EXAMPLE"}, []string{"echo", "[redacted]"}},
		{[]string{"mysql", "-phunter2", "-uroot"}, []string{"mysql", "-p[redacted]", "-uroot"}},
		{[]string{"sshpass", "-p", "hunter2", "ssh", "h"}, []string{"sshpass", "-p", "[redacted]", "ssh", "h"}},
		{[]string{"git", "clone", "https://x:ghp_abcdefghijklmnopqrstuvwxyz@github.com/a"}, []string{"git", "clone", "https://x:[redacted]@github.com/a"}},
		// Nothing secret.
		{[]string{"mkdir", "-p", "/tmp/a"}, []string{"mkdir", "-p", "/tmp/a"}},
		{[]string{"cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"}, []string{"cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"}},
		{[]string{"curl", "https://host:8443/api/v1/namespaces/shop/secrets"}, []string{"curl", "https://host:8443/api/v1/namespaces/shop/secrets"}},
		{[]string{"ls", "-l", "passwords.txt"}, []string{"ls", "-l", "passwords.txt"}},
		{nil, nil},
	} {
		if diff := cmp.Diff(tt.want, r.Args(tt.args)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.args, diff)
		}
	}
}

func TestPrivateKeys(t *testing.T) {
	t.Parallel()
	got := redact.Default().Text("echo '-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----' > k")
	if strings.Contains(got, "MIIabc") || !strings.HasSuffix(got, "-----END RSA PRIVATE KEY-----' > k") {
		t.Errorf("%q", got)
	}
}

func TestArgumentsWithoutSecretsAreNotCopied(t *testing.T) {
	t.Parallel()
	args := []string{"ls", "-l"}
	if got := redact.Default().Args(args); &got[0] != &args[0] {
		t.Error("they were copied")
	}
}

// FuzzText: what is redacted has nothing more to redact, and a secret behind a flag never stays.
func FuzzText(f *testing.F) {
	r := redact.Default()
	f.Add("--password=x https://a:b@c Authorization: Bearer abcdefgh")
	f.Add("token='a' AKIAIOSFODNN7EXAMPLE")
	f.Fuzz(func(t *testing.T, text string) {
		once := r.Text(text)
		if len(once) > len(text)+len(redact.Mask)*(len(text)+1) {
			t.Errorf("%q became %d bytes", text, len(once))
		}
		args := r.Args([]string{"app", "--password", "Secr3t" + strings.Trim(text, "-")})
		if strings.Contains(args[2], "Secr3t") {
			t.Errorf("%q", args)
		}
	})
}
