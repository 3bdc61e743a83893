package charts

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/portcullis-dev/portcullis/config"
)

func server(t *testing.T, from objects) corev1.PodSpec {
	t.Helper()
	return get[*appsv1.StatefulSet](t, from, "portcullis").Spec.Template.Spec
}

func agent(t *testing.T, from objects) corev1.PodSpec {
	t.Helper()
	return get[*appsv1.DaemonSet](t, from, "portcullis-agent").Spec.Template.Spec
}

// TestServerIsConfined: what the restricted pod security standard asks for, and more.
func TestServerIsConfined(t *testing.T) {
	eachScenario(t, func(t *testing.T, all objects) {
		pod := server(t, all)
		want := &corev1.PodSecurityContext{
			RunAsNonRoot:        ptr(true),
			RunAsUser:           ptr[int64](65532),
			RunAsGroup:          ptr[int64](65532),
			FSGroup:             ptr[int64](65532),
			FSGroupChangePolicy: ptr(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
		if diff := cmp.Diff(want, pod.SecurityContext); diff != "" {
			t.Errorf("pod security context (-want +got):\n%s", diff)
		}
		wantContainer := &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr(false),
			ReadOnlyRootFilesystem:   ptr(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
		if diff := cmp.Diff(wantContainer, only(t, pod.Containers).SecurityContext); diff != "" {
			t.Errorf("container security context (-want +got):\n%s", diff)
		}
		if pod.HostNetwork || pod.HostPID || pod.HostIPC || len(hostPaths(pod)) > 0 {
			t.Error("the server reaches into its node")
		}
	})
}

// TestAgentHasNoMoreThanItNeeds: privileged in nothing but the capabilities of the values.
func TestAgentHasNoMoreThanItNeeds(t *testing.T) {
	all := render(t, "")
	pod := agent(t, all)
	want := &corev1.SecurityContext{
		RunAsUser:                ptr[int64](0),
		RunAsGroup:               ptr[int64](0),
		Privileged:               ptr(false),
		AllowPrivilegeEscalation: ptr(false),
		ReadOnlyRootFilesystem:   ptr(true),
		Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"},
			Add:  []corev1.Capability{"BPF", "PERFMON"},
		},
	}
	if diff := cmp.Diff(want, only(t, pod.Containers).SecurityContext); diff != "" {
		t.Errorf("container security context (-want +got):\n%s", diff)
	}
	if pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("seccomp profile %+v", pod.SecurityContext.SeccompProfile)
	}
	if *pod.AutomountServiceAccountToken {
		t.Error("the agent mounts a token for the API server")
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC || len(hostPaths(pod)) > 0 {
		t.Error("the agent reaches into its node by other ways than the kernel's")
	}
	for _, mount := range only(t, pod.Containers).VolumeMounts {
		if !mount.ReadOnly {
			t.Errorf("%s is mounted writable", mount.MountPath)
		}
	}
}

// TestAgentThatEndsNothing: what only serves to end sessions is gone when nobody wants that.
func TestAgentThatEndsNothing(t *testing.T) {
	for values, want := range map[string]bool{"": false, "agent: {endSessions: true}": true} {
		pod := agent(t, render(t, values))
		add := only(t, pod.Containers).SecurityContext.Capabilities.Add
		if pod.HostPID != want || slices.Contains(add, "KILL") != want || (pod.SecurityContext.AppArmorProfile != nil) != want {
			t.Errorf("%q gives hostPID %v, capabilities %v, AppArmor %v", values, pod.HostPID, add, pod.SecurityContext.AppArmorProfile)
		}
	}
}

// TestAgentSpoolsOnDisk: only if asked, where nobody else is.
func TestAgentSpoolsOnDisk(t *testing.T) {
	pod := agent(t, render(t, "agent: {spoolOnDisk: true}"))
	container := only(t, pod.Containers)
	if !slices.Contains(container.Args, "--spool-dir=/var/spool/portcullis") || volume(t, pod, "spool").EmptyDir == nil || container.VolumeMounts[1].ReadOnly {
		t.Errorf("arguments %q, mounts %+v", container.Args, container.VolumeMounts)
	}
	if args := only(t, agent(t, render(t, "")).Containers).Args; strings.Contains(strings.Join(args, " "), "spool") {
		t.Errorf("without being asked: %q", args)
	}
}

func TestAgentRunsEverywhere(t *testing.T) {
	pod := agent(t, render(t, ""))
	if want := []corev1.Toleration{{Operator: corev1.TolerationOpExists}}; !cmp.Equal(want, pod.Tolerations) {
		t.Errorf("tolerations %+v leave nodes without agent", pod.Tolerations)
	}
	if pod.PriorityClassName != "system-node-critical" {
		t.Errorf("priority class %q", pod.PriorityClassName)
	}
}

// TestAgentProvesWhoItIs: by a token that is good for nothing else, to a server that proves who it is.
func TestAgentProvesWhoItIs(t *testing.T) {
	sources := volume(t, agent(t, render(t, "")), "identity").Projected.Sources
	token, trust := sources[0].ServiceAccountToken, sources[1].ConfigMap
	if token.Audience != "portcullis" || *token.ExpirationSeconds > 3600 {
		t.Errorf("token %+v", token)
	}
	if trust.Name != "portcullis-trust" || trust.Optional != nil || !cmp.Equal(trust.Items, []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}) {
		t.Errorf("the pod does not wait for the server's authority: %+v", trust)
	}
}

// TestAgentFindsTheServer expands the arguments as a kubelet does.
func TestAgentFindsTheServer(t *testing.T) {
	all := render(t, "")
	container := only(t, agent(t, all).Containers)
	service := get[*corev1.Service](t, all, "portcullis")
	for _, ip := range []string{"10.0.0.17", "fd00::17"} {
		expanded := expand(container.Args[0], service, ip)
		address, ok := strings.CutPrefix(expanded, "--server=")
		host, port, err := net.SplitHostPort(address)
		if !ok || err != nil || host != ip || port != "8444" {
			t.Errorf("%s is host %q, port %q, %v", expanded, host, port, err)
		}
	}
	if !slices.Contains(container.Args, "--server-name=portcullis."+namespace+".svc") {
		t.Errorf("arguments %q do not name the server", container.Args)
	}
	container = only(t, agent(t, render(t, scenarios["everything"])).Containers)
	if container.Args[0] != "--server=portcullis.example.org:8444" {
		t.Errorf("agent.serverAddress gives %s", container.Args[0])
	}
}

// expand replaces what Kubernetes puts into the environment for a Service.
func expand(arg string, service *corev1.Service, ip string) string {
	prefix := strings.ToUpper(strings.ReplaceAll(service.Name, "-", "_"))
	arg = strings.ReplaceAll(arg, "$("+prefix+"_SERVICE_HOST)", ip)
	for _, port := range service.Spec.Ports {
		name := prefix + "_SERVICE_PORT_" + strings.ToUpper(port.Name)
		arg = strings.ReplaceAll(arg, "$("+name+")", "8444")
		if port.Name == "collector" && port.Port != 8444 {
			return "the collector is on another port"
		}
	}
	return arg
}

func TestWebhook(t *testing.T) {
	hook := get[*admissionv1.ValidatingWebhookConfiguration](t, render(t, ""), "portcullis").Webhooks[0]
	doors := func(operation admissionv1.OperationType, scope admissionv1.ScopeType, resources ...string) admissionv1.RuleWithOperations {
		return admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{operation},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Scope: ptr(scope), Resources: resources},
		}
	}
	want := []admissionv1.RuleWithOperations{
		doors(admissionv1.Connect, admissionv1.AllScopes, "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"),
		doors(admissionv1.Update, admissionv1.NamespacedScope, "pods/ephemeralcontainers"),
	}
	if diff := cmp.Diff(want, hook.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if *hook.FailurePolicy != admissionv1.Ignore || *hook.TimeoutSeconds > 2 {
		t.Errorf("Portcullis down would hold the cluster up: %s, %d s", *hook.FailurePolicy, *hook.TimeoutSeconds)
	}
	if hook.NamespaceSelector != nil || hook.ObjectSelector != nil || hook.MatchConditions != nil {
		t.Error("some execs are not guarded")
	}
	if hook.ClientConfig.CABundle != nil || hook.ClientConfig.Service.Path != nil {
		t.Error("the chart sets the caBundle or the path, which are the server's: an upgrade would take them away")
	}
	if s := hook.ClientConfig.Service; s.Namespace != namespace || s.Name != "portcullis" || *s.Port != 443 {
		t.Errorf("service %+v", s)
	}
}

// TestPolicy: on its own it fails open, and it can be left out. What it says is tried in package webhook/policy.
func TestPolicy(t *testing.T) {
	names := []string{"portcullis-quarantine", "portcullis-quarantine-mirror"}
	for values, want := range map[string]admissionv1.FailurePolicyType{"": admissionv1.Ignore, scenarios["everything"]: admissionv1.Fail} {
		all := render(t, values)
		for _, name := range names {
			policy := get[*admissionv1.ValidatingAdmissionPolicy](t, all, name)
			binding := get[*admissionv1.ValidatingAdmissionPolicyBinding](t, all, name)
			if *policy.Spec.FailurePolicy != want || binding.Spec.PolicyName != name || *binding.Spec.ParamRef.ParameterNotFoundAction != admissionv1.AllowAction {
				t.Errorf("failure policy %s, binding %+v", *policy.Spec.FailurePolicy, binding.Spec)
			}
		}
	}
	for values, want := range map[string][]string{
		"":                                 names,
		"gate: {policy: {mirror: false}}":  names[:1],
		"gate: {policy: {enabled: false}}": nil,
	} {
		all := render(t, values)
		var got []string
		for _, name := range names {
			if _, found := find[*admissionv1.ValidatingAdmissionPolicy](all, name); found {
				got = append(got, name)
			}
		}
		mirrors := strings.Contains(get[*corev1.ConfigMap](t, all, "portcullis").Data["config.yaml"], "mirror: true")
		if !slices.Equal(got, want) || mirrors != slices.Contains(want, names[1]) {
			t.Errorf("%s: there are %v, want %v; the server mirrors: %v", values, got, want, mirrors)
		}
	}
}

// TestMirrorsAreTheServersAlone: the policy looks where the server writes, and nowhere else.
func TestMirrorsAreTheServersAlone(t *testing.T) {
	eachScenario(t, func(t *testing.T, all objects) {
		ref := get[*admissionv1.ValidatingAdmissionPolicyBinding](t, all, "portcullis-quarantine-mirror").Spec.ParamRef
		if ref.Namespace != namespace || !cmp.Equal(ref.Selector.MatchLabels, map[string]string{"portcullis.dev/quarantine": "true"}) {
			t.Errorf("%+v", ref)
		}
	})
}

// TestConfigurationIsUnderstood by the server itself.
func TestConfigurationIsUnderstood(t *testing.T) {
	eachScenario(t, func(t *testing.T, all objects) {
		text := get[*corev1.ConfigMap](t, all, "portcullis").Data["config.yaml"]
		got, err := config.Parse([]byte(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if got.Namespace != namespace {
			t.Errorf("namespace %q", got.Namespace)
		}
		// Every object that the configuration names must be in the chart.
		get[*corev1.Secret](t, all, got.PKI.ServingSecret)
		get[*corev1.Secret](t, all, got.PKI.SinkCASecret)
		get[*corev1.ConfigMap](t, all, got.PKI.TrustConfigMap)
		get[*corev1.ConfigMap](t, all, got.Audit.CanaryConfigMap)
		get[*corev1.Service](t, all, got.PKI.Service)
		get[*admissionv1.ValidatingWebhookConfiguration](t, all, got.Webhook.ConfigurationName)
		container := only(t, server(t, all).Containers)
		for _, dir := range slices.Concat(got.RuleDirectories, got.ElasticRuleDirectories) {
			if !mounted(container, dir) {
				t.Errorf("nothing is mounted at %s", dir)
			}
		}
		ports := map[string]int32{}
		for _, p := range container.Ports {
			ports[p.Name] = p.ContainerPort
		}
		want := map[string]int32{
			"audit": port(t, got.Audit.Listen), "collector": port(t, got.Collector.Listen), "webhook": port(t, got.Webhook.Listen),
			"metrics": port(t, got.Metrics.Listen), "health": port(t, got.Health.Listen),
		}
		if diff := cmp.Diff(want, ports); diff != "" {
			t.Errorf("container ports (-configured +declared):\n%s", diff)
		}
	})
}

// TestDefaultsAgreeWithTheServer: the chart's defaults are those of an empty file.
func TestDefaultsAgreeWithTheServer(t *testing.T) {
	text := get[*corev1.ConfigMap](t, render(t, ""), "portcullis").Data["config.yaml"]
	got, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.Namespace = namespace
	want.Rules, want.RuleDirectories, want.ElasticRuleDirectories = got.Rules, got.RuleDirectories, got.ElasticRuleDirectories
	want.PKI.ExtraNames = got.PKI.ExtraNames
	if len(got.Rules)+len(got.ElasticRuleDirectories)+len(got.PKI.ExtraNames) > 0 || len(got.RuleDirectories) != 1 {
		t.Errorf("lists are not empty, but for the one directory of ruleFiles: %+v", got)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-server's defaults +chart's):\n%s", diff)
	}
}

func TestChangedConfigurationRestarts(t *testing.T) {
	seen := map[string]string{}
	for _, values := range []string{"", "config: {mode: enforce}", "ruleConfigMaps: [a]", "elasticRuleConfigMaps: [a]"} {
		sum := checksum(t, values)
		if other, ok := seen[sum]; ok {
			t.Errorf("values %q and %q make the same pod template", values, other)
		}
		seen[sum] = values
	}
}

// TestChangedRulesDoNotRestart: not even the first ones.
func TestChangedRulesDoNotRestart(t *testing.T) {
	want := get[*appsv1.StatefulSet](t, render(t, ""), "portcullis").Spec.Template
	for _, values := range []string{"ruleFiles: {a.yaml: one}", "ruleFiles: {a.yaml: two, b.yaml: three}"} {
		got := get[*appsv1.StatefulSet](t, render(t, values), "portcullis").Spec.Template
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s changes the pod:\n%s", values, diff)
		}
	}
}

func checksum(t *testing.T, values string) string {
	t.Helper()
	return get[*appsv1.StatefulSet](t, render(t, values), "portcullis").Spec.Template.Annotations["checksum/config"]
}

// TestRulesAreMountedWhereTheServerReads: as whole folders, since a file that is
// mounted by subPath never changes.
func TestRulesAreMountedWhereTheServerReads(t *testing.T) {
	pod := server(t, render(t, "ruleConfigMaps: [mine]\nelasticRuleConfigMaps: [mine, theirs]\n"))
	want := map[string]string{
		"/etc/portcullis/rules.d/values":             "portcullis-rules",
		"/etc/portcullis/rules.d/configmap-mine":     "mine",
		"/etc/portcullis/elastic.d/configmap-mine":   "mine",
		"/etc/portcullis/elastic.d/configmap-theirs": "theirs",
	}
	got := map[string]string{}
	for _, m := range only(t, pod.Containers).VolumeMounts {
		if _, ok := want[m.MountPath]; !ok {
			continue
		}
		v := volume(t, pod, m.Name).ConfigMap
		if m.SubPath != "" || !m.ReadOnly || v.Optional != nil || v.Items != nil {
			t.Errorf("%s: mounted as %+v from %+v", m.MountPath, m, v)
		}
		got[m.MountPath] = v.Name
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
}

// TestServerKnowsItsPod, to tell there what whoever runs it should see.
func TestServerKnowsItsPod(t *testing.T) {
	got := map[string]string{}
	for _, e := range only(t, server(t, render(t, "")).Containers).Env {
		got[e.Name] = e.ValueFrom.FieldRef.FieldPath
	}
	want := map[string]string{"POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name", "POD_UID": "metadata.uid"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestRuleFilesArriveUnchanged(t *testing.T) {
	got := get[*corev1.ConfigMap](t, render(t, scenarios["everything"]), "portcullis-rules").Data
	if want := map[string]string{"mine.yaml": "name: mine\nquery: \"{{ not a template }}\"\n"}; !cmp.Equal(want, got) {
		t.Errorf("got %q", got)
	}
}

func TestImages(t *testing.T) {
	for values, want := range map[string]string{
		"":                           "ghcr.io/portcullis-dev/portcullis:0.1.0",
		"image: {tag: v9}":           "ghcr.io/portcullis-dev/portcullis:v9",
		scenarios["everything"]:      "ghcr.io/portcullis-dev/portcullis@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		scenarios["test cluster"]:    "localhost/portcullis:dev",
		"image: {repository: r:5/x}": "r:5/x:0.1.0",
	} {
		if got := only(t, server(t, render(t, values)).Containers).Image; got != want {
			t.Errorf("image %s, want %s", got, want)
		}
	}
}

// TestServicesSelectTheirPods, and every port leads to a port of the container.
func TestServicesSelectTheirPods(t *testing.T) {
	eachScenario(t, func(t *testing.T, all objects) {
		template := get[*appsv1.StatefulSet](t, all, "portcullis").Spec.Template
		for _, obj := range all {
			service, ok := obj.(*corev1.Service)
			if !ok {
				continue
			}
			if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(template.Labels)) {
				t.Errorf("service %s does not select the server", service.Name)
			}
			for _, p := range service.Spec.Ports {
				if !slices.ContainsFunc(template.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool { return c.Name == p.TargetPort.StrVal }) {
					t.Errorf("service %s: port %s leads nowhere", service.Name, p.Name)
				}
			}
		}
	})
}

func TestServiceAddresses(t *testing.T) {
	all := render(t, scenarios["everything"])
	if ip := get[*corev1.Service](t, all, "portcullis").Spec.ClusterIP; ip != "fd00::17" {
		t.Errorf("cluster IP %q", ip)
	}
	ports := get[*corev1.Service](t, all, "portcullis-audit").Spec.Ports
	if len(ports) != 1 || ports[0].NodePort != 30443 || ports[0].Name != "audit" {
		t.Errorf("on every node: %+v, want the audit sink alone", ports)
	}
	if _, ok := find[*corev1.Service](render(t, ""), "portcullis-audit"); ok {
		t.Error("a node port without having asked for it")
	}
}

func TestPersistence(t *testing.T) {
	set := get[*appsv1.StatefulSet](t, render(t, scenarios["everything"]), "portcullis")
	claim := only(t, set.Spec.VolumeClaimTemplates).Spec
	if *claim.StorageClassName != "fast" || claim.Resources.Requests.Storage().String() != "5Gi" {
		t.Errorf("claim %+v", claim)
	}
	set = get[*appsv1.StatefulSet](t, render(t, "persistence: {enabled: false}"), "portcullis")
	if len(set.Spec.VolumeClaimTemplates) > 0 || volume(t, set.Spec.Template.Spec, "data").EmptyDir == nil {
		t.Error("persistence.enabled=false leaves a claim")
	}
	if set := get[*appsv1.StatefulSet](t, render(t, ""), "portcullis"); only(t, set.Spec.VolumeClaimTemplates).Spec.StorageClassName != nil {
		t.Error("an empty storage class is not the default one")
	}
}

func TestOptionalObjects(t *testing.T) {
	all := render(t, scenarios["everything"])
	budget := get[*policyv1.PodDisruptionBudget](t, all, "portcullis").Spec
	if budget.MaxUnavailable.IntValue() != 0 || *budget.UnhealthyPodEvictionPolicy != policyv1.AlwaysAllow {
		t.Errorf("budget %+v", budget)
	}
	policy := get[*networkingv1.NetworkPolicy](t, all, "portcullis").Spec
	if len(policy.Ingress) != 3 || policy.Ingress[0].From[0].IPBlock.CIDR != "10.0.0.0/28" {
		t.Errorf("network policy %+v", policy)
	}
	agents := policy.Ingress[1].From[0].PodSelector.MatchLabels
	if !labels.SelectorFromSet(agents).Matches(labels.Set(get[*appsv1.DaemonSet](t, all, "portcullis-agent").Spec.Template.Labels)) {
		t.Error("the network policy shuts the agents out")
	}
	monitor := get[*unstructured.Unstructured](t, all, "portcullis")
	if monitor.GetKind() != "ServiceMonitor" || monitor.GetLabels()["prometheus"] != "main" {
		t.Errorf("service monitor %+v", monitor.Object)
	}
	none := render(t, "")
	for _, obj := range none {
		switch obj.(type) {
		case *policyv1.PodDisruptionBudget, *networkingv1.NetworkPolicy, *unstructured.Unstructured:
			t.Errorf("%T without having asked for it", obj)
		}
	}
}

func TestCRDPolicy(t *testing.T) {
	const name, policy = "quarantines.portcullis.dev", "helm.sh/resource-policy"
	if got := get[*apiextensions.CustomResourceDefinition](t, render(t, ""), name).Annotations[policy]; got != "keep" {
		t.Errorf("an uninstall deletes all quarantines: %q", got)
	}
	if got := get[*apiextensions.CustomResourceDefinition](t, render(t, "crds: {keep: false}"), name).Annotations[policy]; got != "" {
		t.Errorf("crds.keep=false: %q", got)
	}
	if _, ok := find[*apiextensions.CustomResourceDefinition](render(t, "crds: {install: false}"), name); ok {
		t.Error("crds.install=false installs it")
	}
}

// TestNamespaces: what lives in a namespace lives in the release's.
func TestNamespaces(t *testing.T) {
	eachScenario(t, func(t *testing.T, all objects) {
		for _, obj := range all {
			if ns := obj.GetNamespace(); ns != namespace && ns != "" {
				t.Errorf("%T %s is in namespace %q", obj, obj.GetName(), ns)
			}
			if obj.GetLabels()["app.kubernetes.io/part-of"] != "portcullis" {
				t.Errorf("%T %s has no labels", obj, obj.GetName())
			}
		}
	})
}
