// Package e2e tests the whole of Portcullis on a real Kubernetes: a real API
// server sends its audit events and admission reviews, a real kubelet runs the
// chart's pods through containerd, the agent's eBPF programs watch real
// processes, and people are real kubectl processes on terminals of their own.
//
// The tests have the build tag e2e, because they take down whatever test cluster
// is up: make e2e runs them. The cluster is brought up once for all of them and
// taken down at the end, also when a test fails; PORTCULLIS_E2E_KEEP=1 leaves it
// up to look at.
package e2e
