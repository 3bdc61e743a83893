// Package bpf watches the kernel: every exec in a container, and every open of
// a service account's token, certificate or namespace file.
//
// [Load] loads the programs and finds out by trying what this kernel allows;
// [Programs.Coverage] tells the outcome. [Programs.Read] hands over what they
// see as [Record] values, in the order in which it happened.
//
// # What runs where
//
// The programs (C, from probe.bpf.c on) filter and copy. They know from the names of a
// process' cgroup whether it is in a container, and drop all else in the
// kernel. They remember for each process of a container which process it
// descends from (its entry leader: the container's first process, or that of
// an exec session), because that can only be learnt as it happens: an orphan's
// parent is gone later. Everything that can be decided later is: names, paths
// and identities are put together in packages container and process.
//
// Processes that ran before the agent are learnt when they first do something:
// a record of [KindSeen] precedes the first that refers to them.
//
// # Requirements
//
// A kernel with BTF and a ring buffer (5.8 or newer with CONFIG_DEBUG_INFO_BTF),
// CAP_BPF and CAP_PERFMON. No file system needs to be mounted but sysfs, and
// the agent need not share the host's PID namespace.
//
// # Loss
//
// The ring buffer is bounded, and so is what one container may write. What
// does not fit is dropped in the kernel and counted there: [Programs.Lost].
package bpf
