// Package apiserver starts a real Kubernetes API server, with its etcd, for one
// test: the smallest thing on which "does the API server do what we think" can
// be asked. There is no kubelet, scheduler or controller, so pods stay where
// the test puts them.
//
// Both processes listen on loopback ports, keep their files in the test's
// temporary directory, and die with the test process. The binaries, etcd and
// kube-apiserver, are looked for in the directory that PORTCULLIS_KUBE_BIN
// names. Without it a test is skipped on a developer's machine and fails where
// CI is set: a test that silently does not run proves nothing.
//
//	server := apiserver.Start(t, apiserver.Options{})
//	client := kubernetes.NewForConfigOrDie(server.Config)
//
// Starting takes several seconds: share one server between the subtests of a package.
package apiserver
