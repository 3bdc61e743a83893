package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/status"
)

// The names of the chart's objects.
const (
	serverName  = "portcullis"
	agentName   = "portcullis-agent"
	webhookName = "portcullis"
	policyName  = "portcullis-quarantine"
	mirrorName  = "portcullis-quarantine-mirror"
)

// listLimit bounds how many objects are asked for at once.
const listLimit = 500

// patient is what the checks look at. What could not be read is in unread, by what it is.
type patient struct {
	namespace string
	now       time.Time

	server    *appsv1.StatefulSet
	agents    *appsv1.DaemonSet
	serverPod []corev1.Pod
	agentPods []corev1.Pod
	// nodes are the names of the cluster's nodes; nil if not known.
	nodes   map[string]bool
	webhook *admissionv1.ValidatingWebhookConfiguration
	// bolts are the chart's policies, by name.
	bolts map[string]*bolt
	// config is what the server is told, nil if that is not known.
	config     *config.Config
	apiServers []string
	quarantine []v1alpha1.Quarantine
	configMap  *corev1.ConfigMap
	// says is what the server says about itself, nil if that is not there, or not to be relied on.
	says *status.Document

	unread map[string]error
}

// Examine looks at the installation in a namespace. It fails only if the API server cannot be asked at all.
func Examine(ctx context.Context, c client.Reader, namespace string, now time.Time) (*Report, error) {
	p := &patient{namespace: namespace, now: now, bolts: map[string]*bolt{}, unread: map[string]error{}}
	if err := p.read(ctx, c); err != nil {
		return nil, err
	}
	return p.report(), nil
}

// report makes all checks.
func (p *patient) report() *Report {
	r := &Report{At: p.now.UTC().Truncate(time.Second), Namespace: p.namespace, Checks: []Check{}}
	statusCheck := p.checkStatus() // It decides whether there is anything to go by.
	r.add(p.checkServer(), statusCheck, p.checkWebhook(), p.checkPolicies(), p.checkStore())
	r.add(p.checkAPIServers()...)
	r.add(p.checkAgents())
	r.add(p.checkNodes()...)
	r.add(p.checkLosses(), p.checkRejects(), p.checkNotifications(), p.checkRules(), p.checkQuarantines())
	r.Status = p.says
	return r
}

// read reads all that the checks need. Objects that are not there are nil.
func (p *patient) read(ctx context.Context, c client.Reader) error {
	key := func(name string) client.ObjectKey { return client.ObjectKey{Namespace: p.namespace, Name: name} }
	for _, one := range []struct {
		what string
		read func() error
	}{
		{"server", func() (err error) { p.server, err = get(ctx, c, key(serverName), &appsv1.StatefulSet{}); return err }},
		{"agents", func() (err error) { p.agents, err = get(ctx, c, key(agentName), &appsv1.DaemonSet{}); return err }},
		{"status", func() (err error) {
			p.configMap, err = get(ctx, c, key(status.ConfigMap), &corev1.ConfigMap{})
			return err
		}},
		{"webhook", func() (err error) {
			p.webhook, err = get(ctx, c, client.ObjectKey{Name: webhookName}, &admissionv1.ValidatingWebhookConfiguration{})
			return err
		}},
		{"configuration", func() (err error) { p.config, err = cluster.ServerConfig(ctx, c, p.namespace); return err }},
		{"policies", func() error { return p.readBolts(ctx, c) }},
		{"server pods", func() (err error) { p.serverPod, err = p.pods(ctx, c, selectorOf(p.server)); return err }},
		{"agent pods", func() (err error) { p.agentPods, err = p.pods(ctx, c, selectorOfAgents(p.agents)); return err }},
		{"API servers", func() (err error) { p.apiServers, err = addresses(ctx, c); return err }},
		{"nodes", func() (err error) { p.nodes, err = nodes(ctx, c); return err }},
		{"quarantines", func() (err error) { p.quarantine, err = quarantines(ctx, c); return err }},
	} {
		err := one.read()
		if err == nil {
			continue
		}
		if answer := apierrors.APIStatus(nil); !errors.Is(err, cluster.ErrConfig) && (!errors.As(err, &answer) || apierrors.IsUnauthorized(err)) {
			return fmt.Errorf("read the %s: %w", one.what, err) // There is nobody to ask.
		}
		p.unread[one.what] = err
	}
	return nil
}

// get reads an object; nil says that there is none.
func get[T client.Object](ctx context.Context, c client.Reader, key client.ObjectKey, into T) (T, error) {
	err := c.Get(ctx, key, into)
	if err != nil {
		var none T
		return none, client.IgnoreNotFound(err)
	}
	return into, nil
}

// readBolts reads both policies with their bindings.
func (p *patient) readBolts(ctx context.Context, c client.Reader) (err error) {
	for _, name := range []string{policyName, mirrorName} {
		b := &bolt{}
		if b.policy, err = get(ctx, c, client.ObjectKey{Name: name}, &admissionv1.ValidatingAdmissionPolicy{}); err != nil {
			return err
		}
		if b.binding, err = get(ctx, c, client.ObjectKey{Name: name}, &admissionv1.ValidatingAdmissionPolicyBinding{}); err != nil {
			return err
		}
		p.bolts[name] = b
	}
	return nil
}

func selectorOf(s *appsv1.StatefulSet) *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	return s.Spec.Selector
}

func selectorOfAgents(d *appsv1.DaemonSet) *metav1.LabelSelector {
	if d == nil {
		return nil
	}
	return d.Spec.Selector
}

// each lists objects page by page.
func each[L client.ObjectList](ctx context.Context, c client.Reader, list L, add func(L), options ...client.ListOption) error {
	for next := ""; ; {
		if err := c.List(ctx, list, append(options, client.Limit(listLimit), client.Continue(next))...); err != nil {
			return err
		}
		add(list)
		if next = list.GetContinue(); next == "" {
			return nil
		}
	}
}

func (p *patient) pods(ctx context.Context, c client.Reader, selector *metav1.LabelSelector) (found []corev1.Pod, err error) {
	if selector == nil {
		return nil, nil
	}
	labels, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, err
	}
	err = each(ctx, c, &corev1.PodList{}, func(l *corev1.PodList) { found = append(found, l.Items...) },
		client.InNamespace(p.namespace), client.MatchingLabelsSelector{Selector: labels})
	return found, err
}

func nodes(ctx context.Context, c client.Reader) (map[string]bool, error) {
	found := map[string]bool{}
	err := each(ctx, c, &corev1.NodeList{}, func(l *corev1.NodeList) {
		for i := range l.Items {
			found[l.Items[i].Name] = true
		}
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func quarantines(ctx context.Context, c client.Reader) (found []v1alpha1.Quarantine, err error) {
	err = each(ctx, c, &v1alpha1.QuarantineList{}, func(l *v1alpha1.QuarantineList) { found = append(found, l.Items...) })
	return found, err
}

// addresses are those of the API servers, host:port each, as the Service "kubernetes" has them.
func addresses(ctx context.Context, c client.Reader) (found []string, err error) {
	list := &discoveryv1.EndpointSliceList{}
	err = c.List(ctx, list, client.InNamespace("default"), client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"})
	for i := range list.Items {
		found = append(found, addressesOf(&list.Items[i])...)
	}
	return found, err
}

// unknown is the check of what could not be read, if it could not be.
func (p *patient) unknown(name, what string) (Check, bool) {
	err := p.unread[what]
	if err == nil {
		return Check{}, false
	}
	c := Check{Name: name, State: Unknown, Says: "could not be read: " + err.Error(), Do: "Ask again; if it stays like this, the API server is not well."}
	if apierrors.IsForbidden(err) {
		c.Says, c.Do = "you may not read the "+what, "Ask somebody with more rights in the cluster to run this: "+output.Text(err.Error())
	}
	return c, true
}

// silent is the check of something that only the server could tell.
func (p *patient) silent(name string) Check {
	return Check{Name: name, State: Unknown, Says: "the server does not say: see status"}
}

// ago is how long before now something was.
func (p *patient) ago(t time.Time) string { return duration.HumanDuration(max(0, p.now.Sub(t))) }
