package config_test

import (
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/ruletest"
)

// TestShippedRules runs the unit tests beside the shipped rules, as
// portcullisctl rule test config/rules does. No rule and no exception may lack them.
func TestShippedRules(t *testing.T) {
	report, err := ruletest.Run(t.Context(), "rules")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Files {
		for _, result := range f.Tests {
			if !result.Passed() {
				t.Errorf("%s:%d: %s\n%s\n%s", f.Path, result.Line, result.Name,
					strings.Join(result.Difference, "\n"), strings.Join(result.Explanation, "\n"))
			}
		}
	}
	for _, gap := range report.Gaps() {
		t.Error(gap)
	}
	if report.Tests < 100 || len(report.Rules) == 0 {
		t.Errorf("%d tests of %d rules were found", report.Tests, len(report.Rules))
	}
}
