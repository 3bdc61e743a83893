package portcullis_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/ctl"
	"github.com/portcullis-dev/portcullis/ruletest"
)

const rulesPage = "docs/reference/rules.md"

// blocks returns the text of a page's code blocks of a language.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	matches := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	found := make([]string, len(matches))
	for i, match := range matches {
		found[i] = match[1]
	}
	return found
}

// TestPagesRuleAndTests: the page about rules shows a rule and its tests. They
// must be right, pass, and leave nothing untested.
func TestPagesRuleAndTests(t *testing.T) {
	shown := blocks(t, rulesPage, "yaml")
	if len(shown) != 2 {
		t.Fatalf("%s shows %d YAML files, want a rule and its tests: mend the page or the test", rulesPage, len(shown))
	}
	dir := t.TempDir()
	for i, name := range []string{"shown.yaml", "shown_test.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(shown[i]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, err := ruletest.Run(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed > 0 || report.Tests < 3 || len(report.Gaps()) > 0 {
		t.Errorf("%+v", report)
	}
	for _, name := range []string{"detectionrule.schema.json", "detectionruletest.schema.json"} {
		if _, err := os.Stat(filepath.Join("config", "schema", name)); err != nil || !strings.Contains(strings.Join(shown, ""), "/config/schema/"+name) {
			t.Errorf("the page's files do not name their schema %s, or it is not there: %v", name, err)
		}
	}
}

// TestPagesCommandsExist, with the flags that the page shows.
func TestPagesCommandsExist(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	lines := strings.Split(strings.TrimSpace(strings.Join(blocks(t, rulesPage, "console"), "")), "\n")
	if len(lines) < 5 {
		t.Fatalf("%s shows %d commands", rulesPage, len(lines))
	}
	for _, line := range lines {
		ours, _, _ := strings.Cut(line, " | ")
		args, ok := strings.CutPrefix(ours, "portcullisctl ")
		if !ok {
			t.Errorf("%q is no command of ours", line)
			continue
		}
		root := ctl.NewCommand(ctl.Options{Program: "portcullisctl", Streams: streams})
		command, rest, err := root.Find(words(args))
		if err == nil {
			err = command.ParseFlags(rest)
		}
		if err == nil && !command.Runnable() {
			err = fmt.Errorf("%s does nothing by itself", command.CommandPath())
		}
		if err == nil {
			err = command.ValidateArgs(command.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// words splits a line as a shell does, as far as the pages need it.
func words(line string) []string {
	matches := regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1)
	all := make([]string, len(matches))
	for i, match := range matches {
		all[i] = match[1] + match[2]
	}
	return all
}
