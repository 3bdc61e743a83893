// Package sequencetest tests engines of sequences in the words of the language:
// which events arrive, in which order, and what is found. It is to sequences what
// package eqltest is to conditions.
//
// A script is read line by line; # starts a comment.
//
//	field host text
//	field name text
//
//	test a request after a read, also if it arrives first
//	  sequence by host with maxspan=10s
//	    [any where name == "read"]
//	    [any where name == "request"]
//
//	given host "web"
//	5s  r2  name "request"
//	3s  r1  name "read"
//	    found r1 r2
//	=> r1 r2
//
// Fields are declared as in eqltest. A test has a name and, indented, a query.
// The lines behind it happen one after the other:
//
//	TIME NAME FIELD VALUE, …   an event arrives that happened at that time; a NAME
//	                           with a slash is REQUEST/STAGE, one stage of a request,
//	                           and what is found names the request
//	again NAME                 it arrives once more
//	watermark TIME             nothing that happened before is to come any more
//
// Times are lengths of time since the same moment, such as 1.5s. Fields that
// stand behind given are those of all events that follow in the test (or, before
// the first test, in the script), unless an event has its own.
//
// What changes at such a line stands indented below it: found, revised (it is made
// of other events), superseded (it is no match any more, by another), reinstated or
// final (nothing can change it any more), and the events of the match. Matches of the same events under several keys are
// told as one, with a count.
//
// Behind => stand the events of each match that is left in the end, when
// everything has arrived: "=> nothing" if there is none. This must not depend on
// the order of arrival, so it is tried with many others, unless the test says
// "in this order". A query that is an error has error: and a part of its message
// instead.
//
// Before the first test, cap TIME sets the span of sequences without maxspan.
//
// Run holds an engine against a script, and Rewrite writes down what an engine
// does. Look at every line of what it changes.
package sequencetest
