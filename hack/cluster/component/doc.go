// Package component knows each daemon of the test cluster: the command line,
// the configuration files, and the question that tells whether it works.
//
// It starts nothing. Everything in it is a function from a [layout.Layout] to
// text, so that what a cluster is made of can be read, and tested, in one place.
package component
