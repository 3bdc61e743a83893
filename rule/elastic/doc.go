// Package elastic reads rules in the format of Elastic's public detection rules:
// TOML files, as they are, from a folder that the operator names.
//
//	[metadata]
//	maturity = "production"
//
//	[rule]
//	name = "Shell in a container"
//	rule_id = "2f2b…"
//	risk_score = 21
//	severity = "low"
//	type = "eql"
//	query = '''
//	process where process.name == "sh"
//	'''
//
//	[[rule.threat]]
//	framework = "MITRE ATT&CK"
//	…
//
// # What runs
//
// Rules of type eql. Those of other types (query, new_terms, esql, threshold and
// so on) are written in languages that need stored events; they are listed, and
// nothing else. So are rules whose maturity is not production: their authors have
// withdrawn them, or not finished them.
//
// A query may name fields that none of our events has. That is a warning: such a
// rule still runs, its other conditions count, and what it asks of the field never
// holds. Everything else that is wrong with a query is an error, at its place in
// the TOML file. A file that cannot be used leaves all others as they are.
//
// # What becomes of the rest of a file
//
// A rule is called like its file, in kebab-case: execution_shell.toml makes
// execution-shell. Title, severity, risk score, tags, references and the ATT&CK
// techniques with their sub-techniques are taken over. A rule has no response of
// its own, so it only tells, in the mode that the configuration says. Schedules
// (from, interval), indices and limits (max_signals) mean nothing where events are
// looked at as they come. Suppression, filters and exception lists would change
// what is found; they are not applied, and that is a warning.
package elastic
