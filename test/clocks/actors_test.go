package clocks_test

import (
	"fmt"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// actors are pods that use their tokens.
type actors struct {
	site *site
	// oldest is the API server whose clock is most behind: what it issues is not from any other's future.
	oldest *apiserver.Server
}

func (a *actors) prepare() {
	a.site.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := client(a.site.t, a.oldest).CoreV1().ServiceAccounts("default").Create(a.site.t.Context(), account, metav1.CreateOptions{}); err != nil {
		a.site.t.Fatal(err)
	}
}

func (a *actors) create(name string) *corev1.Pod {
	a.site.t.Helper()
	p, err := client(a.site.t, a.oldest).CoreV1().Pods("default").Create(a.site.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: "node-1", ServiceAccountName: "default",
			Containers: []corev1.Container{{Name: "main", Image: "busybox:1"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		a.site.t.Fatal(err)
	}
	return p
}

// trip is one request: its user agent, and between when the API server got it.
type trip struct {
	agent          string
	sent, answered time.Time
}

// quick is what a request may take for it to be certain when it was: a fraction of the second that counts.
const quick = 500 * time.Millisecond

// act has the pod make a request of an API server. It does so again if it took too long, and so much later that
// the earlier one can have nothing to do with it.
func (a *actors) act(p *corev1.Pod, m *machine) trip {
	t := a.site.t
	t.Helper()
	for attempt := range 20 {
		made := trip{agent: fmt.Sprintf("%s/%d", p.Name, attempt)}
		c := a.as(p, m, made.agent)
		made.sent = time.Now()
		_, err := c.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
		made.answered = time.Now()
		if !apierrors.IsForbidden(err) {
			t.Fatalf("the request of %s: %v", p.Name, err)
		}
		if made.answered.Sub(made.sent) < quick {
			return made
		}
		time.Sleep(3 * time.Second)
	}
	t.Fatalf("no request of %s was quick enough", p.Name)
	return trip{}
}

// as is a client of an API server with a token that is bound to the pod.
func (a *actors) as(p *corev1.Pod, m *machine, agent string) *kubernetes.Clientset {
	t := a.site.t
	t.Helper()
	token, err := client(t, a.oldest).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authnv1.TokenRequest{
		Spec: authnv1.TokenRequestSpec{BoundObjectRef: &authnv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(m.server.Config)
	config.BearerToken, config.UserAgent = token.Status.Token, agent
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
