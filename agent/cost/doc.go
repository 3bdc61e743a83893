// Package cost measures what the agent costs a node, and what it loses:
//
//	make bench WHAT=agent
//	make bench WHAT=agent PAIRS=400
//
// It holds nothing but benchmarks. They run the agent's own binary, which sends to a server that
// only acknowledges (on the same machine, so its work counts against the agent), and workers in
// real containers that execute and open as fast as they can.
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
//
// Times depend on the machine and are only printed, with a verdict. What must hold on any
// machine fails the run: that loss is counted exactly, that no budget is in the way of 5,000 execs a second, and
// that a flood in one container costs no other its events, nor hides what else happens in its own.
package cost
