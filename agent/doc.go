// Package agent is the node agent: it reads what the kernel reports, completes
// it and sends it to the server.
//
// Its parts are one pipeline, and this package only joins them:
//
//	bpf        the kernel's records
//	process    records -> events, with what is known of processes
//	container  which container and pod a cgroup belongs to
//	clock      the kernel's time -> wall time
//	transport  events -> server, commands <- server
//	session    ends what a command names
//
// [Run] owns two goroutines: the reader, which never waits for anything but
// the kernel, and the sender. Between them is the spool, which is bounded and
// drops (counted) rather than hold the reader up.
//
// At the end the programs are detached first, then the ring buffer is read to
// its end, then the spool is emptied, within the time that the caller allows.
package agent
