// Package footprint knows every trace that the test cluster leaves on the
// machine outside its state directory, removes them, and looks again.
//
// It works from the outside and from constant names (see package layout), so
// that it needs neither the supervisor nor its records: what a `kill -9`
// leaves is found the same way as what an orderly end leaves. The network
// namespace is bound to a name for as long as the cluster exists, so its
// number cannot be reused, and every process in it can be told from others.
package footprint
