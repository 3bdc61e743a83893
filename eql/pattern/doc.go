// Package pattern decides whether a text is one of many, or looks like a
// pattern with wildcards.
//
// A pattern's * stands for any run of characters, also for none, and ? for
// exactly one character; neither can be escaped, and the whole text must fit.
// Most patterns of real rules are simpler than that: exact texts, beginnings,
// ends, and texts contained somewhere. Each shape gets the matcher that is
// fastest for it, once, when the rule is compiled.
//
// # Case
//
// Where case is ignored (fold), two characters are the same if Unicode's simple
// case folding says so, as in strings.EqualFold: one character for one, the
// same everywhere, without a locale. This is wider than Elasticsearch, which
// folds only ASCII in some of its operators and everything in others; a
// detection should not be escaped by writing K (the Kelvin sign) for k.
//
// A byte that is not valid UTF-8 is one character, equal to itself only.
//
// No matcher allocates, and all are safe for concurrent use.
package pattern
