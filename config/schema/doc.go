// Package schema holds the JSON schemas of the YAML files that people write, for
// editors: detectionrule.schema.json for rules and detectionruletest.schema.json
// for their unit tests. An editor that speaks to the YAML language server checks
// and completes a file that begins with
//
//	# yaml-language-server: $schema=<path or URL of the schema>
//
// They are generated from the shapes by which the files are read (rule.Shape and
// ruletest.Shape):
//
//	go test ./config/schema -run Generated -update
//
// A schema knows structure: names, types, bounds. What is wrong inside a query,
// or with a name that must exist elsewhere, `portcullisctl rule check` and
// `portcullisctl rule test` find.
package schema
