package notify

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// The secrets of the tests. None of them was ever anybody's.
const (
	jwt     = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJlLW9mLW5vYm9keQ"
	hunter2 = "hunter2hunter2"
)

func TestRedactArgs(t *testing.T) {
	for _, tt := range []struct {
		name     string
		in, want string // separated by |
	}{
		{"nothing to hide", "cat|/var/run/secrets/kubernetes.io/serviceaccount/token", "cat|/var/run/secrets/kubernetes.io/serviceaccount/token"},
		{"bearer token", "curl|-H|Authorization: Bearer " + jwt + "|https://kubernetes.default.svc/api", "curl|-H|Authorization: Bearer [redacted]|https://kubernetes.default.svc/api"},
		{"bearer token that is no JWT", "curl|-HAuthorization: bearer " + hunter2, "curl|-HAuthorization: bearer [redacted]"},
		{"basic", "curl|-H|authorization: Basic aHVudGVyMjpodW50ZXIy", "curl|-H|authorization: Basic [redacted]"},
		{"in a script", "sh|-c|curl -H \"Authorization: Bearer " + hunter2 + "\" https://x && id", "sh|-c|curl -H \"Authorization: Bearer [redacted]\" https://x && id"},
		{"a shell's expansion is evidence", "sh|-c|TOKEN=$(cat /run/token); curl -H \"Authorization: Bearer $TOKEN\" https://x", "sh|-c|TOKEN=$(cat /run/token); curl -H \"Authorization: Bearer $TOKEN\" https://x"},
		{"backquotes too", "sh|-c|TOKEN=`cat /run/token`", "sh|-c|TOKEN=`cat /run/token`"},
		{"a JWT anywhere", "echo|x" + "=" + jwt + ",|" + jwt, "echo|x=[redacted],|[redacted]"},
		{"cookie", "curl|-H|Cookie: a=" + hunter2 + "; b=2", "curl|-H|Cookie: [redacted]"},
		{"vault header", "curl|-H|X-Vault-Token: " + hunter2, "curl|-H|X-Vault-Token: [redacted]"},
		{"api key header", "wget|--header=X-Api-Key: " + hunter2, "wget|--header=X-Api-Key: [redacted]"},
		{"password in a URL", "git|clone|https://alice:" + hunter2 + "@git.example/x", "git|clone|https://alice:[redacted]@git.example/x"},
		{"password with an at sign in a URL", "psql|postgres://alice:p@ss@db:5432/x", "psql|postgres://alice:[redacted]@db:5432/x"},
		{"token as the user of a URL", "git|clone|https://0123456789abcdef0123@git.example/x", "git|clone|https://[redacted]@git.example/x"},
		{"a port is no password", "curl|http://10.0.0.1:8080/x@y", "curl|http://10.0.0.1:8080/x@y"},
		{"flag and value", "x|--password|" + hunter2 + "|--user-token|a b|--verbose", "x|--password|[redacted]|--user-token|[redacted]|--verbose"},
		{"flag with value", "x|--password=" + hunter2 + "|--api-key=" + hunter2, "x|--password=[redacted]|--api-key=[redacted]"},
		{"flag without value", "x|--token|--other|value", "x|--token|--other|value"},
		{"flag that names a file", "x|--token-file|/run/t|--token-auth-file=/run/t", "x|--token-file|/run/t|--token-auth-file=[redacted]"},
		{"flag with an expansion", "x|--token|$TOKEN", "x|--token|$TOKEN"},
		{"variables", "env|AWS_SECRET_ACCESS_KEY=" + hunter2 + "|PGPASSWORD=" + hunter2 + "|HOME=/root", "env|AWS_SECRET_ACCESS_KEY=[redacted]|PGPASSWORD=[redacted]|HOME=/root"},
		{"JSON", `curl|-d|{"user":"alice","password":"` + hunter2 + `"}`, `curl|-d|{"user":"alice","password":"[redacted]"}`},
		{"parameters of a URL", "curl|https://x/?a=1&access_token=" + hunter2 + "&b=2", "curl|https://x/?a=1&access_token=[redacted]&b=2"},
		{"curl -u", "curl|-u|alice:" + hunter2 + "|https://x", "curl|-u|alice:[redacted]|https://x"},
		{"curl -u, joined", "/usr/bin/curl|-ualice:" + hunter2, "/usr/bin/curl|-ualice:[redacted]"},
		{"ids are no password", "docker|run|-u|1000:1000|x", "docker|run|-u|1000:1000|x"},
		{"mysql", "mysql|-uroot|-p" + hunter2, "mysql|-uroot|-p[redacted]"},
		{"mysql that asks", "mysql|-uroot|-p", "mysql|-uroot|-p"},
		{"sshpass", "sshpass|-p|" + hunter2 + "|ssh|x", "sshpass|-p|[redacted]|ssh|x"},
		{"a port", "ssh|-p|2222|x", "ssh|-p|2222|x"},
		{"redis", "redis-cli|-a|" + hunter2 + "|ping", "redis-cli|-a|[redacted]|ping"},
		{"tokens of services", "x|ghp_0123456789abcdefghij0123|glpat-0123456789abcdefghij|hvs.0123456789abcdefghij0", "x|[redacted]|[redacted]|[redacted]"},
		{"private key", "sh|-c|echo '-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----' > k", "sh|-c|echo '[redacted]' > k"},
		{"half a private key", "echo|-----BEGIN PRIVATE KEY-----\nMHcCAQ", "echo|[redacted]"},
		{"kubectl from literal", "kubectl|create|secret|generic|x|--from-literal=password=" + hunter2, "kubectl|create|secret|generic|x|--from-literal=password=[redacted]"},
		{"no arguments", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := newRedactor().args(strings.Split(tt.in, "|"))
			if diff := cmp.Diff(strings.Split(tt.want, "|"), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := newRedactor().args(nil); len(got) != 0 {
		t.Errorf("nothing becomes %q", got)
	}
}

func TestRedactURI(t *testing.T) {
	for in, want := range map[string]string{
		"/api/v1/namespaces/shop/secrets/db-password":                                               "/api/v1/namespaces/shop/secrets/db-password",
		"/api/v1/pods?watch=true&resourceVersion=5":                                                 "/api/v1/pods?watch=true&resourceVersion=5",
		"/exec?command=curl&command=-H&command=Authorization%3A+Bearer+" + hunter2 + "&stdout=true": "/exec?command=curl&command=-H&command=Authorization%3A+Bearer+%5Bredacted%5D&stdout=true",
		"/exec?command=x&stdout=true&command=--password&command=" + hunter2:                         "/exec?command=x&stdout=true&command=--password&command=%5Bredacted%5D",
		"/exec?command=sh&command=-c&command=id%20%26%26%20ls":                                      "/exec?command=sh&command=-c&command=id%20%26%26%20ls",
		"/proxy?access_token=" + hunter2 + "&x":                                                     "/proxy?access_token=%5Bredacted%5D&x",
		"/exec?command=%zz&command=" + jwt:                                                          "/exec?command=%zz&command=%5Bredacted%5D",
		"/proxy/" + jwt + "?":                                                                       "/proxy/[redacted]?",
		"":                                                                                          "",
	} {
		if got := newRedactor().uri(in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestRedactTakesBoundedTime(t *testing.T) {
	r := newRedactor()
	for _, s := range []string{
		strings.Repeat("token", 1<<20), strings.Repeat("a://", 1<<20), strings.Repeat("eyJ", 1<<20),
		strings.Repeat("-----BEGIN PRIVATE KEY-----", 1<<16), strings.Repeat("password=", 1<<20),
	} {
		if got := r.text(s); len(got) > 2*maxSearched {
			t.Errorf("%.20q… makes %d bytes", s, len(got))
		}
	}
}

// FuzzRedact holds that a secret after its announcement never comes out, whatever
// stands around it.
func FuzzRedact(f *testing.F) {
	f.Add("curl -H '", "' https://x")
	f.Add("", "&a=b")
	f.Add("x=1;export ", "\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		if len(before)+len(after) > 4<<10 || !utf8.ValidString(before) || !utf8.ValidString(after) {
			return
		}
		// Whatever ends the word before it, an assignment follows.
		text := before + " DB_PASSWORD=" + hunter2 + " " + after
		r := newRedactor()
		if got := r.text(text); strings.Contains(got, hunter2) && !strings.Contains(before+after, hunter2) {
			t.Errorf("%q keeps the password: %q", text, got)
		}
		if got := r.args([]string{"sh", "-c", text}); strings.Contains(got[2], hunter2) && !strings.Contains(before+after, hunter2) {
			t.Errorf("%q keeps the password as an argument: %q", text, got)
		}
		r.uri(text) // must not panic
	})
}
