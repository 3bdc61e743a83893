// Package witness makes events for queries: some that a query is for, and for
// each of its conditions some that fail just that one.
//
// A rule that compiles may still be one that never fires, or that fires whatever
// happens. A witness tells: if the event that was made from
//
//	process where process.name == "nc" and process.args like "*-e*"
//
// makes the rule fire, and neither the same event without process.name == "nc"
// nor that without process.args like "*-e*" does, the rule means what it says.
//
// # How
//
// A query's conditions are taken apart into comparisons, each about one field.
// What the comparisons of a text field allow is a regular expression; a value is
// found by walking the automata of all expressions that it must fit, and of those
// that it must not, side by side (findText). Numbers, booleans and addresses are
// picked from the points at which the answer of some comparison changes. Where one
// of several conditions is enough, they are tried one after the other. Conditions
// that calculate are not turned around: values made of their constants are tried.
//
// An event is not a bag of independent fields: command lines are arguments with
// spaces between, names the ends of paths, and a process event has no verb. Shapes
// say what events there are.
//
// Nothing is believed because it was derived: every event that comes out was read
// back by the language's own program. Time and memory are bounded; a query that
// asks for something harder than the bounds allow gets an error that says which
// condition it was.
package witness
