package rule

import (
	"time"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/check"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// The header that every rule file must have.
const (
	APIVersion = "portcullis.dev/v1alpha1"
	Kind       = "DetectionRule"
)

// MaxSpan is the longest maxspan of a rule. Candidates are kept for a few times as long, and records of
// detections for longer than candidates.
const MaxSpan = check.MaxSpan

// Rule is one detection rule, read and compiled. It is immutable.
type Rule struct {
	// Name is stable and unique, in kebab-case.
	Name        string
	Title       string
	Description string
	Severity    Severity
	// RiskScore is 0 to 100.
	RiskScore  int
	Threats    []Threat
	Tags       []string
	References []string

	// Query is the text that Program was compiled from.
	Query      string
	Program    *program.Program
	Exceptions []Exception

	// Response is nil where the rule only tells.
	Response *Response
	// Mode is empty where the rule leaves it to the server's configuration.
	Mode Mode

	// File and Line say where it was read, Origin whose format that is.
	File   string
	Line   int
	Origin Origin
	// Warnings are about a rule that runs, but probably not as its author thinks.
	Warnings diag.List

	// schema is what Program and Exceptions were compiled with.
	schema value.Schema
}

// Origin says whose rule format a rule was written in.
type Origin string

// The origins.
const (
	// Portcullis is a DetectionRule of this package's format.
	Portcullis Origin = "portcullis"
	// Elastic is a rule in the format of Elastic's public rules; see package elastic.
	Elastic Origin = "elastic"
)

// Severity says how bad it is when a rule is right.
type Severity string

// The severities.
const (
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Mode says whether a rule's response is carried out.
type Mode string

// The modes.
const (
	// Observe tells what would be done, and does nothing.
	Observe Mode = "observe"
	// Enforce does it.
	Enforce Mode = "enforce"
)

// Threat is a MITRE ATT&CK technique with the tactic that it serves here.
type Threat struct {
	TacticID, TacticName       string
	TechniqueID, TechniqueName string
}

// Compile compiles the query of a rule that was read from another format than
// this package's. It returns the rule with its Program and Warnings, or nil and
// at least one error. The places of what it finds are those in the query.
func (r Rule) Compile(o Options) (*Rule, diag.List) {
	compiled, found := eql.Compile(r.File, r.Query, o.Schema, o.Language)
	if compiled == nil {
		return nil, found
	}
	r.Program, r.Warnings, r.schema = compiled, found, o.Schema
	return &r, found
}

// Exception is what is known to be harmless; see the package's documentation
// for what it does.
type Exception struct {
	Name, Reason string
	// Where is the text that Condition was compiled from.
	Where     string
	Condition *program.Condition
	// Expires is when it ends; zero for never.
	Expires time.Time
}

// InForce reports whether the exception counts for an event of that time.
func (e *Exception) InForce(t time.Time) bool {
	return e.Expires.IsZero() || t.Before(e.Expires)
}

// Excepts reports whether one of the rule's exceptions applies to an event of
// that time.
func (r *Rule) Excepts(record value.Record, t time.Time) bool {
	for i := range r.Exceptions {
		if e := &r.Exceptions[i]; e.InForce(t) && e.Condition.Match(record) {
			return true
		}
	}
	return false
}
