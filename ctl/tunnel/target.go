package tunnel

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What the chart calls things.
const (
	// Role lets people in its namespace open a Tunnel.
	Role = "portcullis-sessions"
	// reader is the service account that callers are for the server.
	reader = "portcullis-reader"
	// trust is the ConfigMap with the certificate authority, under trustKey.
	trust, trustKey = "portcullis-trust", "ca.crt"
	// service is what the server's certificate is for.
	service = "portcullis"
	// portName is the endpoint's in the pod.
	portName = "metrics"
	// tokenSeconds is the shortest that the API server gives.
	tokenSeconds = 600
)

// target is where the tunnel leads.
type target struct {
	pod string
	// name is what the server's certificate says, port the one in the pod.
	name  string
	port  int32
	roots *x509.CertPool
	token string
	// url is what the API server is asked for.
	url *url.URL
}

// find gets everything that a tunnel needs, and says in order what is missing.
func find(ctx context.Context, o Options) (target, error) {
	to := target{name: service + "." + o.Namespace + ".svc"}
	pod, err := serverPod(ctx, o)
	if err != nil {
		return to, err
	}
	to.pod = pod.Name
	if to.port, err = portOf(pod); err != nil {
		return to, err
	}
	if to.roots, err = roots(ctx, o); err != nil {
		return to, err
	}
	if to.token, err = token(ctx, o); err != nil {
		return to, err
	}
	to.url, err = forwardURL(o.Config, pod)
	return to, err
}

// serverPod is the server's pod that is ready.
func serverPod(ctx context.Context, o Options) (*corev1.Pod, error) {
	var pods corev1.PodList
	err := o.Client.List(ctx, &pods, client.InNamespace(o.Namespace),
		client.MatchingLabels{"app.kubernetes.io/name": "portcullis", "app.kubernetes.io/component": "server"})
	if err != nil {
		return nil, explain(o.Namespace, "find the server's pod", err)
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("there is no pod of Portcullis' server in the namespace %s: "+
			"if it is installed in another, name that with --portcullis-namespace", o.Namespace)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	for i := range pods.Items {
		if ready(&pods.Items[i]) {
			return &pods.Items[i], nil
		}
	}
	return nil, fmt.Errorf("the server's pod %s/%s is not ready, so nobody can ask it: portcullisctl doctor says why", o.Namespace, pods.Items[0].Name)
}

func ready(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func portOf(pod *corev1.Pod) (int32, error) {
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.Name == portName {
				return port.ContainerPort, nil
			}
		}
	}
	return 0, fmt.Errorf("the server's pod %s has no port %q: was it made by Portcullis' chart?", pod.Name, portName)
}

func roots(ctx context.Context, o Options) (*x509.CertPool, error) {
	var config corev1.ConfigMap
	if err := o.Client.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: trust}, &config); err != nil {
		return nil, explain(o.Namespace, "read the server's certificate authority (ConfigMap "+trust+")", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(config.Data[trustKey])) {
		return nil, fmt.Errorf("the ConfigMap %s/%s has no certificate under %s: the server writes it when it starts; portcullisctl doctor says what is wrong", o.Namespace, trust, trustKey)
	}
	return pool, nil
}

func token(ctx context.Context, o Options) (string, error) {
	seconds := int64(tokenSeconds)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: reader}}
	if err := o.Client.SubResource("token").Create(ctx, account, request); err != nil {
		return "", explain(o.Namespace, "get a token of the service account "+reader, err)
	}
	if request.Status.Token == "" {
		return "", errors.New("the API server gave an empty token of the service account " + reader)
	}
	return request.Status.Token, nil
}

func forwardURL(config *rest.Config, pod *corev1.Pod) (*url.URL, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("the API server's address: %w", err)
	}
	return base.JoinPath("api/v1/namespaces", pod.Namespace, "pods", pod.Name, "portforward"), nil
}

// explain says what somebody lacks.
func explain(namespace, what string, err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w\n%s", what, err, whoMay(namespace))
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: %w\nis Portcullis of this version installed in the namespace %s? Its chart makes that: helm upgrade portcullis …", what, err, namespace)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// refused is explain for a port-forward, whose errors may have lost what they are but for their text.
func refused(namespace string, to target, err error) error {
	what := fmt.Sprintf("forward a port to pod %s/%s", namespace, to.pod)
	text := strings.ToLower(err.Error())
	switch {
	case strings.Contains(text, "denied"): // by admission: a quarantine of that pod or namespace, or somebody's policy
		return fmt.Errorf("%s: %w", what, err)
	case apierrors.IsForbidden(err) || strings.Contains(text, "forbidden"):
		return fmt.Errorf("%s: %w\n%s", what, err, whoMay(namespace))
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

func whoMay(namespace string) string {
	return fmt.Sprintf("the role %s gives this right; somebody who may can bind it to you:\n  kubectl -n %s create rolebinding NAME --role=%s --user=YOU", Role, namespace, Role)
}
