// Package eqltest tests the rule language in its own words.
//
// A script names fields and events, and then says of conditions which of the
// events they match. It is read line by line; # starts a comment.
//
//	field name text
//	field args text many
//	field pid  number
//
//	event shell
//	  name "sh"
//	  args "sh" "-c"
//	event nameless
//	  pid 7
//
//	name == "sh"        => shell
//	name != "sh"        => nameless
//	args in ("-c", 1)   => error: never equal
//
// A field is of type text, number, boolean, address or reference. An event's
// line gives one field one or several values: strings, numbers, true and false,
// or ref "text" "key". Behind a condition stand the names of all events that
// match it, in any order, nothing if there are none, or error: and a part of the
// message. A line with the word where is a whole query instead of a condition.
//
// The not of a condition matches all other events, whatever the condition is. So
// the not of every line is tried as well.
//
// Run holds an implementation of the language against a script. The fixtures are
// of use without scripts too: Schema and Event are the simplest implementation of
// what package value asks for, RandomQuery and SameTree are for what makes trees of
// texts and texts of trees, and Golden is for texts that people read.
package eqltest
