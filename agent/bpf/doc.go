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
// Processes that ran before the agent are listed as it starts, by an iterator over
// tasks (it needs the host's PID namespace), and are otherwise learnt when they first do something:
// a record of [KindSeen] precedes the first that refers to them. A process' arguments can only be read
// by itself, so those come with what it first does.
//
// # How an entry leader began
//
// A container's first process is number 1 of its PID namespace, or, where containers share
// one, the first that came into the cgroup. What comes later was put there by the
// runtime: an exec session, a probe or a hook. Probes and hooks have /dev/null for an input
// and never a terminal, so that whatever has more is a session for certain;
// a session without an input looks like them.
//
// # Requirements
//
// A kernel with BTF ([Floor] or newer with CONFIG_DEBUG_INFO_BTF),
// CAP_BPF and CAP_PERFMON. No file system needs to be mounted but sysfs.
//
// # Loss
//
// The ring buffer is bounded, and so is what one container may write, per second and before it
// is read: see budget.h for how a flood is kept from hiding anything. What
// does not fit is dropped in the kernel and counted there ([Programs.Lost]); what exceeds
// a budget is a record of its own as well ([KindLimit]).
package bpf
