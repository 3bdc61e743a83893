package elastic

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/rule"
)

// Bounds of a rule's parts: those of our own format.
const (
	maxName        = 63
	maxTitle       = 200
	maxDescription = 16 << 10
	maxQuery       = 128 << 10
	maxList        = 64
)

// converter makes a rule of a file's table, and notes what is wrong with it.
type converter struct {
	file    *token.File
	places  map[string]text
	table   *table
	options rule.Options
	found   diag.List
}

func (c *converter) report(severity diag.Severity, field, format string, args ...any) {
	c.found = append(c.found, diag.Diagnostic{
		Severity: severity, File: c.file, Span: c.places[field].span,
		Message: "rule." + field + ": " + fmt.Sprintf(format, args...),
	})
}

// convert returns the rule, or nil and at least one error.
func (c *converter) convert() (*rule.Rule, diag.List) {
	t := c.table
	r := rule.Rule{
		Name: nameOf(c.file.Name()), Origin: rule.Elastic, File: c.file.Name(), Line: c.line(),
		Title: c.text("name", t.Name, maxTitle), Description: c.text("description", t.Description, maxDescription),
		Severity: c.severity(), RiskScore: c.riskScore(), Threats: c.threats(),
		Tags: firstOf(t.Tags), References: c.references(),
		Query: c.text("query", t.Query, maxQuery),
	}
	c.ignored()
	if r.Query == "" {
		return nil, c.found
	}
	compiled, found := r.Compile(c.options)
	query := c.places["query"]
	inset := rule.Inset{File: c.file, Field: "rule.query", Text: r.Query, Span: query.span, At: query.locate(r.Query)}
	c.found = append(c.found, inset.Move(found)...)
	if c.found.HasErrors() {
		return nil, c.found
	}
	compiled.Warnings = c.found
	return compiled, c.found
}

// line is where the rule begins.
func (c *converter) line() int { return c.file.Position(c.places["name"].span.Start).Line }

// nameOf makes a rule's name of its file's.
func nameOf(path string) string {
	base := filepath.Base(path)
	stem := strings.ToLower(strings.TrimSuffix(base, filepath.Ext(base)))
	words := strings.FieldsFunc(stem, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	name := strings.Join(words, "-")
	if name != "" && len(name) <= maxName {
		return name
	}
	// Too long, or nothing: as much as there is room for, and what tells it from
	// others that begin alike.
	h := fnv.New32a()
	_, _ = h.Write([]byte(base)) // never fails
	suffix := fmt.Sprintf("-%08x", h.Sum32())
	if name == "" {
		name = "rule"
	}
	return strings.Trim(name[:min(len(name), maxName-len(suffix))], "-") + suffix
}

func (c *converter) text(field, value string, most int) string {
	switch {
	case strings.TrimSpace(value) == "":
		c.report(diag.Error, field, "is missing")
	case len(value) > most:
		c.report(diag.Error, field, "has %d bytes, at most %d are allowed", len(value), most)
	default:
		return value
	}
	return ""
}

func (c *converter) severity() rule.Severity {
	s := rule.Severity(c.table.Severity)
	if !slices.Contains([]rule.Severity{rule.Low, rule.Medium, rule.High, rule.Critical}, s) {
		c.report(diag.Error, "severity", "%q must be one of low, medium, high, critical", c.table.Severity)
	}
	return s
}

func (c *converter) riskScore() int {
	score := c.table.RiskScore
	if score == nil || *score < 0 || *score > 100 {
		c.report(diag.Error, "risk_score", "must be a whole number from 0 to 100")
		return 0
	}
	return *score
}

// threats returns a threat for each technique, or for its sub-techniques where
// it names any.
func (c *converter) threats() []rule.Threat {
	tactic := regexp.MustCompile(`^TA\d{4}$`)
	ids := regexp.MustCompile(`^T\d{4}(\.\d{3})?$`)
	var out []rule.Threat
	for _, t := range c.table.Threat {
		if !tactic.MatchString(t.Tactic.ID) {
			continue // Another framework's.
		}
		for _, e := range t.named() {
			if ids.MatchString(e.ID) && len(out) < maxList {
				out = append(out, rule.Threat{TacticID: t.Tactic.ID, TacticName: short(t.Tactic.Name), TechniqueID: e.ID, TechniqueName: short(e.Name)})
			}
		}
	}
	return out
}

// named are the techniques in full.
func (t threat) named() []entry {
	var out []entry
	for _, technique := range t.Techniques {
		if len(technique.Subtechniques) == 0 {
			out = append(out, technique.entry)
		}
		for _, sub := range technique.Subtechniques {
			out = append(out, entry{sub.ID, technique.Name + ": " + sub.Name})
		}
	}
	return out
}

// references returns the addresses of pages: others would be links that lead
// somewhere else than they seem to.
func (c *converter) references() []string {
	var out []string
	for i, text := range firstOf(c.table.References) {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			c.report(diag.Warning, "references", "[%d] is no address of a page and is left out", i)
			continue
		}
		out = append(out, text)
	}
	return out
}

// ignored warns of what would change the rule's results.
func (c *converter) ignored() {
	t := c.table
	for _, field := range []struct {
		name  string
		there bool
	}{
		{"alert_suppression", t.AlertSuppression != nil}, {"filters", len(t.Filters) > 0}, {"exceptions_list", len(t.ExceptionsList) > 0},
	} {
		if field.there {
			c.report(diag.Warning, field.name, "is not applied: there can be more detections than the rule's author has in mind")
		}
	}
	if t.EventCategoryOverride != "" && t.EventCategoryOverride != "event.category" {
		c.report(diag.Error, "event_category_override", "is not supported: the category is event.category")
	}
}

func firstOf(list []string) []string { return slices.Clone(list[:min(len(list), maxList)]) }

func short(text string) string {
	if runes := []rune(text); len(runes) > maxTitle {
		return string(runes[:maxTitle])
	}
	return text
}
