// Package eql is the language that Portcullis' rules are written in: EQL, the
// event query language of Elasticsearch, evaluated event by event as they stream.
//
// A query is for single events, or for a sequence of events that share keys and
// follow each other within some time:
//
//	process where process.name in ("nc", "ncat") and container.id != null
//
//	sequence by container.id with maxspan=1m
//	  [process where process.interactive == true]
//	  [file where file.path like "/var/run/secrets/*"]
//
// Compile turns the text into a program in three steps, each a package of its
// own: parse makes a tree of it (package ast), check holds the tree against the
// fields that events have, and program makes it ready to run. What is wrong with
// a query comes back as a list of diagnostics (package diag), all at once and
// each with its place. Where many rules see the same events, program.Set runs
// them together. Package format lays the text of a query out.
//
// The language does not know what an event is. It reads fields through the two
// interfaces of package value: a Schema when it compiles, a Record when it runs.
// Nor does it remember: putting the stages of a sequence together over time is
// for whoever runs the program.
//
// # Semantics
//
// They are Elasticsearch's. The parts that surprise:
//
//   - ==, !=, in, like, regex and functions distinguish case; :, in~, like~,
//     regex~ and functions with ~ do not. : is like~. == and in take * literally.
//   - A field may have several values, and a comparison holds if it does for any.
//     != and not in turn the whole comparison around: they are true for a missing
//     field, and false if any of several values matches.
//   - Every comparison with a missing field is false, and its not is true.
//     field == null asks whether it is missing.
//   - like "*" is true for every field that exists, like "?*" for every text that
//     is not empty.
//   - Fields are compared with constants only. Events are compared by sequences.
//   - any where takes events of every category and those without one; a named
//     category takes only events that have it.
//   - regex is that of Lucene: the whole text must fit, ^ and $ are ordinary.
//
// Where Portcullis differs: case is ignored by Unicode's rules everywhere, not
// only for ASCII; positions in texts count characters, not UTF-16 units; and a
// calculation that overflows is missing instead of failing the query. Pipes,
// sample, join and lineage (child of) need stored events and are refused.
package eql
