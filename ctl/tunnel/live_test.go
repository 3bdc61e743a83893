package tunnel

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"

	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// live is a real API server with what the chart installs for people who see sessions.
type live struct {
	t      *testing.T
	server *apiserver.Server
	admin  kubernetes.Interface
}

func startLive(t *testing.T) live {
	t.Helper()
	server := apiserver.Start(t, apiserver.Options{WithoutCRDs: true})
	l := live{t, server, kubernetes.NewForConfigOrDie(server.Config)}
	ctx, in := t.Context(), metav1.ObjectMeta{Namespace: namespace}
	named := func(name string) metav1.ObjectMeta {
		meta := in
		meta.Name = name
		return meta
	}
	_, err := l.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	l.must(err)
	for _, name := range []string{reader, "other"} {
		_, err = l.admin.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: named(name)}, metav1.CreateOptions{})
		l.must(err)
	}
	_, err = l.admin.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: named(trust), Data: newWorld(t, serverName).trust}, metav1.CreateOptions{})
	l.must(err)
	server0 := pod("portcullis-0", true)
	server0.Labels = map[string]string{"app.kubernetes.io/name": "portcullis", "app.kubernetes.io/component": "server"}
	server0.Spec.Containers[0].Name, server0.Spec.Containers[0].Image = "server", "i"
	status := server0.Status
	created, err := l.admin.CoreV1().Pods(namespace).Create(ctx, &server0, metav1.CreateOptions{})
	l.must(err)
	created.Status = status
	_, err = l.admin.CoreV1().Pods(namespace).UpdateStatus(ctx, created, metav1.UpdateOptions{})
	l.must(err)
	l.roles(named)
	return l
}

// roles are those of the chart, whose own tests pin them.
func (l live) roles(named func(string) metav1.ObjectMeta) {
	l.t.Helper()
	ctx, rbac := l.t.Context(), l.admin.RbacV1()
	reads := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "portcullis-sessions-reader"}, Rules: []rbacv1.PolicyRule{
		{NonResourceURLs: []string{"/sessions", "/sessions/*"}, Verbs: []string{"get"}},
	}}
	_, err := rbac.ClusterRoles().Create(ctx, reads, metav1.CreateOptions{})
	l.must(err)
	_, err = rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: reads.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: reads.Name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: reader}},
	}, metav1.CreateOptions{})
	l.must(err)
	core := []string{""}
	_, err = rbac.Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: named(Role), Rules: []rbacv1.PolicyRule{
		{APIGroups: core, Resources: []string{"pods"}, Verbs: []string{"list"}},
		{APIGroups: core, Resources: []string{"pods/portforward"}, ResourceNames: []string{"portcullis-0"}, Verbs: []string{"get", "create"}},
		{APIGroups: core, Resources: []string{"configmaps"}, ResourceNames: []string{trust}, Verbs: []string{"get"}},
		{APIGroups: core, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{reader}, Verbs: []string{"create"}},
	}}, metav1.CreateOptions{})
	l.must(err)
	_, err = rbac.RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: named("alice"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: Role},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "alice"}},
	}, metav1.CreateOptions{})
	l.must(err)
}

func (l live) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l live) options(config *rest.Config) Options {
	l.t.Helper()
	c, err := cluster.NewClient(config, "test", io.Discard)
	l.must(err)
	return Options{Config: config, Client: c, Namespace: namespace}
}

// TestRightsAreEnough: the role lets its holder find everything, up to the port-forward, which needs a kubelet;
// and the server's filter lets the token that they get read sessions, and nothing else.
func TestRightsAreEnough(t *testing.T) {
	l := startLive(t)
	alice := l.options(l.server.UserConfig(t, "alice"))
	to, err := find(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	if to.pod != "portcullis-0" || to.port != 8080 || to.name != serverName || to.roots.Equal(x509.NewCertPool()) {
		t.Errorf("found %+v", to)
	}
	if _, err = Open(t.Context(), alice); err == nil || strings.Contains(err.Error(), "rolebinding") || strings.Contains(err.Error(), "forbidden") {
		t.Errorf("without a kubelet: %v, want an error that is none of rights", err)
	}
	bob := l.options(l.server.UserConfig(t, "bob"))
	if _, err = Open(t.Context(), bob); err == nil || !strings.Contains(err.Error(), `"bob"`) || !strings.Contains(err.Error(), "--role=portcullis-sessions") {
		t.Errorf("bob: %v, want what he lacks and which role has it", err)
	}

	httpClient, err := rest.HTTPClientFor(l.server.Config)
	l.must(err)
	filter, err := filters.WithAuthenticationAndAuthorization(l.server.Config, httpClient)
	l.must(err)
	handler, err := filter(logr.Discard(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	l.must(err)
	for path, want := range map[string]int{
		"/sessions": http.StatusOK, "/sessions?user=x": http.StatusOK, "/sessions/s-1": http.StatusOK, "/metrics": http.StatusForbidden, "/": http.StatusForbidden,
	} {
		for bearer, status := range map[string]int{to.token: want, "": http.StatusUnauthorized} {
			request := httptest.NewRequest(http.MethodGet, path, nil)
			if bearer != "" {
				request.Header.Set("Authorization", "Bearer "+bearer)
			}
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			if answer.Code != status {
				t.Errorf("%s, with a token %t: %d, want %d", path, bearer != "", answer.Code, status)
			}
		}
	}
}
