package charts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestMistakesAreRefused: with a sentence that names the value.
func TestMistakesAreRefused(t *testing.T) {
	for values, want := range map[string]string{
		"config: {moode: enforce}":                              "moode",
		"config: {mode: deny}":                                  "/config/mode",
		"config: {rules: {x: {mod: enforce}}}":                  "mod",
		"config: {rules: {x: {mode: loud}}}":                    "/config/rules/x/mode",
		"config: {lateness: 2 minutes}":                         "/config/lateness",
		"config: {notify: {http: {url: siem}}}":                 "/config/notify/http/url",
		"config: {audit: {listen: ':1'}}":                       "listen",
		"webhook: {failurePolicy: ignore}":                      "/webhook/failurePolicy",
		"webhook: {timeoutSeconds: 31}":                         "/webhook/timeoutSeconds",
		"webhook: {namespaceSelector: {}}":                      "namespaceSelector",
		"gate: {policy: {failurePolicy: open}}":                 "/gate/policy/failurePolicy",
		"gate: {policy: {mirror: sometimes}}":                   "/gate/policy/mirror",
		"gate: {exempt: {users: ['']}}":                         "/gate/exempt/users/0",
		"service: {clusterIP: None}":                            "/service/clusterIP",
		"service: {clusterIP: portcullis}":                      "/service/clusterIP",
		"auditSink: {nodePort: 70000}":                          "/auditSink/nodePort",
		"agent: {capabilities: [ALL]}":                          "/agent/capabilities/0",
		"agent: {capabilities: [CAP_BPF]}":                      "/agent/capabilities/0",
		"agent: {privileged: true}":                             "privileged",
		"agent: {serverAddress: portcullis}":                    "/agent/serverAddress",
		"image: {digest: abc}":                                  "/image/digest",
		"image: {repository: 'portcullis:v1'}":                  "/image/repository",
		"ruleFiles: {rules.txt: x}":                             "rules.txt",
		"elasticRuleConfigMaps: [Bad]":                          "/elasticRuleConfigMaps/0",
		"persistence: {size: lots}":                             "/persistence/size",
		"server: {replicas: 0}":                                 "/server/replicas",
		"server: {replicas: 3}":                                 "server.replicas: this version runs one replica",
		"config: {shippedRules: false}":                         "would detect nothing",
		"config: {store: {busMaxMegabytes: 1500}}":              "config.store.maxMegabytes is 2048: must be at least config.store.busMaxMegabytes and 640 for records, 2140",
		"persistence: {enabled: false, storageClassName: fast}": "persistence.storageClassName is set",
		"notifyHTTP: {bearerTokenSecret: {name: t}}":            "of no use without config.notify.http.url",
		"config: {notify: {http: {url: 'http://siem'}}}\nnotifyHTTP: {bearerTokenSecret: {name: t}}": "must be https",
	} {
		t.Run(values, func(t *testing.T) {
			_, err := runHelm(t, values, "template", "x", chart, "--values", "-")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one that says %q", err, want)
			}
		})
	}
}

// schema is the part of JSON Schema that the tests read.
type schema struct {
	Type                 string            `json:"type"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties json.RawMessage   `json:"additionalProperties"`
}

// TestSchemaKnowsEveryValue, and no other: the same tree in values.yaml and
// values.schema.json, closed at every level that the chart defines.
func TestSchemaKnowsEveryValue(t *testing.T) {
	var root schema
	text := read(t, filepath.Join(chart, "values.schema.json"))
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	delete(root.Properties, "global") // helm's own
	compare(t, "", root, values(t))
}

func compare(t *testing.T, path string, s schema, v *yaml.Node) {
	t.Helper()
	if s.Properties == nil {
		return
	}
	if string(s.AdditionalProperties) != "false" {
		t.Errorf("schema: %s accepts keys that it does not know", path)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(v.Content); i += 2 {
		key := v.Content[i].Value
		seen[key] = true
		property, ok := s.Properties[key]
		if !ok {
			t.Errorf("schema: %s%s of values.yaml is missing", path, key)
			continue
		}
		compare(t, path+key+".", property, v.Content[i+1])
	}
	for key := range s.Properties {
		if !seen[key] {
			t.Errorf("values.yaml: %s%s of the schema is missing", path, key)
		}
	}
}

// TestEveryValueIsExplained in values.yaml, which is where people look.
func TestEveryValueIsExplained(t *testing.T) {
	for _, v := range leaves("", values(t)) {
		if len(v.comment) < 15 || !strings.HasSuffix(strings.TrimSpace(v.comment), ".") {
			t.Errorf("%s: the comment %q is no sentence", v.path, v.comment)
		}
	}
}

// TestEveryValueIsUsed by some template.
func TestEveryValueIsUsed(t *testing.T) {
	var templates strings.Builder
	err := filepath.WalkDir(filepath.Join(chart, "templates"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		templates.Write(read(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range leaves("", values(t)) {
		top, _, _ := strings.Cut(v.path, ".")
		name := v.path[strings.LastIndex(v.path, ".")+1:]
		// Everything below config goes to the server as it is.
		if top != "config" && !strings.Contains(templates.String(), "."+name) {
			t.Errorf("no template uses %s", v.path)
		}
	}
}

// leaf is one value that people set.
type leaf struct{ path, value, comment string }

// values parses values.yaml, comments included.
func values(t testing.TB) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(read(t, filepath.Join(chart, "values.yaml")), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Content[0]
}

// leaves lists the values of a mapping, in their order. A mapping or list with
// content that has a comment of its own is one value, such as a nodeSelector.
func leaves(path string, node *yaml.Node) []leaf {
	var out []leaf
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 && !free[path+key.Value] {
			out = append(out, leaves(path+key.Value+".", value)...)
			continue
		}
		comment := strings.ReplaceAll(strings.ReplaceAll(key.HeadComment, "# ", ""), "\n", " ")
		out = append(out, leaf{path: path + key.Value, value: inline(value), comment: comment})
	}
	return out
}

// free are mappings whose keys are Kubernetes' and not the chart's.
var free = map[string]bool{
	"server.resources": true, "server.nodeSelector": true,
	"agent.resources": true, "agent.nodeSelector": true, "agent.seccompProfile": true,
}

// inline is a value on one line, as JSON, which is YAML.
func inline(node *yaml.Node) string {
	var v any
	if err := node.Decode(&v); err != nil {
		return err.Error()
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestScenariosAreComplete: "everything" sets every value that has a template
// branch, so that no branch goes untested.
func TestScenariosAreComplete(t *testing.T) {
	var set yaml.Node
	if err := yaml.Unmarshal([]byte(scenarios["everything"]), &set); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, v := range leaves("", set.Content[0]) {
		for path := v.path; path != ""; {
			have[path] = true
			cut := strings.LastIndex(path, ".")
			path = path[:max(cut, 0)]
		}
	}
	defaulted := map[string]bool{ // one template for any value
		"config.shippedRules": true, "config.notify.stdout": true, "notifyHTTP.bearerTokenSecret.key": true,
		"image.repository": true, "image.tag": true, "image.pullPolicy": true,
		"server.replicas": true, "server.resources": true, "server.nodeSelector": true, "server.terminationGracePeriodSeconds": true,
		"persistence.enabled": true, "agent.enabled": true, "crds.install": true, "metrics.serviceMonitor.interval": true,
	}
	var missing []string
	for _, v := range leaves("", values(t)) {
		if !have[v.path] && !defaulted[v.path] && !strings.HasPrefix(v.path, "agent.") {
			missing = append(missing, v.path)
		}
	}
	sort.Strings(missing)
	if len(missing) > 0 {
		t.Errorf("the scenario \"everything\" leaves out %v", missing)
	}
}
