package doctor_test

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/ctl/doctor"
	"github.com/portcullis-dev/portcullis/status"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

const namespace = "guard"

// run runs the command as somebody, and returns what it printed.
func run(t *testing.T, config *rest.Config, args ...string) (stdout string, err error) {
	t.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	command := doctor.New(doctor.Options{
		Connect:   func() (client.WithWatch, error) { return cluster.NewClient(config, "test", io.Discard) },
		Namespace: func(string) string { return namespace },
		Streams:   streams,
	})
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(append([]string{}, args...)) // never those of the test
	err = command.ExecuteContext(t.Context())
	return out.String(), err
}

// TestAgainstAnAPIServer reads everything from a real one: what is there, what is not, and what somebody may not see.
func TestAgainstAnAPIServer(t *testing.T) {
	server := apiserver.Start(t, apiserver.Options{})
	c, err := client.New(server.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	out, err := run(t, server.Config)
	if err == nil || !strings.Contains(out, "Portcullis is not installed in the namespace guard") {
		t.Errorf("an empty cluster: %v\n%s", err, out)
	}

	install(t.Context(), t, c, server.Config.CAData)
	out, err = run(t, server.Config)
	if err != nil || !strings.HasSuffix(out, "All is well.\n") {
		t.Errorf("an installation that is well: %v\n%s", err, out)
	}

	out, err = run(t, server.UserConfig(t, "alice"), "-o", "json")
	var report doctor.Report
	if bad := json.Unmarshal([]byte(out), &report); err != nil || bad != nil {
		t.Fatalf("somebody without rights: %v, %v\n%s", err, bad, out)
	}
	if slices.ContainsFunc(report.Checks, func(c doctor.Check) bool { return c.State != doctor.Unknown }) {
		t.Errorf("somebody without rights is told\n%s", out)
	}
}

func TestNobodyToAsk(t *testing.T) {
	if out, err := run(t, &rest.Config{Host: "https://127.0.0.1:1"}); err == nil || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

// install makes what a chart, a kubelet and a server would have made.
func install(ctx context.Context, t *testing.T, c client.Client, bundle []byte) {
	t.Helper()
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	create := func(o client.Object) {
		t.Helper()
		if err := c.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	labels := map[string]string{"app": "x"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}

	server := &appsv1.StatefulSet{ObjectMeta: meta("portcullis"), Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template}}
	create(server)
	server.Status.Replicas, server.Status.ReadyReplicas = 1, 1
	agents := &appsv1.DaemonSet{ObjectMeta: meta("portcullis-agent"), Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template}}
	create(agents)
	agents.Status.DesiredNumberScheduled, agents.Status.NumberReady = 1, 1
	for _, o := range []client.Object{server, agents} {
		if err := c.Status().Update(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	pod := &corev1.Pod{ObjectMeta: meta("agent"), Spec: template.Spec}
	pod.Labels, pod.Spec.NodeName = labels, "n1"
	create(pod)

	guard(t, create, bundle)

	port, name := int32(6443), "https"
	create(&discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	})
	text, err := status.Encode(status.Document{
		At: time.Now(), Server: status.Server{Version: "v1", Started: time.Now(), Ready: true, Mode: "observe"}, Store: status.Store{Kind: "disk"},
		APIServers: []status.APIServer{{Address: "192.0.2.1:6443", Source: "audit/a", State: "live", Seen: true}},
		Nodes:      status.Nodes{Known: 1, Connected: 1}, Rules: status.Rules{Loaded: 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	create(&corev1.ConfigMap{ObjectMeta: meta(status.ConfigMap), Data: map[string]string{status.Key: string(text)}})
}

// guard makes the webhook's configuration and the policies, as the chart and the server do.
func guard(t *testing.T, create func(client.Object), bundle []byte) {
	t.Helper()
	ignore, none, path := admissionv1.Ignore, admissionv1.SideEffectClassNone, "/admit/"+strings.Repeat("ab", 32)
	rule := func(operation admissionv1.OperationType, resources ...string) admissionv1.RuleWithOperations {
		return admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{operation},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: resources},
		}
	}
	rules := []admissionv1.RuleWithOperations{
		rule(admissionv1.Connect, "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"),
		rule(admissionv1.Update, "pods/ephemeralcontainers"),
	}
	create(&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "portcullis"}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: "exec.portcullis.dev", FailurePolicy: &ignore, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		ClientConfig: admissionv1.WebhookClientConfig{CABundle: bundle, Service: &admissionv1.ServiceReference{Namespace: namespace, Name: "portcullis", Path: &path}},
		Rules:        rules,
	}}})

	constraints := &admissionv1.MatchResources{}
	for _, r := range rules {
		constraints.ResourceRules = append(constraints.ResourceRules, admissionv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	allow := admissionv1.AllowAction
	for name, tc := range map[string]struct {
		kind   admissionv1.ParamKind
		params admissionv1.ParamRef
	}{
		"portcullis-quarantine": {
			admissionv1.ParamKind{APIVersion: "portcullis.dev/v1alpha1", Kind: "Quarantine"},
			admissionv1.ParamRef{Selector: &metav1.LabelSelector{}, ParameterNotFoundAction: &allow},
		},
		"portcullis-quarantine-mirror": {
			admissionv1.ParamKind{APIVersion: "v1", Kind: "LimitRange"},
			admissionv1.ParamRef{Namespace: namespace, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"portcullis.dev/quarantine": "true"}}, ParameterNotFoundAction: &allow},
		},
	} {
		create(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
			ParamKind: &tc.kind, MatchConstraints: constraints, Validations: []admissionv1.Validation{{Expression: "false"}},
		}})
		create(&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}, ParamRef: &tc.params,
		}})
	}
}
