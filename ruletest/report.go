package ruletest

import (
	"fmt"
	"strings"
)

// Report is how a run went.
type Report struct {
	// Tests and Failed count tests.
	Tests  int          `json:"tests"`
	Failed int          `json:"failed"`
	Files  []FileResult `json:"files"`
	// Rules is what the tests show of each rule; nil if only some tests ran.
	Rules []RuleCoverage `json:"rules,omitempty"`
}

// FileResult is how the tests of one document of a file went.
type FileResult struct {
	Path   string       `json:"path"`
	Tests  []TestResult `json:"tests"`
	Failed int          `json:"failed"`
}

// TestResult is how one test went.
type TestResult struct {
	Name string `json:"name"`
	Line int    `json:"line"`
	// Detections is how many there were.
	Detections int `json:"detections"`
	// Difference is between the detections that the test wants (lines with "-")
	// and those that there were ("+"). It is empty if the test has passed.
	Difference []string `json:"difference,omitempty"`
	// Explanation is what the rules made of each event, for tests that failed.
	Explanation []string `json:"explanation,omitempty"`
}

// Passed reports whether the detections are those that the test wants.
func (r TestResult) Passed() bool { return len(r.Difference) == 0 }

// RuleCoverage is what the tests show of one rule.
type RuleCoverage struct {
	Rule string `json:"rule"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Tests counts those in which the rule runs: Detects those in which it
	// concludes something, StaysQuiet the others.
	Tests      int `json:"tests"`
	Detects    int `json:"detects"`
	StaysQuiet int `json:"staysQuiet"`
	// UntestedExceptions took no hit away in any test.
	UntestedExceptions []string `json:"untestedExceptions,omitempty"`
}

// Gaps says what of the rule no test shows, empty if nothing.
func (c RuleCoverage) Gaps() []string {
	var gaps []string
	switch {
	case c.Tests == 0:
		return []string{"has no test"}
	case c.Detects == 0:
		gaps = append(gaps, "fires in no test")
	case c.StaysQuiet == 0:
		gaps = append(gaps, "fires in every test: there is no near miss")
	}
	for _, x := range c.UntestedExceptions {
		gaps = append(gaps, fmt.Sprintf("exception %s is in no test", x))
	}
	return gaps
}

// Gaps says which rules and exceptions lack tests, one line each, with the place
// of the rule.
func (r *Report) Gaps() []string {
	var lines []string
	for _, c := range r.Rules {
		if gaps := c.Gaps(); len(gaps) > 0 {
			lines = append(lines, fmt.Sprintf("%s:%d: rule %s %s", c.File, c.Line, c.Rule, strings.Join(gaps, "; ")))
		}
	}
	return lines
}

func (r *Report) add(f FileResult) {
	if len(f.Tests) == 0 {
		return
	}
	for _, t := range f.Tests {
		if !t.Passed() {
			f.Failed++
		}
	}
	r.Files = append(r.Files, f)
	r.Tests += len(f.Tests)
	r.Failed += f.Failed
}
