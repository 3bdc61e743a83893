package auditconfig

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/portcullis-dev/portcullis/pki"
)

// execute runs the command as a user would.
func execute(t *testing.T, c client.WithWatch, args ...string) (stdout string, err error) {
	t.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	command := New(Options{
		Connect:   func() (client.WithWatch, error) { return c, nil },
		Namespace: func(fallback string) string { return fallback },
		Streams:   streams,
	})
	command.SetArgs(args)
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetOut(out)
	err = command.ExecuteContext(t.Context())
	return out.String(), err
}

// installed is a cluster after helm install and the server's first start.
func installed(t *testing.T) client.WithWatch {
	t.Helper()
	c := fake.NewClientBuilder().WithObjects(
		secret("portcullis-serving"), secret("portcullis-sink-ca"), secret("portcullis-sink-tokens"),
		service("10.0.0.17"),
	).Build()
	if _, err := store(t, c).EnsureSink(t.Context(), []string{"portcullis.portcullis.svc"}); err != nil {
		t.Fatal(err)
	}
	return c
}

func store(t *testing.T, c client.Client) *pki.Store {
	t.Helper()
	s, err := pki.NewStore(pki.StoreOptions{
		Client: c, Namespace: DefaultNamespace, ServingSecret: "portcullis-serving", SinkCASecret: "portcullis-sink-ca",
		SinkTokensSecret: "portcullis-sink-tokens",
		Clock:            time.Now, Logger: discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func secret(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: DefaultNamespace}}
}

func service(ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "portcullis", Namespace: DefaultNamespace},
		Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{
			{Name: "webhook", Port: 443}, {Name: "audit", Port: 9443},
		}},
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	out, err := execute(t, installed(t), "--api-server", "cp-1", "--output-dir", dir, "--install-path", "/etc/kubernetes/portcullis/")
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{
		policyFile: 0o644, kubeconfigFile: 0o600, caFile: 0o644, certificateFile: 0o644, keyFile: 0o600,
	} {
		info, statErr := os.Stat(filepath.Join(dir, name))
		if statErr != nil {
			t.Error(statErr)
		} else if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), mode)
		}
	}
	if info, statErr := os.Stat(dir); statErr != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v", info, statErr)
	}

	file, err := clientcmd.LoadFromFile(filepath.Join(dir, kubeconfigFile))
	if err != nil {
		t.Fatal(err)
	}
	cluster := file.Clusters[file.Contexts[file.CurrentContext].Cluster]
	user := file.AuthInfos[file.Contexts[file.CurrentContext].AuthInfo]
	for what, got := range map[string][2]string{
		"server":      {cluster.Server, "https://10.0.0.17:9443/audit/cp-1"},
		"name":        {cluster.TLSServerName, "portcullis.portcullis.svc"},
		"authority":   {cluster.CertificateAuthority, "/etc/kubernetes/portcullis/ca.crt"},
		"certificate": {user.ClientCertificate, "/etc/kubernetes/portcullis/client.crt"},
		"key":         {user.ClientKey, "/etc/kubernetes/portcullis/client.key"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %s, want %s", what, got[0], got[1])
		}
	}
	if len(cluster.CertificateAuthorityData)+len(user.ClientCertificateData)+len(user.ClientKeyData) > 0 {
		t.Error("what is embedded is never read again")
	}
	for _, want := range []string{
		"Copy the directory to /etc/kubernetes/portcullis",
		"--audit-policy-file=/etc/kubernetes/portcullis/audit-policy.yaml",
		"--audit-webhook-config-file=/etc/kubernetes/portcullis/audit-webhook.kubeconfig",
		"--audit-webhook-mode=batch", "--audit-webhook-batch-max-wait=1s",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the instructions lack %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "blocking mode") {
		t.Error("the instructions speak of blocking mode")
	}
}

// TestCertificate: of that API server and of nobody else.
func TestCertificate(t *testing.T) {
	c, dir := installed(t), t.TempDir()
	if _, err := execute(t, c, "--api-server", "cp-1.example.org", "--output-dir", dir, "--valid-for", "48h"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, certificateFile))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := pki.ParseBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := store(t, c).EnsureSinkCA(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cert := chain[0]
	if cert.Subject.CommonName != "apiserver:cp-1.example.org" {
		t.Errorf("common name %q", cert.Subject.CommonName)
	}
	if err := cert.CheckSignatureFrom(trust[0]); err != nil {
		t.Errorf("the sink would not know it: %v", err)
	}
	if left := time.Until(cert.NotAfter); left > 48*time.Hour || left < 47*time.Hour {
		t.Errorf("valid for %s", left)
	}
}

// TestToken: a file beside the kubeconfig, which is nowhere else, and no certificate.
func TestToken(t *testing.T) {
	c, dir := installed(t), t.TempDir()
	out, err := execute(t, c, "--api-server", "cp-1", "--output-dir", dir, "--install-path", "/etc/kubernetes/portcullis", "--auth", "token")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, tokenFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file has mode %v (%v)", info, err)
	}
	token, err := os.ReadFile(filepath.Join(dir, tokenFile))
	if err != nil || len(token) < 40 {
		t.Fatalf("a token of %d characters (%v)", len(token), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, kubeconfigFile))
	if err != nil {
		t.Fatal(err)
	}
	file, err := clientcmd.Load(text)
	if err != nil {
		t.Fatal(err)
	}
	user := file.AuthInfos[file.Contexts[file.CurrentContext].AuthInfo]
	if user.TokenFile != "/etc/kubernetes/portcullis/client.token" || user.Token != "" || user.ClientCertificate != "" || user.ClientKey != "" {
		t.Errorf("proves itself by %v", user)
	}
	if _, err = os.Stat(filepath.Join(dir, keyFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key as well (%v)", err)
	}
	for what, text := range map[string]string{"the instructions": out, "the kubeconfig": string(text)} {
		if strings.Contains(text, string(token)) {
			t.Errorf("%s show the token", what)
		}
	}
	for _, want := range []string{"client.token is a secret", "within a minute", "patch secret portcullis-sink-tokens"} {
		if !strings.Contains(out, want) {
			t.Errorf("the instructions lack %q:\n%s", want, out)
		}
	}
	_, err = execute(t, c, "--api-server", "cp-1", "--output-dir", dir, "--auth", "token")
	if err == nil || !strings.Contains(err.Error(), tokenFile) {
		t.Errorf("a second time: %v", err)
	}
}

// Somebody else issues the sink's certificate: the API server trusts theirs, and nobody guesses which that is.
func TestASinkOfSomebodyElses(t *testing.T) {
	c := installed(t)
	settings := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "portcullis", Namespace: DefaultNamespace},
		Data:       map[string]string{"config.yaml": "pki: {sinkFiles: {certificate: /tls.crt, key: /tls.key, ca: /ca.crt}}"},
	}
	if err := c.Create(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if _, err := execute(t, c, "--api-server", "cp-1", "--output-dir", dir); err == nil || !strings.Contains(err.Error(), "--sink-ca") {
		t.Errorf("without the CA: %v", err)
	}
	ca, err := pki.NewCA("theirs", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "theirs.crt")
	if err = os.WriteFile(file, ca.Bundle().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = execute(t, c, "--api-server", "cp-1", "--output-dir", dir, "--sink-ca", file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil || string(got) != string(ca.Bundle().PEM()) {
		t.Errorf("the API server is told to trust %s, %v", got, err)
	}
	for name, arg := range map[string]string{"is not there": file + "x", "has no certificate": os.DevNull} {
		if _, err = execute(t, c, "--api-server", "cp-2", "--output-dir", filepath.Join(t.TempDir(), "new"), "--sink-ca", arg); err == nil || !strings.Contains(err.Error(), "--sink-ca") {
			t.Errorf("a file that %s: %v", name, err)
		}
	}
}

func TestStaticPodSnippetIsYAML(t *testing.T) {
	out, err := execute(t, installed(t), "--api-server", "cp-1", "--output-dir", t.TempDir(), "--mode", "blocking", "--address", "[fd00::1]:30443")
	if err != nil {
		t.Fatal(err)
	}
	_, snippet, _ := strings.Cut(out, "this is what to add:\n\n")
	snippet, _, _ = strings.Cut(snippet, "\n\n")
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(snippet), &pod); err != nil {
		t.Fatalf("%v in\n%s", err, snippet)
	}
	command := pod.Spec.Containers[0].Command
	if !slices.Contains(command, "--audit-webhook-mode=blocking") || !slices.Contains(command, "--audit-webhook-initial-backoff=1s") {
		t.Errorf("command %q", command)
	}
	if pod.Spec.Containers[0].VolumeMounts[0].Name != pod.Spec.Volumes[0].Name {
		t.Errorf("the volume is not mounted:\n%s", snippet)
	}
	if !strings.Contains(out, "https://[fd00::1]:30443/audit/cp-1") || !strings.Contains(out, "In blocking mode") {
		t.Errorf("instructions:\n%s", out)
	}
}

func TestOverwriting(t *testing.T) {
	c, dir := installed(t), t.TempDir()
	args := []string{"--api-server", "cp-1", "--output-dir", dir}
	if _, err := execute(t, c, args...); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	_, err := execute(t, c, args...)
	if err == nil || !strings.Contains(err.Error(), "--force") || !strings.Contains(err.Error(), keyFile) {
		t.Errorf("a second time: %v", err)
	}
	if after := contents(t, dir); !bytes.Equal(before, after) {
		t.Error("files changed in spite of the error")
	}
	if _, err = execute(t, c, append(args, "--force")...); err != nil {
		t.Fatalf("--force: %v", err)
	}
	if after := contents(t, dir); bytes.Equal(before, after) {
		t.Error("--force changed nothing")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestForceReplacesLinks: what a link points to is not ours.
func TestForceReplacesLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(elsewhere, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{kubeconfigFile, keyFile} {
		if err := os.Symlink(elsewhere, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := execute(t, installed(t), "--api-server", "cp-1", "--output-dir", dir, "--force"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(elsewhere); err != nil || string(text) != "mine" {
		t.Errorf("followed a link: %q, %v", text, err)
	}
}

func contents(t *testing.T, dir string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no name":          {[]string{"--output-dir", "x"}, "api-server"},
		"no directory":     {[]string{"--api-server", "x"}, "output-dir"},
		"bad name":         {[]string{"--api-server", "../x"}, "--api-server"},
		"long name":        {[]string{"--api-server", strings.Repeat("a", 55)}, "at most 54"},
		"address":          {[]string{"--api-server", "x", "--address", "10.0.0.1"}, "HOST:PORT"},
		"port":             {[]string{"--api-server", "x", "--address", "10.0.0.1:0"}, "no port"},
		"cluster DNS":      {[]string{"--api-server", "x", "--address", "portcullis.portcullis.svc:9443"}, "cluster DNS"},
		"relative install": {[]string{"--api-server", "x", "--install-path", "etc"}, "absolute"},
		"auth":             {[]string{"--api-server", "x", "--auth", "password"}, "certificate or token"},
		"mode":             {[]string{"--api-server", "x", "--mode", "fast"}, "batch or blocking"},
		"strict":           {[]string{"--api-server", "x", "--mode", "blocking-strict"}, "use blocking"},
		"short-lived":      {[]string{"--api-server", "x", "--valid-for", "5m"}, "at least 1h"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "none")
			args := tc.args
			if name != "no directory" && name != "no name" {
				args = append(args, "--output-dir", dir)
			}
			_, err := execute(t, installed(t), args...)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that says %q", err, tc.want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Error("made a directory all the same")
			}
		})
	}
}

// TestNotReady: every state of an installation that is not ready has its own sentence.
func TestNotReady(t *testing.T) {
	for name, tc := range map[string]struct {
		objects []client.Object
		want    string
	}{
		"not installed":  {nil, "is Portcullis installed there?"},
		"headless":       {[]client.Object{service("None")}, "--address"},
		"no secrets":     {[]client.Object{service("10.0.0.17")}, "is Portcullis installed in namespace portcullis?"},
		"not started":    {[]client.Object{service("10.0.0.17"), secret("portcullis-serving"), secret("portcullis-sink-ca")}, "kubectl -n portcullis get pods"},
		"another's port": {[]client.Object{&corev1.Service{ObjectMeta: service("").ObjectMeta, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}}}, "is it Portcullis'?"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := execute(t, fake.NewClientBuilder().WithObjects(tc.objects...).Build(), "--api-server", "x", "--output-dir", dir)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one that says %q", err, tc.want)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("left %v behind", entries)
			}
		})
	}
}

func TestCannotConnect(t *testing.T) {
	failure := errors.New("no cluster")
	connect := func() (client.WithWatch, error) { return nil, failure }
	err := run(context.Background(), connect, settings{apiServer: "x", outputDir: t.TempDir(), mode: batch, validFor: time.Hour}, &bytes.Buffer{})
	if !errors.Is(err, failure) {
		t.Errorf("error %v", err)
	}
}
