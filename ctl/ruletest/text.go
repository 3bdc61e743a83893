package ruletest

import (
	"bytes"
	"fmt"
	"io"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/ruletest"
)

// printText prints a report for people: a line for each file, every test that
// failed, and what is not tested.
func printText(w io.Writer, r *ruletest.Report, verbose bool) error {
	var b bytes.Buffer
	for _, f := range r.Files {
		printFile(&b, f, verbose)
	}
	for _, f := range r.Files {
		for _, t := range f.Tests {
			if !t.Passed() {
				printFailure(&b, f.Path, t)
			}
		}
	}
	if gaps := r.Gaps(); len(gaps) > 0 {
		fmt.Fprintln(&b, "\nNot tested:")
		printIndented(&b, gaps)
	}
	fmt.Fprintf(&b, "\n%s in %s, %d failed\n", count(r.Tests, "test"), count(len(r.Files), "file"), r.Failed)
	_, err := b.WriteTo(w)
	return err
}

func printFile(b *bytes.Buffer, f ruletest.FileResult, verbose bool) {
	word, failed := "ok  ", ""
	if f.Failed > 0 {
		word, failed = "FAIL", fmt.Sprintf(", %d failed", f.Failed)
	}
	fmt.Fprintf(b, "%s  %s  %s%s\n", word, output.Text(f.Path), count(len(f.Tests), "test"), failed)
	if !verbose {
		return
	}
	for _, t := range f.Tests {
		word := "ok  "
		if !t.Passed() {
			word = "FAIL"
		}
		fmt.Fprintf(b, "  %s  line %d: %s (%s)\n", word, t.Line, output.Text(t.Name), count(t.Detections, "detection"))
	}
}

func printFailure(b *bytes.Buffer, path string, t ruletest.TestResult) {
	fmt.Fprintf(b, "\n%s:%d: %s\n  Detections: - wanted, + concluded\n", output.Text(path), t.Line, output.Text(t.Name))
	printIndented(b, t.Difference)
	fmt.Fprintln(b, "  What the rules made of the events:")
	printIndented(b, t.Explanation)
}

func printIndented(b *bytes.Buffer, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(b, "    %s\n", output.Text(line))
	}
}
