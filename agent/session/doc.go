// Package session ends exec sessions: the tree of processes under one entry
// leader, and nothing else.
//
// # What makes it exact
//
// A process is named by PID and start time, and belongs to the entry leader
// under which it was born: package bpf keeps a table of that, in the kernel, as
// processes fork. So a daemon that a session left behind (its parent gone, its
// process group and terminal its own) ends with the session, and a neighbour that
// has got the PID of one that ended does not.
//
// Each process is ended through a pidfd. It is looked up in the table before and
// after the pidfd is opened: the same entry both times means that the process
// lived through the opening, so it is what the pidfd refers to. /proc must give
// it the same start time, and its container be the one that was asked for.
//
// # What makes it complete
//
// A tree can fork faster than it is walked. So it is doomed first: the kernel ends
// whichever of its processes forks, executes or opens something that is watched,
// and what it forked last is found by the next walk. The tree is gone when two whole walks
// find nothing.
//
// # What a person sees
//
// Whoever sits at the session is told why it ends: the reason, in one line, at the terminal or down the pipe that is its entry leader's standard error. A
// file is never written to, a terminal that is stopped or a pipe that is full not waited for.
//
// # What it needs
//
// The host's PID namespace and CAP_KILL. Without them commands are answered with
// "unsupported", and everything else works. To tell a person takes CAP_SYS_PTRACE, and CAP_DAC_OVERRIDE where the session's user is not
// root; without them the session ends untold.
package session
