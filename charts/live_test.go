package charts

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// cluster is an API server and helm that installs into it.
type cluster struct {
	t          *testing.T
	client     client.Client
	kubeconfig string
	caBundle   []byte // some real certificate: the API server checks it
}

// TestReleases lives through a release's life on a real API server, once in the
// way of helm 4 (the API server applies) and once in that of helm 3 (helm
// computes a three-way merge).
func TestReleases(t *testing.T) {
	helm(t)
	s := apiserver.Start(t, apiserver.Options{WithoutCRDs: true})
	c := newCluster(t, s.Config)
	for name, serverSide := range map[string]string{"server-side apply": "true", "three-way merge": "false"} {
		t.Run(name, func(t *testing.T) {
			c := c
			c.t = t
			c.life(t.Context(), serverSide)
		})
	}
}

func (c cluster) life(ctx context.Context, serverSide string) {
	apply := "--server-side=" + serverSide
	c.helm("", "install", apply, "--create-namespace")
	c.waitForCRD(ctx)
	c.checkAuthorization(ctx)
	c.serverStarts(ctx)
	c.must(c.client.Create(ctx, quarantine()))

	c.helm("webhook: {timeoutSeconds: 7}\nconfig: {mode: enforce}\n", "upgrade", apply)
	c.checkServersWork(ctx, "upgrade")
	if hook := c.hook(ctx); *hook.TimeoutSeconds != 7 {
		c.t.Errorf("the upgrade left timeoutSeconds at %d", *hook.TimeoutSeconds)
	}
	c.helm("", "rollback", apply)
	c.checkServersWork(ctx, "rollback")
	if hook := c.hook(ctx); *hook.TimeoutSeconds != 2 {
		c.t.Errorf("the rollback left timeoutSeconds at %d", *hook.TimeoutSeconds)
	}

	c.helm("pki: {keepOnUninstall: true}\n", "upgrade", apply)
	c.helm("", "uninstall")
	if err := c.get(ctx, "portcullis", &admissionv1.ValidatingWebhookConfiguration{}); !apierrors.IsNotFound(err) {
		c.t.Errorf("the webhook outlives the release: %v", err)
	}
	c.must(c.get(ctx, "by-hand", &v1alpha1.Quarantine{}))
	c.checkKeys(ctx, "uninstall")

	c.helm("crds: {keep: false}\n", "install", apply)
	c.checkKeys(ctx, "re-install")
	c.helm("", "uninstall")
	if err := c.get(ctx, "portcullis-sink-ca", &corev1.Secret{}); !apierrors.IsNotFound(err) {
		c.t.Errorf("keys outlive a release that does not keep them: %v", err)
	}
	c.waitForNoCRD(ctx)
}

// serverStarts does what the server does when it first runs: fill what the chart
// left empty, with updates of whole objects.
func (c cluster) serverStarts(ctx context.Context) {
	c.t.Helper()
	for _, name := range []string{"portcullis-serving", "portcullis-sink-ca"} {
		secret := &corev1.Secret{}
		c.must(c.get(ctx, name, secret))
		secret.Data = map[string][]byte{"ca.key": []byte("key of " + name)}
		c.must(c.client.Update(ctx, secret, client.FieldOwner("portcullis")))
	}
	trust := &corev1.ConfigMap{}
	c.must(c.get(ctx, "portcullis-trust", trust))
	trust.Data = map[string]string{"ca.crt": "trust"}
	c.must(c.client.Update(ctx, trust, client.FieldOwner("portcullis")))
	config := &admissionv1.ValidatingWebhookConfiguration{}
	c.must(c.get(ctx, "portcullis", config))
	config.Webhooks[0].ClientConfig.CABundle = c.caBundle
	c.must(c.client.Update(ctx, config, client.FieldOwner("portcullis")))
}

func (c cluster) checkServersWork(ctx context.Context, after string) {
	c.t.Helper()
	c.checkKeys(ctx, after)
	if !bytes.Equal(c.hook(ctx).ClientConfig.CABundle, c.caBundle) {
		c.t.Errorf("%s took the webhook's caBundle away", after)
	}
}

func (c cluster) checkKeys(ctx context.Context, after string) {
	c.t.Helper()
	for _, name := range []string{"portcullis-serving", "portcullis-sink-ca"} {
		secret := &corev1.Secret{}
		c.must(c.get(ctx, name, secret))
		if string(secret.Data["ca.key"]) != "key of "+name {
			c.t.Errorf("%s took the key of %s away", after, name)
		}
	}
	trust := &corev1.ConfigMap{}
	c.must(c.get(ctx, "portcullis-trust", trust))
	if trust.Data["ca.crt"] != "trust" {
		c.t.Errorf("%s took the published trust away", after)
	}
}

// checkAuthorization asks the API server itself what the roles come to.
func (c cluster) checkAuthorization(ctx context.Context) {
	c.t.Helper()
	for _, q := range []struct {
		account, verb, group, resource, namespace, name string
		want                                            bool
	}{
		{"portcullis", "watch", "", "pods", "", "", true},
		{"portcullis", "create", "events.k8s.io", "events", "shop", "", true},
		{"portcullis", "delete", "portcullis.dev", "quarantines", "", "q", true},
		{"portcullis", "update", "", "secrets", namespace, "portcullis-sink-ca", true},
		{"portcullis", "get", "", "secrets", namespace, "portcullis-sink-tokens", true},
		{"portcullis", "update", "", "secrets", namespace, "portcullis-sink-tokens", false},
		{"portcullis", "get", "", "secrets", namespace, "siem", false},
		{"portcullis", "get", "", "secrets", "shop", "portcullis-sink-ca", false},
		{"portcullis", "list", "", "secrets", namespace, "", false},
		{"portcullis", "create", "", "secrets", namespace, "", false},
		{"portcullis", "get", "", "configmaps", namespace, "portcullis-canary", true},
		{"portcullis", "patch", "", "configmaps", namespace, "portcullis-status", true},
		{"portcullis", "patch", "", "configmaps", namespace, "portcullis-canary", false},
		{"portcullis", "list", "discovery.k8s.io", "endpointslices", "default", "", true},
		{"portcullis", "watch", "discovery.k8s.io", "endpointslices", "default", "", false},
		{"portcullis", "update", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "", "portcullis", true},
		{"portcullis", "update", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "", "other", false},
		{"portcullis", "delete", "", "pods", "shop", "web-0", false},
		{"portcullis-agent", "get", "", "pods", namespace, "", false},
		{"portcullis-reader", "get", "", "pods", namespace, "", false},
		{"portcullis-agent", "create", "authentication.k8s.io", "tokenreviews", "", "", false},
	} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:   "system:serviceaccount:" + namespace + ":" + q.account,
			Groups: []string{"system:serviceaccounts", "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: q.verb, Group: q.group, Resource: q.resource, Namespace: q.namespace, Name: q.name,
			},
		}}
		c.must(c.client.Create(ctx, review))
		if review.Status.Allowed != q.want {
			c.t.Errorf("%+v: allowed is %t", q, review.Status.Allowed)
		}
	}
}

// TestPodsAreAccepted: the API server checks pods more closely than their templates.
func TestPodsAreAccepted(t *testing.T) {
	helm(t)
	ctx := t.Context()
	c := newCluster(t, apiserver.Start(t, apiserver.Options{WithoutCRDs: true}).Config)
	c.must(c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "privileged",
	}}}))
	eachScenario(t, func(t *testing.T, all objects) {
		for _, obj := range all {
			var template corev1.PodTemplateSpec
			switch owner := obj.(type) {
			case *appsv1.StatefulSet:
				template = owner.Spec.Template
				for _, claim := range owner.Spec.VolumeClaimTemplates { // what its controller does
					template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
				}
			case *appsv1.DaemonSet:
				template = owner.Spec.Template
			default:
				continue
			}
			pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
			pod.GenerateName, pod.Namespace = obj.GetName()+"-", namespace
			if err := c.client.Create(ctx, pod, client.DryRunAll); err != nil {
				t.Errorf("%s: %v", obj.GetName(), err)
			}
		}
	})
	// The server's pod asks for nothing that the strictest security level forbids.
	c.must(c.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "strict", Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
	}}}))
	template := get[*appsv1.StatefulSet](t, render(t, "persistence: {enabled: false}"), "portcullis").Spec.Template
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.Namespace = "portcullis-0", "strict"
	c.must(c.client.Create(ctx, pod, client.DryRunAll))
}

func newCluster(t *testing.T, config *rest.Config) cluster {
	t.Helper()
	s := runtime.NewScheme()
	c := cluster{t: t, caBundle: config.CAData}
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensions.AddToScheme, v1alpha1.AddToScheme} {
		c.must(add(s))
	}
	var err error
	c.client, err = client.New(config, client.Options{Scheme: s})
	c.must(err)
	c.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	file := clientcmdapi.NewConfig()
	file.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	file.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	file.CurrentContext = "x"
	c.must(clientcmd.WriteToFile(*file, c.kubeconfig))
	return c
}

// helm runs one command on the release.
func (c cluster) helm(values, command string, flags ...string) {
	c.t.Helper()
	args := []string{command, "portcullis"}
	if command == "install" || command == "upgrade" {
		args = append(args, chart, "--values", "-")
	}
	args = append(args, "--namespace", namespace, "--kubeconfig", c.kubeconfig)
	_, err := runHelm(c.t, values, append(args, flags...)...)
	c.must(err)
}

func (c cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// get reads an object by its name, in the release's namespace if it has any.
func (c cluster) get(ctx context.Context, name string, obj client.Object) error {
	key := client.ObjectKey{Name: name}
	if namespaced, err := c.client.IsObjectNamespaced(obj); err != nil {
		return err
	} else if namespaced {
		key.Namespace = namespace
	}
	return c.client.Get(ctx, key, obj)
}

func (c cluster) hook(ctx context.Context) admissionv1.ValidatingWebhook {
	c.t.Helper()
	config := &admissionv1.ValidatingWebhookConfiguration{}
	c.must(c.get(ctx, "portcullis", config))
	return only(c.t, config.Webhooks)
}

const crdName = "quarantines.portcullis.dev"

func (c cluster) waitForCRD(ctx context.Context) {
	c.t.Helper()
	c.poll(ctx, "the Quarantine definition is not served", func() error {
		return c.client.List(ctx, &v1alpha1.QuarantineList{})
	})
}

func (c cluster) waitForNoCRD(ctx context.Context) {
	c.t.Helper()
	c.poll(ctx, "crds.keep=false keeps the Quarantine definition", func() error {
		err := c.get(ctx, crdName, &apiextensions.CustomResourceDefinition{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	})
}

// poll waits for what the API server does in its own time and announces nowhere.
func (c cluster) poll(ctx context.Context, what string, done func() error) {
	c.t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		last = done()
		return last == nil, nil
	})
	if err != nil {
		c.t.Fatalf("%s: %v", what, last)
	}
}

func quarantine() *v1alpha1.Quarantine {
	return &v1alpha1.Quarantine{
		ObjectMeta: metav1.ObjectMeta{Name: "by-hand"},
		Spec:       v1alpha1.QuarantineSpec{Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"}, Reason: "a test"},
	}
}
