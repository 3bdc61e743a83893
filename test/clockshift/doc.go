// Package clockshift runs a program whose wall clock is wrong, for tests of what happens when the
// clocks of a cluster's machines differ.
//
// The usual trick, a preloaded library that replaces clock_gettime, has no effect on static Go binaries such
// as kube-apiserver, and a time namespace shifts every clock but this one. But a Go program, like most,
// reads the clock through the vDSO: a page of code that the kernel maps into every process. So the program is
// stopped before its first instruction and the vDSO's clock_gettime, of that process alone, is
// overwritten by a few instructions that ask the kernel and add the shift to CLOCK_REALTIME. Nothing
// else of the program or the machine is touched: its timers, the monotonic clock and all other processes
// go on as ever.
//
// Set does the same again to a program that Start has started: its clock jumps while it runs.
//
// It works on Linux on amd64, for programs that read the clock through the vDSO, and needs the right to
// trace one's own children, which every process has unless it was taken away. Elsewhere Start
// returns errors.ErrUnsupported.
package clockshift
