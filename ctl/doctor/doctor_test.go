package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/status"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; commit them only if you understand the difference")

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// webhook is as the chart has it, with the server's certificate authority.
func webhook(t testing.TB, namespace string) *admissionv1.ValidatingWebhookConfiguration {
	t.Helper()
	ca, err := pki.NewCA("test", ago(time.Hour), 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return webhookTrusting(ca.Bundle().PEM(), namespace)
}

func webhookTrusting(bundle []byte, namespace string) *admissionv1.ValidatingWebhookConfiguration {
	ignore, none, timeout := admissionv1.Ignore, admissionv1.SideEffectClassNone, int32(2)
	path := "/admit/" + strings.Repeat("0a", 32)
	return &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: webhookName},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "exec.portcullis.dev", FailurePolicy: &ignore, SideEffects: &none, TimeoutSeconds: &timeout, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{CABundle: bundle, Service: &admissionv1.ServiceReference{Namespace: namespace, Name: "portcullis", Path: &path}},
			Rules:        chartRules(),
		}},
	}
}

// chartRules are the doors as the chart has them.
func chartRules() []admissionv1.RuleWithOperations {
	all, namespaced := admissionv1.AllScopes, admissionv1.NamespacedScope
	rule := func(operation admissionv1.OperationType, scope *admissionv1.ScopeType, resources ...string) admissionv1.RuleWithOperations {
		return admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{operation},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: resources, Scope: scope},
		}
	}
	return []admissionv1.RuleWithOperations{
		rule(admissionv1.Connect, &all, "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"),
		rule(admissionv1.Update, &namespaced, "pods/ephemeralcontainers"),
	}
}

// bolts are the policies and bindings as the chart has them.
func bolts(namespace string) map[string]*bolt {
	made := map[string]*bolt{}
	for _, name := range []string{policyName, mirrorName} {
		b := &bolt{
			policy:  &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicySpec{MatchConstraints: &admissionv1.MatchResources{}}},
			binding: &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}},
		}
		for _, rule := range chartRules() {
			b.policy.Spec.MatchConstraints.ResourceRules = append(b.policy.Spec.MatchConstraints.ResourceRules, admissionv1.NamedRuleWithOperations{RuleWithOperations: rule})
		}
		b.binding.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			ParamRef: &admissionv1.ParamRef{Selector: &metav1.LabelSelector{}},
		}
		made[name] = b
	}
	made[mirrorName].binding.Spec.ParamRef = &admissionv1.ParamRef{
		Namespace: namespace, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"portcullis.dev/quarantine": "true"}},
	}
	return made
}

// document is what a server says that is well.
func document() status.Document {
	return status.Document{
		Version: status.Version, At: ago(4 * time.Second),
		Server: status.Server{Version: "v0.4.0", Pod: "portcullis-0", Started: ago(72 * time.Hour), Ready: true, Mode: "enforce", WatermarkLag: 130},
		Store:  status.Store{Kind: "disk", Waiting: 812, Bytes: 31 << 20},
		APIServers: []status.APIServer{
			{Address: "192.0.2.1:6443", Source: "audit/cp-1", State: "live", Seen: true, Since: ago(72 * time.Hour), LastSeen: ago(9 * time.Second), Lag: 1.2, Measured: true, Tolerance: 0.004},
		},
		Nodes: status.Nodes{Known: 2, Connected: 2},
		Rules: status.Rules{Loaded: 71},
	}
}

// healthy is an installation that is well.
func healthy(t testing.TB) *patient {
	t.Helper()
	two := int32(1)
	text, err := status.Encode(document())
	if err != nil {
		t.Fatal(err)
	}
	settings := config.Default()
	return &patient{
		namespace: "portcullis", now: noon, unread: map[string]error{},
		server:     &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &two}, Status: appsv1.StatefulSetStatus{ReadyReplicas: 1}},
		agents:     &appsv1.DaemonSet{Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, NumberReady: 2}},
		serverPod:  []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "portcullis-0"}}},
		agentPods:  []corev1.Pod{agentPod("n1"), agentPod("n2")},
		nodes:      map[string]bool{"n1": true, "n2": true},
		webhook:    webhook(t, "portcullis"),
		bolts:      bolts("portcullis"),
		config:     &settings,
		apiServers: []string{"192.0.2.1:6443"},
		configMap:  &corev1.ConfigMap{Data: map[string]string{status.Key: string(text)}},
	}
}

func agentPod(node string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "portcullis-agent-" + node}, Spec: corev1.PodSpec{NodeName: node}}
}

// says changes what the server says.
func (p *patient) saying(t testing.TB, change func(*status.Document)) {
	t.Helper()
	d := document()
	change(&d)
	text, err := status.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	p.configMap.Data[status.Key] = string(text)
}

func TestHealthy(t *testing.T) {
	r := healthy(t).report()
	if err := r.verdict(); err != nil || r.Warned != 0 {
		t.Errorf("%v\n%s", err, printed(t, r))
	}
	for _, c := range r.Checks {
		if c.State != OK || c.Do != "" {
			t.Errorf("%+v", c)
		}
	}
	if text := printed(t, r); !strings.HasSuffix(text, "All is well.\n") {
		t.Error(text)
	}
}

func printed(t testing.TB, r *Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.print(&out, output.Table); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// ill is an installation of which much is to be said.
func ill(t testing.TB) *patient {
	t.Helper()
	p := healthy(t)
	p.saying(t, func(d *status.Document) {
		d.APIServers = append(d.APIServers, status.APIServer{
			Address: "192.0.2.2:6443", Source: "audit/cp-2", State: "silent", Since: ago(12 * time.Minute),
		})
		d.Nodes = status.Nodes{Known: 3, Connected: 2, Unhealthy: []status.Node{
			{Name: "n2", DisconnectedSince: ago(14 * time.Minute)},
			{Name: "n3", Losses: []status.Loss{{Cause: "kernel-ring-full", Lost: 1204, From: ago(9 * time.Minute), To: ago(7 * time.Minute)}}, Offset: -95},
		}}
		d.Losses = []status.Loss{
			{Source: "audit/cp-2", Cause: "audit-stream-silent", From: ago(12 * time.Minute)},
			{Source: "join/uid:0c5e5f2c", Cause: "over-total-limit", Lost: 40000, From: ago(9 * time.Minute), To: ago(time.Minute)},
		}
		d.Rejects = status.Rejects{Events: 3, Newest: ago(40 * time.Minute), APIServer: "cp-1", Reason: "requestObject: invalid character '\x1b' in string"}
	})
	p.apiServers = append(p.apiServers, "192.0.2.2:6443")
	p.nodes["n3"] = true
	p.agents.Status.DesiredNumberScheduled, p.agents.Status.NumberReady = 3, 2
	crashing := agentPod("n2")
	crashing.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"},
	}}}
	p.agentPods = []corev1.Pod{agentPod("n1"), crashing, agentPod("n3")}
	p.quarantine = []v1alpha1.Quarantine{{}, {}}
	return p
}

// TestGolden: what people see of an installation that is not well.
func TestGolden(t *testing.T) {
	got := printed(t, ill(t).report())
	const file = "testdata/ill.txt"
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.ContainsRune(got, '\x1b') {
		t.Error("an escape character reaches the terminal")
	}
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil || !strings.Contains(string(page), string(want)) {
		t.Errorf("docs/doctor.md shows another output than that of %s: %v", file, err)
	}
}

func TestJSON(t *testing.T) {
	r := ill(t).report()
	var out bytes.Buffer
	if err := r.print(&out, output.JSON); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || bytes.ContainsRune(out.Bytes(), '\x1b') {
		t.Fatal(err, out.String())
	}
	if diff := cmp.Diff(r, &back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if back.Failed != 3 || r.verdict() == nil {
		t.Errorf("%d failed, verdict %v", back.Failed, r.verdict())
	}
}

// TestChecks: one thing is wrong at a time, and one check says so.
func TestChecks(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*testing.T, *patient)
		check  string
		state  State
		says   string
	}{
		"not installed":  {func(_ *testing.T, p *patient) { p.server = nil }, "server", Fail, "not installed in the namespace portcullis"},
		"switched off":   {func(_ *testing.T, p *patient) { p.server.Spec.Replicas = new(int32) }, "server", Fail, "switched off"},
		"no pod":         {func(_ *testing.T, p *patient) { p.server.Status.ReadyReplicas = 0; p.serverPod = nil }, "server", Fail, "0 of 1 pods are ready: there is no pod"},
		"no node":        {serverPod(corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "no room"}}}), "server", Fail, "portcullis-0 finds no node: no room"},
		"ended":          {serverPod(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}}}}), "server", Fail, "status 137: OOMKilled"},
		"not ready":      {said(func(d *status.Document) { d.Server.Ready, d.Server.NotReady = false, "the pods are not known" }), "server", Fail, "the pods are not known"},
		"no status":      {func(_ *testing.T, p *patient) { p.configMap = nil }, "status", Fail, "no ConfigMap portcullis-status"},
		"empty status":   {func(_ *testing.T, p *patient) { p.configMap.Data = nil }, "status", Fail, "never said anything"},
		"strange status": {func(_ *testing.T, p *patient) { p.configMap.Data[status.Key] = "{" }, "status", Unknown, "decode"},
		"newer status":   {func(_ *testing.T, p *patient) { p.configMap.Data[status.Key] = `{"version":9}` }, "status", Unknown, "older than the server"},
		"old status": {said(func(d *status.Document) {
			d.At = ago(3 * time.Hour)
			d.Server.Ready, d.Server.NotReady = false, "the server has been stopped"
		}), "status", Fail, "nothing for 3h; its last words: the server has been stopped"},
		"future status": {said(func(d *status.Document) { d.At = ago(-2 * time.Minute) }), "status", Warn, "off by 2m0s"},
		"no webhook":    {func(_ *testing.T, p *patient) { p.webhook = nil }, "webhook", Fail, "no exec is denied"},
		"no bundle":     {hooked(func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.CABundle = nil }), "webhook", Fail, "no CA bundle"},
		"wrong bundle":  {hooked(func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.CABundle = []byte("x") }), "webhook", Fail, "no certificate that is valid now"},
		"old bundle":    {func(_ *testing.T, p *patient) { p.now = noon.Add(100 * time.Hour) }, "webhook", Fail, "no certificate that is valid now"},
		"elsewhere":     {hooked(func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.Service.Namespace = "other" }), "webhook", Fail, "leads to the namespace other"},
		"no attach": {hooked(func(w *admissionv1.ValidatingWebhook) {
			w.Rules[0].Resources = []string{"pods/exec", "*/portforward", "*/proxy"}
		}), "webhook", Fail, "nobody asks it about pods/attach"},
		"not on connect": {hooked(func(w *admissionv1.ValidatingWebhook) { w.Rules[0].Operations[0] = admissionv1.Create }), "webhook", Fail, "pods/exec, pods/attach, pods/portforward, pods/proxy, services/proxy, nodes/proxy"},
		"no debug":       {hooked(func(w *admissionv1.ValidatingWebhook) { w.Rules = w.Rules[:1] }), "webhook", Fail, "nobody asks it about pods/ephemeralcontainers"},
		"debug on connect": {hooked(func(w *admissionv1.ValidatingWebhook) {
			w.Rules[1].Operations[0] = admissionv1.Connect
		}), "webhook", Fail, "nobody asks it about pods/ephemeralcontainers"},
		"no nodes": {hooked(func(w *admissionv1.ValidatingWebhook) {
			w.Rules[0].Scope = w.Rules[1].Scope
		}), "webhook", Fail, "nobody asks it about nodes/proxy"},
		"nodes alone": {hooked(func(w *admissionv1.ValidatingWebhook) {
			scope := admissionv1.ClusterScope
			w.Rules[0].Scope = &scope
		}), "webhook", Fail, "nobody asks it about pods/exec, pods/attach, pods/portforward, pods/proxy, services/proxy"},
		"no services": {hooked(func(w *admissionv1.ValidatingWebhook) {
			w.Rules[0].Resources = []string{"pods/*", "nodes/proxy"}
		}), "webhook", Fail, "nobody asks it about services/proxy"},
		"everything": {hooked(func(w *admissionv1.ValidatingWebhook) {
			w.Rules = []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.OperationAll},
				Rule:       admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
			}}
		}), "webhook", OK, "guards"},
		"no path":      {hooked(func(w *admissionv1.ValidatingWebhook) { w.ClientConfig.Service.Path = nil }), "webhook", Fail, "no path"},
		"another path": {hooked(func(w *admissionv1.ValidatingWebhook) { *w.ClientConfig.Service.Path = "/validate" }), "webhook", Fail, "no path that the server answers"},
		"no secret":    {hooked(func(w *admissionv1.ValidatingWebhook) { *w.ClientConfig.Service.Path = "/admit/" }), "webhook", Fail, "no path that the server answers"},
		"a URL":        {hooked(func(w *admissionv1.ValidatingWebhook) { byURL(w, "https://192.0.2.7"+*w.ClientConfig.Service.Path) }), "webhook", OK, "guards"},
		"a URL without the path": {hooked(func(w *admissionv1.ValidatingWebhook) {
			byURL(w, "https://proxy.example.org/portcullis")
		}), "webhook", Warn, "no path that the server answers"},
		"a URL without a bundle": {hooked(func(w *admissionv1.ValidatingWebhook) {
			byURL(w, "https://192.0.2.7"+*w.ClientConfig.Service.Path)
			w.ClientConfig.CABundle = nil
		}), "webhook", Fail, "no CA bundle"},
		"their certificate, no bundle":  {theirs("/ca.crt", func(p *patient) { p.webhook.Webhooks[0].ClientConfig.CABundle = nil }), "webhook", Fail, "no CA bundle"},
		"their certificate, old bundle": {theirs("/ca.crt", func(p *patient) { p.webhook.Webhooks[0].ClientConfig.CABundle = []byte("x") }), "webhook", Fail, "no certificate that is valid now"},
		"their certificate":             {theirs("/ca.crt", func(*patient) {}), "webhook", OK, "guards"},
		"a known authority's certificate": {theirs("", func(p *patient) {
			p.webhook.Webhooks[0].ClientConfig.CABundle = nil
		}), "webhook", OK, "by the authorities of its own host"},
		"cert-manager has not injected": {theirs("", func(p *patient) {
			p.webhook.Webhooks[0].ClientConfig.CABundle = nil
			p.webhook.Annotations = map[string]string{"cert-manager.io/inject-ca-from": "portcullis/serving"}
		}), "webhook", Fail, "no CA bundle"},
		"their old bundle": {theirs("", func(p *patient) { p.now = noon.Add(100 * time.Hour) }), "webhook", Fail, "no certificate that is valid now"},
		"no bundle, whoever's certificate": {func(_ *testing.T, p *patient) {
			p.config, p.webhook.Webhooks[0].ClientConfig.CABundle = nil, nil
			p.unread["configuration"] = apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "portcullis", nil)
		}, "webhook", Warn, "no CA bundle"},
		"no policy":            {func(_ *testing.T, p *patient) { p.bolts[policyName].policy = nil }, "policies", Warn, "no ValidatingAdmissionPolicy portcullis-quarantine: while the server is down nobody is refused"},
		"no policies":          {func(_ *testing.T, p *patient) { p.bolts = map[string]*bolt{policyName: {}, mirrorName: {}} }, "policies", Warn, "while the server is down nobody is refused"},
		"no binding":           {func(_ *testing.T, p *patient) { p.bolts[policyName].binding = nil }, "policies", Warn, "no ValidatingAdmissionPolicyBinding portcullis-quarantine: while the server is down nobody is refused"},
		"another's binding":    {bound(policyName, func(b *admissionv1.ValidatingAdmissionPolicyBindingSpec) { b.PolicyName = "x" }), "policies", Warn, "binds another policy"},
		"a binding that warns": {bound(policyName, func(b *admissionv1.ValidatingAdmissionPolicyBindingSpec) { b.ValidationActions[0] = admissionv1.Warn }), "policies", Warn, "does not deny"},
		"a binding of nothing": {bound(policyName, func(b *admissionv1.ValidatingAdmissionPolicyBindingSpec) { b.ParamRef = nil }), "policies", Warn, "goes by no quarantine"},
		"a binding of some": {bound(policyName, func(b *admissionv1.ValidatingAdmissionPolicyBindingSpec) {
			b.ParamRef.Selector.MatchLabels = map[string]string{"a": "b"}
		}), "policies", Warn, "does not go by all quarantines"},
		"a narrowed binding": {bound(mirrorName, func(b *admissionv1.ValidatingAdmissionPolicyBindingSpec) {
			b.MatchResources = &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
		}), "policies", Warn, "narrowed"},
		"a policy of some namespaces": {func(_ *testing.T, p *patient) {
			p.bolts[policyName].policy.Spec.MatchConstraints.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}, "policies", Warn, "narrowed the policy"},
		"a narrowed policy": {func(_ *testing.T, p *patient) {
			rules := &p.bolts[policyName].policy.Spec.MatchConstraints.ResourceRules
			*rules = (*rules)[:1]
		}, "policies", Warn, "does not cover pods/ephemeralcontainers"},
		"mirrors elsewhere": {bound(mirrorName, func(b *admissionv1.ValidatingAdmissionPolicyBindingSpec) { b.ParamRef.Namespace = "x" }), "policies", Warn, "looks into the namespace x"},
		"no mirror":         {func(_ *testing.T, p *patient) { p.bolts[mirrorName] = &bolt{} }, "policies", Warn, "right after an API server's start"},
		"no mirror wanted": {func(_ *testing.T, p *patient) {
			p.bolts[mirrorName], p.config.Gate.Mirror = &bolt{}, false
		}, "policies", OK, "refuses who is in quarantine also while the server is down"},
		"no policies, fails closed": {func(_ *testing.T, p *patient) {
			p.bolts = map[string]*bolt{policyName: {}, mirrorName: {}}
			*p.webhook.Webhooks[0].FailurePolicy = admissionv1.Fail
		}, "policies", Warn, "while the server is down the webhook's failure policy alone keeps them out"},
		"policies that nobody shows": {unread("policies", apierrors.NewForbidden(schema.GroupResource{Resource: "validatingadmissionpolicies"}, policyName, nil)), "policies", Unknown, "may not read the policies"},
		"narrowed": {hooked(func(w *admissionv1.ValidatingWebhook) {
			w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}), "webhook", Warn, "namespaceSelector"},
		"narrowed by CEL":    {hooked(func(w *admissionv1.ValidatingWebhook) { w.MatchConditions = []admissionv1.MatchCondition{{}} }), "webhook", Warn, "matchConditions"},
		"fails closed":       {hooked(func(w *admissionv1.ValidatingWebhook) { *w.FailurePolicy = admissionv1.Fail }), "webhook", OK, "lets nobody in"},
		"full disk":          {said(func(d *status.Document) { d.Store.Error = "no space" }), "store", Fail, "no space"},
		"in memory":          {said(func(d *status.Document) { d.Store.Kind = "memory" }), "store", Warn, "in memory"},
		"late":               {audit(func(a *status.APIServer) { a.State, a.Lag = "late", 200 }), "audit 192.0.2.1:6443 (cp-1)", Warn, "3m20s late, too late"},
		"filtered":           {audit(func(a *status.APIServer) { a.State = "filtered" }), "audit 192.0.2.1:6443 (cp-1)", Fail, "not all"},
		"unreachable":        {audit(func(a *status.APIServer) { a.State, a.Source = "unreachable", "" }), "audit 192.0.2.1:6443", Fail, "has not answered"},
		"starting":           {audit(func(a *status.APIServer) { a.State = "starting" }), "audit 192.0.2.1:6443 (cp-1)", Warn, "yet"},
		"unheard of":         {audit(func(a *status.APIServer) { a.State = "dancing" }), "audit 192.0.2.1:6443 (cp-1)", Unknown, "dancing"},
		"API server's clock": {audit(func(a *status.APIServer) { a.Offset = -180 }), "audit 192.0.2.1:6443 (cp-1)", Warn, "off by -3m"},
		"no API server": {func(t *testing.T, p *patient) {
			p.saying(t, func(d *status.Document) { d.APIServers = nil })
			p.apiServers = nil
		}, "audit", Fail, "no API server"},
		"a new one":       {func(_ *testing.T, p *patient) { p.apiServers = append(p.apiServers, "192.0.2.9:6443") }, "audit 192.0.2.9:6443", Fail, "knows nothing"},
		"no agents":       {func(_ *testing.T, p *patient) { p.agents = nil }, "agents", Warn, "there are none"},
		"agent not ready": {func(_ *testing.T, p *patient) { p.agents.Status.NumberReady = 1 }, "agents", Fail, "1 of 2 pods"},
		"not connected":   {said(func(d *status.Document) { d.Nodes.Connected = 1 }), "agents", Fail, "1 of 2 nodes are connected"},
		"tainted node":    {func(_ *testing.T, p *patient) { p.nodes["n4"] = true }, "agents", Warn, "no agent is meant to run on 1 node (n4)"},
		"blind node": {said(func(d *status.Document) {
			d.Nodes.Unhealthy = []status.Node{{Name: "n1", DisconnectedSince: ago(time.Hour)}}
		}), "node n1", Fail, "blind for 60m"},
		"old kernel": {said(func(d *status.Document) { d.Nodes.Unhealthy = []status.Node{{Name: "n1", Partial: 2}} }), "node n1", Warn, "2 things"},
		"many nodes": {said(manyNodes), "nodes", Warn, "30 more"},
		"losses": {said(func(d *status.Document) {
			d.Losses = []status.Loss{{Source: "server/bus", Cause: "bus-message-damaged", Lost: 2, From: ago(time.Hour), To: ago(time.Minute)}}
		}), "losses", Warn, "server/bus: bus-message-damaged, 2 lost, until 60s ago"},
		"a flood": {said(func(d *status.Document) {
			d.Losses = []status.Loss{{Source: "pod/x", Cause: "telemetry-limit", Lost: 2, From: ago(time.Hour), To: ago(time.Minute)}}
		}), "losses", Warn, "1 pod or user did"},
		"notifications that were dropped": {said(func(d *status.Document) {
			d.Unsent = []status.Unsent{{Sink: "siem", Dropped: 3, Rejected: 2, Newest: ago(time.Minute)}}
		}), "notifications", Warn, "siem never got 3 that there was no room for and 2 that it did not want, until 60s ago"},
		"lost, and not set aside": {said(func(d *status.Document) {
			d.Rejects = status.Rejects{Newest: ago(time.Minute), APIServer: "cp-1", Reason: "the body exceeds 16777216 bytes"}
		}), "set aside", Warn, "nor kept aside; newest 60s ago from cp-1: the body exceeds"},
		"set aside":  {said(func(d *status.Document) { d.Rejects.Events = 2 }), "set aside", Warn, "2 audit events"},
		"bad rules":  {said(func(d *status.Document) { d.Rules.Refused = true }), "rules", Fail, "not right"},
		"no rules":   {said(func(d *status.Document) { d.Rules.Loaded = 0 }), "rules", Fail, "none"},
		"slow rules": {said(func(d *status.Document) { d.Rules.Suspended = 1 }), "rules", Warn, "suspended"},
		"lagging":    {said(func(d *status.Document) { d.Server.WatermarkLag = 7200 }), "rules", Warn, "120m behind"},
		"clock set":  {said(func(d *status.Document) { d.Server.WallAhead = -3600 }), "server", Warn, "set by -1h0m0s"},
		"expired": {func(_ *testing.T, p *patient) {
			p.quarantine = []v1alpha1.Quarantine{{Spec: v1alpha1.QuarantineSpec{ExpiresAt: &metav1.Time{Time: ago(time.Hour)}}}}
		}, "quarantines", Warn, "1 of them expired"},
		"no definition": {unread("quarantines", apierrors.NewNotFound(schema.GroupResource{}, "")), "quarantines", Fail, "definition is missing"},
		"no rights":     {unread("webhook", apierrors.NewForbidden(schema.GroupResource{Resource: "x"}, "y", nil)), "webhook", Unknown, "may not read the webhook"},
		"no answer":     {unread("server", apierrors.NewInternalError(errors.New("odd"))), "server", Unknown, "odd"},
	} {
		p := healthy(t)
		tc.change(t, p)
		r := p.report()
		found := false
		for _, c := range r.Checks {
			if c.Name == tc.check {
				found = true
				if c.State != tc.state || !strings.Contains(c.Says, tc.says) || (c.State != OK && c.Do == "") {
					t.Errorf("%s: %+v, want %s with %q and what to do", name, c, tc.state, tc.says)
				}
			}
		}
		if !found {
			t.Errorf("%s: no check %q in\n%s", name, tc.check, printed(t, r))
		}
	}
}

func said(change func(*status.Document)) func(*testing.T, *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		p.saying(t, change)
	}
}

func audit(change func(*status.APIServer)) func(*testing.T, *patient) {
	return said(func(d *status.Document) { change(&d.APIServers[0]) })
}

func hooked(change func(*admissionv1.ValidatingWebhook)) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { change(&p.webhook.Webhooks[0]) }
}

// byURL is a webhook for an API server that reaches no Services.
func byURL(w *admissionv1.ValidatingWebhook, url string) {
	w.ClientConfig.Service, w.ClientConfig.URL = nil, &url
}

// theirs is an installation with a certificate of somebody else, whose authority is in a file or not.
func theirs(ca string, change func(*patient)) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) {
		p.config.PKI.ServingFiles = config.CertificateFiles{Certificate: "/tls.crt", Key: "/tls.key", CA: ca}
		change(p)
	}
}

func bound(name string, change func(*admissionv1.ValidatingAdmissionPolicyBindingSpec)) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { change(&p.bolts[name].binding.Spec) }
}

func serverPod(s corev1.PodStatus) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { p.server.Status.ReadyReplicas, p.serverPod[0].Status = 0, s }
}

func unread(what string, err error) func(*testing.T, *patient) {
	return func(_ *testing.T, p *patient) { p.unread[what] = err }
}

func manyNodes(d *status.Document) {
	for range 50 {
		d.Nodes.Unhealthy = append(d.Nodes.Unhealthy, status.Node{Name: "n1", Partial: 1})
	}
}

// TestServerIsDown: what nobody knows is not said to be well.
func TestServerIsDown(t *testing.T) {
	p := healthy(t)
	p.server.Status.ReadyReplicas = 0
	p.saying(t, func(d *status.Document) { d.At = ago(time.Hour) })
	r := p.report()
	states := map[string]State{}
	for _, c := range r.Checks {
		states[c.Name] = c.State
	}
	want := map[string]State{
		"server": Fail, "status": Fail, "webhook": OK, "policies": OK, "agents": OK, "quarantines": OK,
		"store": Unknown, "audit": Unknown, "losses": Unknown, "set aside": Unknown, "notifications": Unknown, "rules": Unknown,
	}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNodesThatAreGone: the server does not know that nodes go; the cluster does.
func TestNodesThatAreGone(t *testing.T) {
	p := healthy(t)
	p.saying(t, func(d *status.Document) {
		d.Nodes = status.Nodes{Known: 3, Connected: 2, Unhealthy: []status.Node{{Name: "was-here", DisconnectedSince: ago(time.Hour)}}}
	})
	if r := p.report(); r.Failed+r.Warned > 0 || !strings.Contains(printed(t, r), "2 of 2 nodes are connected") {
		t.Errorf("a node that is gone:\n%s", printed(t, r))
	}
	p.nodes = nil // no rights to list them
	if r := p.report(); r.Failed != 1 {
		t.Errorf("a node of which nobody knows whether it is gone:\n%s", printed(t, r))
	}
}

// TestABrokenConfigurationHidesNothing: it may be why the server does not run.
func TestABrokenConfigurationHidesNothing(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "portcullis", Name: "portcullis"}, Data: map[string]string{"config.yaml": "{"},
	}).Build()
	if r, err := Examine(t.Context(), c, "portcullis", noon); err != nil || r.Failed == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
