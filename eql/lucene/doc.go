// Package lucene translates regular expressions from the syntax that rules are
// written in, that of Apache Lucene, to Go's regexp package.
//
// Lucene's expressions are matched by automata, as Go's are: no look-around, no
// back-references, time linear in the text. They differ in notation:
//
//   - an expression must fit the whole text, and ^ and $ are ordinary characters;
//   - . is any character, also a line break;
//   - "…" is literal text, @ is any text, # is nothing at all;
//   - there are no lazy or possessive repetitions: a+? is (a+)?;
//   - \d \D \s \S \w \W are classes of ASCII characters, and a backslash before
//     any other sign makes it ordinary; before any other letter it is an error.
//
// Three of Lucene's operators have no counterpart and are refused with a
// message: complement (~), intersection (&) and numeric ranges (<1-9>).
package lucene
