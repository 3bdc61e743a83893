package charts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	chart     = "portcullis"
	namespace = "guard" // not the default, to find what assumes that
)

// helm is the path of the helm binary. Without it the test is skipped, in CI it fails.
func helm(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("PORTCULLIS_KUBE_BIN"); dir != "" {
		path := filepath.Join(dir, "helm")
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("PORTCULLIS_KUBE_BIN has no helm: %v", err)
		}
		return path
	}
	path, err := exec.LookPath("helm")
	if err != nil {
		const why = "no helm: set PORTCULLIS_KUBE_BIN to its directory, see hack/cluster"
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return path
}

// runHelm returns what helm printed, or an error that says so.
func runHelm(t testing.TB, values string, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir() // no configuration, cache or plugins of the person who runs the test
	cmd := exec.Command(helm(t), args...)
	cmd.Env = append(os.Environ(), "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home)
	cmd.Stdin = strings.NewReader(values)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// objects are a rendered chart's.
type objects []client.Object

// render renders the chart with values (YAML) and decodes every object strictly:
// a field that Kubernetes does not know fails the test.
func render(t testing.TB, values string) objects {
	t.Helper()
	out, err := runHelm(t, values, "template", "any-name", chart, "--namespace", namespace, "--values", "-")
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

func decode(t testing.TB, manifests string) objects {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(s), apiextensions.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	var all objects
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if isEmpty(doc) {
			continue
		}
		obj, _, err := decoder.Decode(doc, nil, nil)
		if runtime.IsNotRegisteredError(err) { // such as a ServiceMonitor
			obj, err = decodeUnstructured(doc)
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		all = append(all, obj.(client.Object))
	}
}

func decodeUnstructured(doc []byte) (runtime.Object, error) {
	text, err := utilyaml.ToJSON(doc)
	if err != nil {
		return nil, err
	}
	obj, _, err := unstructured.UnstructuredJSONScheme.Decode(text, nil, nil)
	return obj, err
}

// isEmpty: templates that render nothing leave comments behind.
func isEmpty(doc []byte) bool {
	for line := range strings.Lines(string(doc)) {
		if line = strings.TrimSpace(line); line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// get finds the one object of type T with that name.
func get[T client.Object](t testing.TB, from objects, name string) T {
	t.Helper()
	found, ok := find[T](from, name)
	if !ok {
		t.Fatalf("there is no %T %s", found, name)
	}
	return found
}

func find[T client.Object](from objects, name string) (found T, ok bool) {
	for _, obj := range from {
		if typed, is := obj.(T); is && obj.GetName() == name {
			return typed, true
		}
	}
	return found, false
}

// scenarios are values that people set, each at least once.
var scenarios = map[string]string{
	"default": "",
	"test cluster": `
image: {repository: localhost/portcullis, tag: dev, pullPolicy: Never}
agent: {image: {repository: localhost/portcullis-agent, tag: dev, pullPolicy: Never}}
persistence: {enabled: false}
config: {mode: enforce, notify: {http: {url: "http://10.0.0.1:1"}}}
`,
	"everything": `
config:
  mode: enforce
  rules: {some-rule: {mode: observe}}
  gate:
    failMode: closed
    protected: {namespaces: [elsewhere], users: [somebody], groups: [some-group]}
    breaker: {perRulePerHour: 1, totalPerHour: 2, maxQuarantines: 3}
    barrier: {timeout: 1s, failMode: closed}
  lateness: 45s
  maxSpan: 5m
  store: {sync: true, maxMegabytes: 3000, busMaxMegabytes: 2000, reserve: 5m}
  audit: {canaryPeriod: 30s, maxBodyMegabytes: 32}
  telemetryLog: {path: /var/lib/portcullis/telemetry.ndjson, maxMegabytes: 50, maxFiles: 3}
  pki: {extraNames: [203.0.113.7, audit.example.org]}
  notify: {stdout: false, http: {url: "https://siem.example.org/in"}}
ruleFiles: {mine.yaml: "name: mine\nquery: \"{{ not a template }}\"\n"}
ruleConfigMaps: [team-rules]
elasticRuleConfigMaps: [elastic]
notifyHTTP: {bearerTokenSecret: {name: siem}, caConfigMap: {name: siem-ca, key: root.pem}}
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
imagePullSecrets: [registry]
server:
  logLevel: debug
  priorityClassName: ""
  tolerations: [{key: infra, operator: Exists}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
  podAnnotations: {a: b}
  podLabels: {c: d}
persistence: {size: 5Gi, storageClassName: fast}
service: {clusterIP: "fd00::17", annotations: {e: f}}
auditSink: {nodePort: 30443}
webhook: {failurePolicy: Fail, timeoutSeconds: 5, clientCAConfigMap: {name: apiserver-ca, key: root.pem}}
gate:
  policy: {enabled: true, failurePolicy: Fail, mirror: true}
  breakGlassGroups: [oncall]
  exempt: {users: ["o'brien \"x\""], groups: [g], namespaces: [elsewhere]}
pki: {keepOnUninstall: true, servingTLSSecret: serving, sinkTLSSecret: sink}
agent:
  serverAddress: "portcullis.example.org:8444"
  capabilities: [BPF, PERFMON, SYS_RESOURCE]
  seccompProfile: {type: Unconfined}
  seLinuxOptions: {type: spc_t}
  maxUnavailable: 1
  endSessions: true
  spoolOnDisk: true
crds: {keep: false}
rbac: {aggregateToView: false}
metrics: {serviceMonitor: {enabled: true, labels: {prometheus: main}}}
podDisruptionBudget: {enabled: true, maxUnavailable: 0}
networkPolicy: {enabled: true, apiServerCIDRs: [10.0.0.0/28], metricsFrom: [{namespaceSelector: {}}]}
`,
	"no agent": "agent: {enabled: false}\nnetworkPolicy: {enabled: true}\ncrds: {install: false}\n",
}

// eachScenario runs a subtest for each.
func eachScenario(t *testing.T, test func(*testing.T, objects)) {
	t.Helper()
	for name, values := range scenarios {
		t.Run(name, func(t *testing.T) { test(t, render(t, values)) })
	}
}
