// Package nodestream tests the two ends of an agent's stream together: what a real kernel
// tells of real containers goes through a real agent, over real gRPC, to the real collector, and commands go back.
//
// Each end has tests of its own, with the other one scripted. Here is what only holds if both agree: that
// a flush is a barrier, that a session ends, that a repeat is recognised.
package nodestream
