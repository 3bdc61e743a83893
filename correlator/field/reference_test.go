package field

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/eql/value"
)

var update = flag.Bool("update", false, "write docs/reference/fields.md")

// TestReference keeps the page about fields as the schema is.
func TestReference(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "reference", "fields.md")
	want := reference(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/reference/fields.md is stale, run go test ./correlator/field -run Reference -update\n(-schema +page):\n%s", diff)
	}
}

// group is a table of the page.
type group struct {
	Title  string
	Fields []Info
}

func reference(tb testing.TB) string {
	tb.Helper()
	s := New()
	var groups []group
	for _, info := range s.Fields() {
		i := slices.IndexFunc(groups, func(g group) bool { return g.Title == info.Group })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{Title: info.Group})
		}
		groups[i].Fields = append(groups[i].Fields, info)
	}
	page, err := template.New("fields.md.tmpl").Funcs(template.FuncMap{
		"type": typeName,
		"cell": func(text string) string { return strings.ReplaceAll(text, "|", `\|`) },
	}).ParseFiles(filepath.Join("testdata", "fields.md.tmpl"))
	if err != nil {
		tb.Fatal(err)
	}
	var text strings.Builder
	if err := page.Execute(&text, map[string]any{"Groups": groups, "Open": s.Open(), "Documents": s.DocumentFields()}); err != nil {
		tb.Fatal(err)
	}
	return text.String()
}

// typeName is a type as the page calls it.
func typeName(i Info) string {
	name := "text"
	switch i.Type {
	case value.Number:
		name = "number"
	case value.Boolean:
		name = "boolean"
	case value.IP:
		name = "IP address"
	case value.Reference:
		name = "pod reference"
	case value.Keyword:
	}
	if i.Many {
		name += ", list"
	}
	return name
}
