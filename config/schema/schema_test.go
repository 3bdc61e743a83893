package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/document"
	"github.com/portcullis-dev/portcullis/ruletest"
)

var update = flag.Bool("update", false, "write the schemas from the shapes")

// kinds are the files that have a schema.
var kinds = map[string]struct {
	title string
	shape *document.Shape
}{
	"detectionrule.schema.json":     {"Portcullis detection rule", rule.Shape()},
	"detectionruletest.schema.json": {"Unit tests of Portcullis detection rules", ruletest.Shape()},
}

// TestGenerated compares the schemas with the shapes by which files are read.
func TestGenerated(t *testing.T) {
	for name, kind := range kinds {
		want, err := kind.shape.Schema(kind.title)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err = os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(string(want), string(read(t, name))); diff != "" {
			t.Errorf("%s is out of step: go test ./config/schema -run Generated -update\n%s", name, diff)
		}
	}
}

// TestShippedFilesPass: every shipped rule and test, by an implementation of JSON
// schema that is not ours, and each says where its schema is.
func TestShippedFilesPass(t *testing.T) {
	paths, err := filepath.Glob("../rules/*.yaml")
	if err != nil || len(paths) < 12 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		name := "detectionrule.schema.json"
		if strings.HasSuffix(path, "_test.yaml") {
			name = "detectionruletest.schema.json"
		}
		text := read(t, path)
		if want := "# yaml-language-server: $schema=../schema/" + name + "\n"; !bytes.HasPrefix(text, []byte(want)) {
			t.Errorf("%s does not begin with %s", path, want)
		}
		for _, doc := range documents(t, text) {
			if err := compiled(t, name).Validate(doc); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// full is a rule with every field.
const full = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: full}
spec:
  title: Everything
  description: All that a rule can have.
  severity: critical
  riskScore: 99
  threats:
  - tactic: {id: TA0002, name: Execution}
    technique: {id: T1059.004, name: Unix Shell}
  query: process where true
  exceptions:
  - {name: a, reason: b, where: process.name == "x", expires: "2026-09-01"}
  response:
    quarantine: {subject: user, duration: 90m}
  mode: enforce
  tags: [one]
  references: ["https://example.com/a?b=c"]
`

// TestSchemaAndParserAgree: on a rule with every field, on one without what may
// be left out, and for each field on what it must not be.
func TestSchemaAndParserAgree(t *testing.T) {
	schema, options, path := compiled(t, "detectionrule.schema.json"), rule.Options{Schema: field.New()}, filepath.Join(t.TempDir(), "rule.yaml")
	both := func(what string, doc map[string]any) {
		t.Helper()
		text, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if err = os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, parser := rule.LoadFiles([]string{path}, options)
		if validator := schema.Validate(documents(t, text)[0]); (validator == nil) != (parser == nil) {
			t.Errorf("%s: the schema says %v, the parser %v", what, validator, parser)
		}
	}
	whole := func() map[string]any { return documents(t, []byte(full))[0].(map[string]any) }
	both("everything", whole())
	fields := 0
	visit(whole(), nil, func(path []string) {
		fields++
		what := strings.Join(path, ".")
		for _, instead := range []any{nil, 17, -1.5, "", "!", []any{}, []any{1}, map[string]any{}, map[string]any{"unknown": "x"}, true} {
			doc := whole()
			parent, key := at(doc, path)
			if parent[key] = instead; instead == "!" && (key == "query" || key == "where") {
				continue // No schema knows what is an EQL query.
			}
			both(what+" replaced", doc)
		}
		doc := whole()
		parent, key := at(doc, path)
		delete(parent, key)
		both(what+" left out", doc)
		parent[key+"x"] = "unknown"
		both(what+"x added", doc)
	})
	if fields < 29 {
		t.Errorf("only %d fields were tried", fields)
	}
}

// TestEveryFieldIsDescribed, since that is what an editor shows.
func TestEveryFieldIsDescribed(t *testing.T) {
	for name := range kinds {
		var root map[string]any
		if err := json.Unmarshal(read(t, name), &root); err != nil {
			t.Fatal(err)
		}
		described(t, name, root)
	}
}

func described(t *testing.T, path string, schema map[string]any) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		inner := property.(map[string]any)
		if text, _ := inner["description"].(string); len(text) < 10 || !strings.HasSuffix(text, ".") {
			t.Errorf("%s.%s: the description %q is no sentence", path, name, text)
		}
		described(t, path+"."+name, inner)
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[key].(map[string]any); ok {
			described(t, path+"[]", inner)
		}
	}
}

// visit calls for every field at any depth; the elements of lists count as their fields "0", "1"….
func visit(v any, path []string, call func([]string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			at := append(slices.Clone(path), key)
			call(at)
			visit(inner, at, call)
		}
	case []any:
		for _, inner := range v {
			visit(inner, append(slices.Clone(path), "0"), call)
		}
	}
}

// at finds a field's object and key. Every list on the way has one element.
func at(doc map[string]any, path []string) (parent map[string]any, key string) {
	var v any = doc
	for _, step := range path[:len(path)-1] {
		if list, ok := v.([]any); ok {
			v = list[0]
			continue
		}
		v = v.(map[string]any)[step]
	}
	return v.(map[string]any), path[len(path)-1]
}

func compiled(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// documents are a YAML file's as an editor's validator sees them: what looks like
// a date is a text.
func documents(t *testing.T, text []byte) []any {
	t.Helper()
	var all []any
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var n yaml.Node
		err := decoder.Decode(&n)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		datesAreTexts(&n)
		var doc any
		if err = n.Decode(&doc); err != nil {
			t.Fatal(err)
		}
		all = append(all, doc)
	}
}

func datesAreTexts(n *yaml.Node) {
	if n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, inner := range n.Content {
		datesAreTexts(inner)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
