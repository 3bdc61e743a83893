// Package charts holds the tests of the Helm chart in charts/portcullis: they
// render it with helm for the values that people set, read the objects as
// Kubernetes' own types, and say what must be true of them. Against a real API
// server they install, upgrade and uninstall it.
//
// The chart's README has a table of its values, and the chart a copy of the CRD;
// both come from elsewhere, and these tests fail when they are out of step:
//
//	go test ./charts -run Generated -update
//
// brings them back in step. helm is looked for in the directory that
// PORTCULLIS_KUBE_BIN names, then on PATH.
package charts
