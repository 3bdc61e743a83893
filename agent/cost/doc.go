// Package cost measures what the agent costs a node, and what it loses:
//
//	make bench WHAT=agent/cost
//
// It holds nothing but benchmarks. They run the agent's own binary, which sends to a server that
// only acknowledges (on the same machine, so its work counts against the agent), and a worker in a
// real container that executes and opens as fast as it can.
//
// What is compared is measured in pairs, one with and one without the agent, in
// alternating order, and the pair's ratio or difference is what counts: a
// machine's speed drifts, the pairs' does not. The table gives the median of all pairs and the
// interval in which the true median lies with 95% confidence, from order
// statistics, which assume nothing about the distribution. An interval
// that is wide says that the machine was too restless for a verdict.
//
// What the kernel's programs take by themselves is counted by the kernel (BPF
// statistics), and hardly depends on what else the machine does.
package cost
