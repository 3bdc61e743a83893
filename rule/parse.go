package rule

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// Bounds of a rule's parts.
const (
	maxName        = 63
	maxTitle       = 200
	maxDescription = 16 << 10
	maxQuery       = 128 << 10
	maxPredicate   = 32 << 10
	maxExceptions  = 256
	maxList        = 64
	maxDuration    = 366 * 24 * time.Hour
)

// parsedRule is a rule with what is needed to complain about its name later on.
type parsedRule struct {
	Rule
	nameSpan token.Span
}

// parser reads the documents of one file.
type parser struct {
	*reader
	options Options
	// Patterns of names, compiled once per file.
	kebab, tactic, technique *regexp.Regexp
}

// parse reads all rules of a file. Rules with mistakes are left out.
func parse(file *token.File, o Options) ([]*parsedRule, diag.List) {
	p := &parser{
		reader: &reader{file: file}, options: o,
		kebab:     regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`),
		tactic:    regexp.MustCompile(`^TA\d{4}$`),
		technique: regexp.MustCompile(`^T\d{4}(\.\d{3})?$`),
	}
	var rules []*parsedRule
	decoder := yaml.NewDecoder(strings.NewReader(file.Text()))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return rules, p.problems
		}
		if err != nil {
			p.syntaxError(err)
			return rules, p.problems
		}
		before := p.errors
		if r := p.document(&document); r != nil && p.errors == before {
			rules = append(rules, r)
		}
		if p.errors >= maxProblems {
			return rules, p.problems
		}
	}
}

// syntaxError notes what is no YAML. The decoder says the line in its text.
func (p *parser) syntaxError(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if n, scanErr := fmt.Sscanf(message, "line %d:", &line); n == 1 && scanErr == nil {
		_, message, _ = strings.Cut(message, ": ")
	}
	p.problem(&yaml.Node{Line: line, Column: 1}, "", "not YAML: %s", message)
}

// document reads one rule. It returns nil for an empty document.
func (p *parser) document(document *yaml.Node) *parsedRule {
	if len(document.Content) == 0 || document.Content[0].ShortTag() == "!!null" {
		return nil
	}
	root := document.Content[0]
	if alias := findAlias(root); alias != nil {
		p.problem(alias, "", "anchors and aliases are not supported in rules")
		return nil
	}
	top := p.object(root, "", "apiVersion", "kind", "metadata", "spec")
	if top == nil {
		return nil
	}
	oneOf(top, "apiVersion", true, APIVersion)
	oneOf(top, "kind", true, Kind)
	r := &parsedRule{Rule: Rule{File: p.file.Name(), Line: root.Line, schema: p.options.Schema}}
	if metadata := top.object("metadata", true, "name"); metadata != nil {
		r.Name = p.name(metadata)
		if n := metadata.get("name", false); n != nil {
			r.nameSpan = p.span(n)
		}
	}
	p.spec(top.object("spec", true, "title", "description", "severity", "riskScore", "threats", "query",
		"exceptions", "response", "mode", "tags", "references"), &r.Rule)
	return r
}

// findAlias returns the first node that is an alias or has an anchor: both are
// ways to make little text into much data, and no rule needs them.
func findAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return n
	}
	for _, child := range n.Content {
		if found := findAlias(child); found != nil {
			return found
		}
	}
	return nil
}

func (p *parser) name(o *object) string {
	name := o.text("name", maxName)
	if name != "" && !p.kebab.MatchString(name) {
		p.problem(o.get("name", false), o.at("name"), "must be small letters and digits with single hyphens between, such as token-access")
		return ""
	}
	return name
}

func (p *parser) spec(o *object, r *Rule) {
	if o == nil {
		return
	}
	r.Title = o.text("title", maxTitle)
	r.Description = o.text("description", maxDescription)
	r.Severity = oneOf(o, "severity", true, Low, Medium, High, Critical)
	r.RiskScore = o.integer("riskScore", true, 0, 100)
	r.Mode = oneOf(o, "mode", false, Observe, Enforce)
	o.each("threats", maxList, func(n *yaml.Node, path string) { r.Threats = append(r.Threats, p.threat(n, path)) })
	o.each("tags", maxList, func(n *yaml.Node, path string) { r.Tags = append(r.Tags, p.text(n, path, maxTitle)) })
	o.each("references", maxList, func(n *yaml.Node, path string) { r.References = append(r.References, p.reference(n, path)) })
	if n := o.get("query", true); n != nil {
		r.Query = p.text(n, o.at("query"), maxQuery)
		r.Program = compile(p, n, o.at("query"), r.Query, eql.Compile)
	}
	p.exceptions(o, r)
	if response := o.object("response", false, "quarantine"); response != nil {
		r.Response = &Response{Quarantine: p.quarantine(response)}
	}
}

func (p *parser) threat(n *yaml.Node, path string) Threat {
	o := p.object(n, path, "tactic", "technique")
	if o == nil {
		return Threat{}
	}
	var t Threat
	part := func(field string, pattern *regexp.Regexp, example string) (id, name string) {
		inner := o.object(field, true, "id", "name")
		if inner == nil {
			return "", ""
		}
		id, name = inner.text("id", maxName), inner.text("name", maxTitle)
		if id != "" && !pattern.MatchString(id) {
			p.problem(inner.get("id", false), inner.at("id"), "is no ATT&CK id such as %s", example)
		}
		return id, name
	}
	t.TacticID, t.TacticName = part("tactic", p.tactic, "TA0002")
	t.TechniqueID, t.TechniqueName = part("technique", p.technique, "T1609 or T1552.007")
	return t
}

func (p *parser) reference(n *yaml.Node, path string) string {
	text := p.text(n, path, maxPredicate)
	if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		p.problem(n, path, "must be the address of a page, https://…")
	}
	return text
}

func (p *parser) exceptions(o *object, r *Rule) {
	seen := map[string]bool{}
	o.each("exceptions", maxExceptions, func(n *yaml.Node, path string) {
		e := p.object(n, path, "name", "reason", "where", "expires")
		if e == nil {
			return
		}
		exception := Exception{Name: p.name(e), Reason: e.text("reason", maxDescription), Expires: p.expiry(e)}
		if seen[exception.Name] && exception.Name != "" {
			p.problem(e.get("name", false), e.at("name"), "another exception has that name")
		}
		seen[exception.Name] = true
		if where := e.get("where", true); where != nil {
			exception.Where = p.text(where, e.at("where"), maxPredicate)
			exception.Condition = compile(p, where, e.at("where"), exception.Where, eql.CompileCondition)
		}
		r.Exceptions = append(r.Exceptions, exception)
	})
}

// expiry takes a date (the exception ends as that day begins, UTC) or a point in time.
func (p *parser) expiry(o *object) time.Time {
	n := o.get("expires", false)
	if n == nil {
		return time.Time{}
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, n.Value); err == nil && n.Kind == yaml.ScalarNode {
			return t.UTC()
		}
	}
	p.problem(n, o.at("expires"), "must be a date such as 2027-01-31 or a time such as 2027-01-31T18:00:00Z")
	return time.Time{}
}

func (p *parser) quarantine(response *object) *Quarantine {
	o := response.object("quarantine", true, "subject", "duration")
	if o == nil {
		return nil
	}
	q := &Quarantine{Subject: oneOf(o, "subject", true, SubjectPod, SubjectUser)}
	if text := o.text("duration", maxName); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second || d > maxDuration {
			p.problem(o.get("duration", false), o.at("duration"), "must be a duration such as 1h, from 1s to %s", maxDuration)
		}
		q.Duration = d
	}
	return q
}
