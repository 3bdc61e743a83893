// Package clocks tests what Portcullis makes of a cluster whose clocks differ.
//
// Real API servers share one etcd, and each has a clock of its own, minutes apart (package clockshift). They send their
// audit events to a real sink, canaries fly to each of them, and rules with a span of one second join what the
// API servers report with what agents do.
package clocks
