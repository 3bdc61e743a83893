package portcullis_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
)

// TestReadmesRuleIsOne: the README shows a rule, which must be one that works.
func TestReadmesRuleIsOne(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(readme), "```yaml\n")
	text, _, closed := strings.Cut(after, "```")
	if !found || !closed {
		t.Fatal("the README shows no rule any more: mend the test")
	}
	path := filepath.Join(t.TempDir(), "sample.yaml")
	if err = os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := rule.LoadFiles([]string{path}, rule.Options{Schema: field.New()})
	if err != nil {
		t.Fatalf("the README's rule is refused: %v", err)
	}
	if warnings := set.Warnings(); len(warnings) > 0 {
		t.Errorf("the README's rule runs with warnings:\n%s", warnings.Render())
	}
}
