// Package telemetryv1 is the protocol that node agents and the server speak:
// gRPC over TLS, one stream per agent. telemetry.proto is the source, the Go
// files are generated from it (make generate).
//
// It is the only package that the agent and the server share.
package telemetryv1
