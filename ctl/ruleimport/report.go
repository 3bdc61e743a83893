package ruleimport

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/rule/elastic"
	"github.com/portcullis-dev/portcullis/ruleproof"
)

// The results of a file, beside those of package elastic.
const (
	runs       = "runs"
	doesNotRun = "does not run"
)

// unreadable stands for the type of a rule in a file that cannot be read, other
// for one that nobody has heard of.
const (
	unreadable = "unreadable"
	other      = "other"
)

// counts are the rules of one type.
type counts struct {
	// Total is all of them that are live: those that are left out do not count.
	Total int `json:"total"`
	Runs  int `json:"runs"`

	DoesNotRun   int `json:"doesNotRun,omitempty"`
	NotSupported int `json:"notSupported,omitempty"`
	LeftOut      int `json:"leftOut,omitempty"`
	Broken       int `json:"broken,omitempty"`
}

// entry is one file.
type entry struct {
	Name     string   `json:"name"`
	Title    string   `json:"title,omitempty"`
	Type     string   `json:"type"`
	Result   string   `json:"result"`
	Why      string   `json:"why,omitempty"`
	File     string   `json:"file"`
	RuleID   string   `json:"ruleId,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Errors   []string `json:"errors,omitempty"`
	// Variations is how many changed events did not make it fire, as they should not.
	Variations int `json:"variations,omitempty"`
	// Given are conditions that every event meets.
	Given []string `json:"given,omitempty"`
}

// report is what the command prints.
type report struct {
	entries []entry
	counts  map[string]*counts
	errors  diag.List
}

func (r *report) add(f elastic.File, v ruleproof.Verdict) {
	e := entry{
		Name: f.Name, Title: f.Title, Type: typeOf(f), Result: string(f.Result), Why: f.Why, File: f.Path, RuleID: f.ID,
		Variations: v.Shown, Given: v.Given,
	}
	for _, d := range f.Problems {
		if d.Severity == diag.Warning {
			e.Warnings = append(e.Warnings, d.String())
		} else {
			e.Errors = append(e.Errors, d.String())
		}
	}
	switch {
	case f.Result != elastic.Loaded:
	case v.Runs:
		e.Result = runs
	default:
		e.Result, e.Why = doesNotRun, v.Why
	}
	r.entries = append(r.entries, e)
	r.errors = append(r.errors, f.Problems.Errors()...)
	r.count(e)
}

// typeOf is the type of a file's rule, out of those that there are.
func typeOf(f elastic.File) string {
	switch {
	case f.Type == "" && f.Result == elastic.Broken:
		return unreadable
	case slices.Contains(elastic.Types(), f.Type):
		return f.Type
	default:
		return other
	}
}

func (r *report) count(e entry) {
	if r.counts == nil {
		r.counts = map[string]*counts{elastic.EQL: {}}
	}
	if r.counts[e.Type] == nil {
		r.counts[e.Type] = &counts{}
	}
	c := r.counts[e.Type]
	of := map[string]*int{
		runs: &c.Runs, doesNotRun: &c.DoesNotRun, string(elastic.NotSupported): &c.NotSupported,
		string(elastic.LeftOut): &c.LeftOut, string(elastic.Broken): &c.Broken,
	}[e.Result]
	*of++
	if of != &c.LeftOut {
		c.Total++
	}
}

// document is the report for programs: the counts of each type under its name,
// and all rules.
func (r *report) document() map[string]any {
	d := map[string]any{"rules": r.entries}
	for name, c := range r.counts {
		d[name] = c
	}
	return d
}

// print prints the report for people.
func (r *report) print(w io.Writer) error {
	rows := output.NewRows(w, output.Table, output.Column{Name: "Rule"}, output.Column{Name: "Type"},
		output.Column{Name: "Result"}, output.Column{Name: "Why"})
	cells := make([][]string, 0, len(r.entries))
	for _, e := range r.entries {
		cells = append(cells, []string{e.Name, e.Type, e.Result, shorten(e.Why)})
	}
	if err := rows.Print(cells...); err != nil {
		return err
	}
	text := "\n"
	if len(r.errors) > 0 {
		text += r.errors.Render() + "\n"
	}
	_, err := io.WriteString(w, text+r.summary())
	return err
}

func shorten(text string) string {
	const most = 100
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// summary says in words what the counts are.
func (r *report) summary() string {
	eql := r.counts[elastic.EQL]
	text := fmt.Sprintf("%d of %s run.", eql.Runs, count(eql.Total, "EQL rule"))
	var unsupported, leftOut []string
	for _, name := range slices.Sorted(maps.Keys(r.counts)) {
		c := r.counts[name]
		if c.NotSupported > 0 {
			unsupported = append(unsupported, fmt.Sprintf("%d %s", c.NotSupported, name))
		}
		if c.LeftOut > 0 {
			leftOut = append(leftOut, fmt.Sprintf("%d %s", c.LeftOut, name))
		}
	}
	if len(unsupported) > 0 {
		text += " Not supported yet: " + strings.Join(unsupported, ", ") + "."
	}
	if len(leftOut) > 0 {
		text += " Left out: " + strings.Join(leftOut, ", ") + "."
	}
	text += "\n"
	if n := r.warned(); n > 0 {
		text += fmt.Sprintf("%s with warnings: portcullisctl rule check shows them.\n", count(n, "rule"))
	}
	return text
}

func (r *report) warned() int {
	n := 0
	for _, e := range r.entries {
		if len(e.Warnings) > 0 {
			n++
		}
	}
	return n
}

// verdict is the error that makes the exit status.
func (r *report) verdict() error {
	broken, failed := 0, 0
	for _, c := range r.counts {
		broken += c.Broken
		failed += c.DoesNotRun
	}
	var parts []string
	if failed > 0 {
		parts = append(parts, count(failed, "EQL rule")+" would not run")
	}
	if broken > 0 {
		parts = append(parts, count(broken, "file")+" cannot be used")
	}
	if len(parts) == 0 {
		return nil
	}
	return errors.New(strings.Join(parts, ", "))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
