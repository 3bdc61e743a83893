package serverprocess

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/portcullis-dev/portcullis/test/standalone"
)

// serverAccount is the server's service account, as the chart names it.
const serverAccount = "portcullis"

// tokenLife outlasts every test: the kubeconfig's token is not renewed.
const tokenLife = 24 * time.Hour

func (s *Site) connect(t standalone.TB) {
	t.Helper()
	var err error
	if s.Client, err = kubernetes.NewForConfig(s.API.Config); err != nil {
		t.Fatalf("API client: %v", err)
	}
	if s.Objects, err = client.New(s.API.Config, client.Options{}); err != nil {
		t.Fatalf("API client: %v", err)
	}
}

// Render renders the chart with these values, without its CRDs.
func Render(t standalone.TB, values string) []client.Object {
	t.Helper()
	home := t.TempDir() // no configuration, cache or plugins of the person who runs the test
	//nolint:gosec // who runs the tests names the directory
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("PORTCULLIS_KUBE_BIN"), "helm"),
		"template", "portcullis", filepath.Join(root(t), "charts", "portcullis"),
		"--namespace", Namespace, "--set", "crds.install=false", "--values", "-")
	cmd.Env = append(os.Environ(), "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home)
	cmd.Stdin = strings.NewReader(values)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("render the chart: %v\n%s", err, stderr.String())
	}
	return decode(t, out)
}

func decode(t standalone.TB, manifests []byte) []client.Object {
	t.Helper()
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	var all []client.Object
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("read the rendered chart: %v", err)
		}
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
			t.Fatalf("read the rendered chart: %v", err)
		}
		if len(obj.Object) > 0 { // templates that render nothing leave comments behind
			all = append(all, obj)
		}
	}
}

// install creates the chart's objects, but for the workloads, which nobody would run.
func (s *Site) install(t standalone.TB, objects []client.Object) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := s.Objects.Create(t.Context(), ns); err != nil {
		t.Fatalf("create the namespace: %v", err)
	}
	for _, obj := range objects {
		kind := obj.GetObjectKind().GroupVersionKind().Kind
		switch kind {
		case "StatefulSet", "DaemonSet":
			continue
		case "ValidatingWebhookConfiguration":
			s.aimWebhook(t, obj)
		}
		if err := s.Objects.Create(t.Context(), obj); err != nil {
			t.Fatalf("install %s %s: %v", kind, obj.GetName(), err)
		}
	}
}

// aimWebhook has the API server ask the server's own address: nobody routes Services here.
func (s *Site) aimWebhook(t standalone.TB, obj client.Object) {
	t.Helper()
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		t.Fatal("a rendered object is not unstructured")
	}
	hooks, _, err := unstructured.NestedSlice(u.Object, "webhooks")
	if err != nil {
		t.Fatalf("the chart's webhook: %v", err)
	}
	for _, hook := range hooks {
		if fields, ok := hook.(map[string]any); ok {
			fields["clientConfig"] = map[string]any{"url": "https://" + s.Config.Webhook.Listen + "/admit"}
		}
	}
	if err := unstructured.SetNestedSlice(u.Object, hooks, "webhooks"); err != nil {
		t.Fatalf("the chart's webhook: %v", err)
	}
}

// configText is the configuration file in the chart's ConfigMap.
func configText(t standalone.TB, objects []client.Object) string {
	t.Helper()
	for _, obj := range objects {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok || u.GetKind() != "ConfigMap" || u.GetName() != "portcullis" {
			continue
		}
		if text, found, err := unstructured.NestedString(u.Object, "data", "config.yaml"); err == nil && found {
			return text
		}
	}
	t.Fatal("the chart has no ConfigMap portcullis with a config.yaml")
	return ""
}

// writeKubeconfig makes the server's, with the token of its service account. It leads through the gateway, if
// there is one.
func (s *Site) writeKubeconfig(t standalone.TB) {
	t.Helper()
	token := s.token(t, serverAccount, &authnv1.TokenRequest{Spec: authnv1.TokenRequestSpec{ExpirationSeconds: seconds(tokenLife)}})
	cluster := &clientcmdapi.Cluster{Server: s.API.Config.Host, CertificateAuthorityData: s.API.Config.CAData}
	if s.gateway != nil {
		cluster.Server, cluster.CertificateAuthorityData = s.gateway.url, s.gateway.ca
	}
	file := clientcmdapi.NewConfig()
	file.Clusters["c"] = cluster
	file.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token}
	file.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	file.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*file, s.file("kubeconfig")); err != nil {
		t.Fatalf("write the kubeconfig: %v", err)
	}
}

// token asks the API server for a token of a service account in the namespace.
func (s *Site) token(t standalone.TB, account string, request *authnv1.TokenRequest) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := s.Client.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("token of %s: %v", account, err)
	}
	return got.Status.Token
}

func seconds(d time.Duration) *int64 { return new(int64(d / time.Second)) }
