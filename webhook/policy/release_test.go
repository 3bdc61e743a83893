package policy_test

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/test/apiserver"
	"github.com/portcullis-dev/portcullis/test/child"
	"github.com/portcullis-dev/portcullis/webhook/policy"
)

// TestRelease: deleting the Quarantine is enough, and Kubernetes itself sees to its mirror.
func TestRelease(t *testing.T) {
	c := startCluster(t, "", policy.Name, policy.MirrorName)
	c.namespaces(t, "shop")
	web0 := c.pod(t, "shop", "web-0")
	into := c.quarantine(t, "q-pod", v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: string(web0.UID), Namespace: "shop", Name: "web-0"})
	user := c.quarantine(t, "q-user", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"})
	other := c.quarantine(t, "q-other", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "oscar"})
	alice, mallory, oscar := c.as(t, "alice"), c.as(t, "mallory"), c.as(t, "oscar")
	exec, elsewhere := doors("shop", "web-0")["exec"], get("/api/v1/namespaces/shop/services/web/proxy/")
	c.await(t, alice, exec, "q-pod")
	c.await(t, mallory, elsewhere, "q-user")

	collectGarbage(t, c.server)
	for _, q := range []*v1alpha1.Quarantine{into, user} {
		if err := c.objects.Delete(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	c.await(t, alice, exec, "")
	c.await(t, mallory, elsewhere, "")
	c.await(t, oscar, elsewhere, "q-other")
	if err := c.objects.Get(t.Context(), client.ObjectKeyFromObject(mirrorOf(other)), &corev1.LimitRange{}); err != nil {
		t.Errorf("the mirror of a Quarantine that is still there: %v", err)
	}
}

// TestInstalledAgain: what the API server knew of an earlier installation neither denies nor hides what is so now.
func TestInstalledAgain(t *testing.T) { eachPolicy(t, testInstalledAgain) }

func testInstalledAgain(t *testing.T, name string) {
	c := startCluster(t, "", name)
	mallory, oscar, r := c.as(t, "mallory"), c.as(t, "oscar"), get("/api/v1/namespaces/default/pods/web-0/exec")
	before := c.quarantine(t, "q-before", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"})
	c.await(t, mallory, r, "q-before")
	for _, obj := range c.installed {
		if err := c.objects.Delete(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	c.await(t, mallory, r, "")
	c.release(t, before)
	c.quarantine(t, "q-after", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "oscar"})
	for _, obj := range c.installed {
		obj.SetResourceVersion("")
		obj.SetUID("")
		c.create(t, obj)
	}
	c.await(t, oscar, r, "q-after")
	c.await(t, mallory, r, "")
}

// collectGarbage runs Kubernetes' garbage collector until the test ends.
func collectGarbage(t *testing.T, server *apiserver.Server) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["it"] = &clientcmdapi.Cluster{Server: server.Config.Host, CertificateAuthorityData: server.Config.CAData}
	config.AuthInfos["it"] = &clientcmdapi.AuthInfo{ClientCertificateData: server.Config.CertData, ClientKeyData: server.Config.KeyData}
	config.Contexts["it"] = &clientcmdapi.Context{Cluster: "it", AuthInfo: "it"}
	config.CurrentContext = "it"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	child.Start(t, child.Options{
		Path: filepath.Join(os.Getenv("PORTCULLIS_KUBE_BIN"), "kube-controller-manager"), Log: filepath.Join(t.TempDir(), "controller-manager.log"),
		Args: []string{"--kubeconfig=" + file, "--controllers=garbage-collector-controller", "--leader-elect=false", "--secure-port=0"},
	})
}

// TestWhatIsNoMirror: a LimitRange counts for nothing that Portcullis has not written like that, and holds up nobody
// even where failures refuse.
func TestWhatIsNoMirror(t *testing.T) {
	c := startCluster(t, "gate: {policy: {failurePolicy: Fail}}", policy.MirrorName)
	mallory := v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"}
	template := &v1alpha1.Quarantine{Spec: v1alpha1.QuarantineSpec{Subject: mallory, Reason: "a shell"}}
	template.Name = "q-user"
	for name, change := range map[string]func(*corev1.LimitRange){
		"portcullis-quarantine-0": func(m *corev1.LimitRange) { m.Namespace = "default" },
		"portcullis-quarantine-1": func(m *corev1.LimitRange) { m.Labels = nil },
		"portcullis-quarantine-2": func(m *corev1.LimitRange) { m.Annotations = nil },
		"portcullis-quarantine-3": func(m *corev1.LimitRange) { m.Annotations = map[string]string{"portcullis.dev/kind": "User"} },
		"portcullis-quarantine-4": func(m *corev1.LimitRange) { delete(m.Annotations, "portcullis.dev/quarantine") },
		"portcullis-quarantine-5": func(m *corev1.LimitRange) { delete(m.Annotations, "portcullis.dev/uid") },
		"portcullis-quarantine-6": func(m *corev1.LimitRange) { m.Annotations["portcullis.dev/kind"] = "Everybody" },
		"another-name":            func(*corev1.LimitRange) {},
	} {
		m := mirrorOf(template)
		m.Name, m.OwnerReferences = name, nil
		change(m)
		c.create(t, m)
	}
	c.settle(t, "settled")
	if got := c.as(t, "mallory").do(t.Context(), t, get("/api/v1/namespaces/default/pods/web-0/exec")); got.by != "" {
		t.Errorf("refused: %s", got.message)
	}
}
