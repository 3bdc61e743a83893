// Package kubebuild compiles etcd, Kubernetes, kubectl and helm from the Go
// modules that hack/cluster/build pins, once per version, and says how far it is.
//
// The result lies in a directory named after everything that goes into it, so
// that a change of version is a new directory and nothing is ever rebuilt in
// place. It is built beside and renamed when it is whole.
package kubebuild
