package rule

import (
	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/rule/document"
)

// parsedRule is a rule with what is needed to complain about its name later on.
type parsedRule struct {
	Rule
	nameSpan token.Span
}

// parser reads the documents of one file.
type parser struct {
	*document.Reader
	options Options
}

// parse reads all rules of a file. Rules with mistakes are left out.
func parse(file *token.File, o Options) ([]*parsedRule, diag.List) {
	p := &parser{Reader: document.NewReader(file), options: o}
	var rules []*parsedRule
	before := 0
	for root := range p.Documents(Shape()) {
		r := p.rule(root)
		if found := p.Problems()[before:]; !found.HasErrors() {
			r.Warnings = found
			rules = append(rules, r)
		}
		before = len(p.Problems())
	}
	return rules, p.Problems()
}

func (p *parser) rule(root document.Value) *parsedRule {
	name := root.Field("metadata").Field("name")
	r := &parsedRule{
		Rule: Rule{
			Name: name.Text(), File: p.File().Name(), Line: root.Line(), Origin: Portcullis, schema: p.options.Schema,
		},
		nameSpan: name.Span(),
	}
	p.spec(root.Field("spec"), &r.Rule)
	return r
}

func (p *parser) spec(spec document.Value, r *Rule) {
	r.Title = spec.Field("title").Text()
	r.Description = spec.Field("description").Text()
	r.Severity = Severity(spec.Field("severity").Text())
	r.RiskScore = spec.Field("riskScore").Integer()
	r.Mode = Mode(spec.Field("mode").Text())
	for _, threat := range spec.Field("threats").Elements() {
		r.Threats = append(r.Threats, threatOf(threat))
	}
	r.Tags = spec.Field("tags").Texts()
	r.References = spec.Field("references").Texts()
	r.Query = spec.Field("query").Text()
	r.Program = compile(p, spec.Field("query"), eql.Compile)
	p.exceptions(spec.Field("exceptions"), r)
	p.response(spec.Field("response"), r)
}

func threatOf(v document.Value) Threat {
	tactic, technique := v.Field("tactic"), v.Field("technique")
	return Threat{
		TacticID: tactic.Field("id").Text(), TacticName: tactic.Field("name").Text(),
		TechniqueID: technique.Field("id").Text(), TechniqueName: technique.Field("name").Text(),
	}
}

func (p *parser) exceptions(list document.Value, r *Rule) {
	seen := map[string]bool{}
	for _, v := range list.Elements() {
		name := v.Field("name")
		if name.Exists() && seen[name.Text()] {
			name.Problem("another exception has that name")
		}
		seen[name.Text()] = true
		r.Exceptions = append(r.Exceptions, Exception{
			Name: name.Text(), Reason: v.Field("reason").Text(), Expires: v.Field("expires").Time(),
			Where: v.Field("where").Text(), Condition: compile(p, v.Field("where"), eql.CompileCondition),
		})
	}
}
