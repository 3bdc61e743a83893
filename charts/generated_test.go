package charts

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "bring the chart's generated files back in step")

// TestGenerated compares what the chart holds a copy of with where it comes from.
func TestGenerated(t *testing.T) {
	const crd = "portcullis.dev_quarantines.yaml"
	t.Run("CRD", func(t *testing.T) {
		inStep(t, filepath.Join(chart, "files", "crd", crd), read(t, filepath.Join("..", "config", "crd", crd)))
	})
	t.Run("README", func(t *testing.T) {
		path := filepath.Join(chart, "README.md")
		inStep(t, path, withTable(t, read(t, path)))
	})
}

// TestEveryCRDIsInTheChart, and no other.
func TestEveryCRDIsInTheChart(t *testing.T) {
	names := func(dir string) string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(entries)
	}
	if from, to := names(filepath.Join("..", "config", "crd")), names(filepath.Join(chart, "files", "crd")); from != to {
		t.Errorf("config/crd has %s, the chart %s", from, to)
	}
}

func inStep(t *testing.T, path string, want []byte) {
	t.Helper()
	if bytes.Equal(read(t, path), want) {
		return
	}
	if !*update {
		t.Fatalf("charts/%s is out of step: go test ./charts -run Generated -update", path)
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// withTable puts the table of values between its two markers.
func withTable(t *testing.T, readme []byte) []byte {
	t.Helper()
	const begin, end = "<!-- values: generated from values.yaml -->\n", "<!-- end of values -->"
	before, rest, ok := strings.Cut(string(readme), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has lost the markers of its table")
	}
	var table strings.Builder
	table.WriteString("| value | default | |\n| --- | --- | --- |\n")
	for _, v := range leaves("", values(t)) {
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", v.path, v.value, strings.ReplaceAll(v.comment, "|", "\\|"))
	}
	return []byte(before + begin + table.String() + end + after)
}
