// Package format lays out the text of a query, as gofmt does for Go: there is one
// way to write it, so nobody needs to talk about it.
//
// It changes white space and nothing else. Every word stays as it was written, in
// its place, parentheses that are not needed among them; so the formatted text
// is the same query. Comments stay where they are between the words; only where
// an "and", an "or" or a comma begins a line does it go to the end of the line
// before, in front of the comment there.
//
// # Layout
//
// What fits on a line and was written on one is on one. Everything else has a
// line for each part, indented by two:
//
//	process where event.type == "start" and
//	  // What people type.
//	  (
//	    process.name in ("sh", "bash") or
//	    process.args == "-i"
//	  ) and
//	  not process.parent.name == "cron"
//
// The author has a say: where a line ends after "where", "and", "or", a comma, or
// in parentheses, it still does, so that what belongs together can stay on a line.
// Empty lines between parts are kept, as one. A list that does not fit is wrapped.
// The steps of a sequence have lines of their own, as have until and pipes:
//
//	sequence by container.id with maxspan=1m
//	  [process where process.interactive == true]
//	  [file where event.action == "open" and
//	    file.path like "/var/run/secrets/*"
//	  ] by user.id
//	until [process where event.type == "end"]
//
// Formatting what is formatted changes nothing.
package format
