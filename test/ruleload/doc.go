// Package ruleload makes rules and events for measurements: as many rules as one
// likes, of the shape that the public rule families for Kubernetes audit logs
// and container telemetry have, and events of a cluster at work.
//
// The shape is what counts for speed, and it is known: the 71 rules of those
// families have 744 predicates of which 387 are distinct, lists of up to 58
// texts and of up to 88 patterns, most of these looked for somewhere within a
// text. The first 71 rules that this package makes have the same numbers (its
// test counts them); their words are made up. More rules repeat the shape with
// other words, and with the same common ones: every process rule asks for Linux
// and for a start, most lists of programs have a shell in them.
//
// The same number always makes the same rules.
package ruleload
