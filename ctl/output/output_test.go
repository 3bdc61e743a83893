package output

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// nasty is what somebody writes who wants to steer the reader's terminal: a
// clear-screen, a C1 control, a right-to-left override, a tag character.
const nasty = "a\x1b[2Jb\u009bc\u202ed\U000e0041e\r"

func TestFormats(t *testing.T) {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "web-0", Annotations: map[string]string{"a": nasty}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}},
	}
	for format, want := range map[Format]string{JSON: `"name": "web-0"`, YAML: "name: web-0", Name: "pod/web-0\n"} {
		var out bytes.Buffer
		if err := Object(&out, format, pod); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "managedFields") {
			t.Errorf("%s: %s", format, out.String())
		}
		checkHarmless(t, out.String())
	}
	if err := Object(&bytes.Buffer{}, Wide, pod); err == nil {
		t.Error("a single object as a table is no error")
	}
}

// TestJSONIsLossless: programs get what was written.
func TestJSONIsLossless(t *testing.T) {
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: nasty}}
	var out bytes.Buffer
	if err := Object(&out, JSON, pod); err != nil {
		t.Fatal(err)
	}
	var back corev1.Pod
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if back.Name != nasty {
		t.Errorf("got %q, want %q", back.Name, nasty)
	}
}

func TestRows(t *testing.T) {
	columns := []Column{{Name: "Name"}, {Name: "Subject"}, {Name: "Reason", Wide: true}}
	printed := func(f Format, batches ...[][]string) string {
		var out bytes.Buffer
		rows := NewRows(&out, f, columns...)
		for _, batch := range batches {
			if err := rows.Print(batch...); err != nil {
				t.Fatal(err)
			}
		}
		checkHarmless(t, out.String())
		return out.String()
	}
	got := printed(Table, [][]string{{"a-long-name", "x", "why"}, {"b", "y", ""}}, [][]string{{"c", "z", ""}})
	want := "NAME          SUBJECT\na-long-name   x\nb             y\nc             z\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := printed(Wide, [][]string{{"a", "x", nasty}}); !strings.Contains(got, "REASON") || !strings.Contains(got, `\u{1b}`) {
		t.Errorf("wide: %s", got)
	}
	// One row stays one line, whatever is in it.
	if got := printed(Table, [][]string{{"a\nb", "x\f\v\r", ""}}); strings.Count(got, "\n") != 2 {
		t.Errorf("lines: %q", got)
	}
}

func TestFlag(t *testing.T) {
	var f Format
	c := &cobra.Command{RunE: func(*cobra.Command, []string) error { return nil }, SilenceErrors: true, SilenceUsage: true}
	AddFlag(c, &f)
	c.SetArgs([]string{"-o", "yaml"})
	if err := c.Execute(); err != nil || f != YAML || f.IsTable() {
		t.Errorf("-o yaml: %q, %v", f, err)
	}
	c.SetArgs([]string{"-o", "xml"})
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "json, yaml, name, wide") {
		t.Errorf("-o xml: %v, want the formats that there are", err)
	}
}

func checkHarmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
			t.Errorf("U+%04X reaches the terminal in %q", r, text)
		}
	}
}

// TestDocument: any value as JSON, harmless and lossless.
func TestDocument(t *testing.T) {
	var out bytes.Buffer
	if err := Document(&out, map[string]string{"a": nasty}); err != nil {
		t.Fatal(err)
	}
	checkHarmless(t, out.String())
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back["a"] != nasty {
		t.Errorf("%q, %v", back, err)
	}
	if err := Document(&out, func() {}); err == nil {
		t.Error("what JSON cannot say is no error")
	}
}

func TestJSONFlag(t *testing.T) {
	var f Format
	c := &cobra.Command{RunE: func(*cobra.Command, []string) error { return nil }, SilenceErrors: true, SilenceUsage: true}
	AddJSONFlag(c, &f)
	c.SetArgs([]string{"-o", "json"})
	if err := c.Execute(); err != nil || f != JSON {
		t.Errorf("-o json: %q, %v", f, err)
	}
	c.SetArgs([]string{"-o", "yaml"})
	if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "must be json") {
		t.Errorf("-o yaml: %v", err)
	}
}

// TestValue: values of any kind, harmless, and lossless where the format can escape; each line of NDJSON a document.
func TestValue(t *testing.T) {
	values := map[string]string{"a": nasty, "b": "x\ny"}
	for _, format := range []Format{JSON, NDJSON, YAML} {
		var out bytes.Buffer
		if err := Value(&out, format, values); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		checkHarmless(t, out.String())
		if lines := strings.Count(out.String(), "\n"); format == NDJSON && lines != 1 {
			t.Errorf("NDJSON has %d lines: %q", lines, out.String())
		}
		read := json.Unmarshal
		if format == YAML {
			read = func(text []byte, into any) error { return yaml.Unmarshal(text, into) }
		}
		var back map[string]string
		if err := read(out.Bytes(), &back); err != nil || back["b"] != values["b"] || back["a"] != nasty && format != YAML {
			t.Errorf("%s: %q, %v", format, back, err)
		}
	}
	if err := Value(&bytes.Buffer{}, Wide, values); err == nil {
		t.Error("a value as a table is no error")
	}
}

func TestWithoutHeaders(t *testing.T) {
	var out bytes.Buffer
	if err := NewRows(&out, Table, Column{Name: "Name"}).WithoutHeaders().Print([]string{"a"}); err != nil || out.String() != "a\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
