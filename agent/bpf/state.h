// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What the programs share: settings, maps and counters.
#pragma once
#include "kernel.h"
#include "record.h"

// Set by the loader.
const volatile u64 ring_size = 4 << 20;
// Bytes of records of each class that a container may cause per second, and how many it may save up.
const volatile u64 class_rate[CLASSES] = {};
const volatile u64 class_burst[CLASSES] = {};
// How many processes of one container are remembered.
const volatile s64 container_processes = 16384;
// How long a record may wait for the reader to look by itself: see wakeup.
const volatile u64 wakeup_interval = 5000000;
const volatile u64 urgent_interval = 500000;
// The system calls that open a file, natively and for 32-bit programs: a bit for each number.
const volatile u64 open_calls[CALLS / 64] = {};
const volatile u64 compat_open_calls[CALLS / 64] = {};

struct process {
	u64 start;
	u64 image;
	u64 cgroup;
	u64 entry_start;
	u32 entry_pid;
	u32 image_pid;
	u32 flags;
	u32 reserved;
};

struct bucket {
	u64 bytes;      // that may still be used
	u64 updated;
	u64 suppressed; // records, since the container is known
	u64 told;       // of those
	u64 noticed;    // when last told
};

struct container {
	struct bucket buckets[CLASSES];
	u64 main_start; // when its first process started, 0 when that is not known
	s64 processes;  // that are remembered
	// Bytes of its records in the ring buffer that may not have been read yet: those up to a
	// mark, a position of the ring, and those behind it.
	u64 unread;
	u64 unread_behind;
	u64 mark;
};

struct program {
	u64 cgroup;
	u64 file;
	char comm[16];
};

// A container that nothing is known of yet: with full budgets.
const volatile struct container new_container = {};

// What ends as soon as it does anything: an entry leader with all its descendants.
struct entry {
	u64 start;
	u64 pid;
};

struct counts {
	u64 of[COUNTERS];
};

// The processes of containers, by PID. Preallocated: a fork bomb can fill it,
// but cannot make it grow.
struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 65536);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct process);
} processes SEC(".maps");

// Whether a cgroup is a container's, by its id. Ids are never used again.
struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 8192);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, u32);
} cgroups SEC(".maps");

// Containers, by their cgroup.
struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, struct container);
} containers SEC(".maps");

// How often a program may still be executed in a container as one that rarely is.
struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 16384);
	MAP_TYPE(key, struct program);
	MAP_TYPE(value, struct bucket);
} programs SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, struct entry);
	MAP_TYPE(value, u32);
} doomed SEC(".maps");

// Records are put together here. One slot for each program: two programs can
// interrupt each other on one CPU, a program cannot interrupt itself.
struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, SLOTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct record);
} scratch SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, 1); // so that all are read at once
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct counts);
} counters SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 4 << 20);
} ring SEC(".maps");

// When the reader was last woken, and when it looks again by itself.
u64 last_wakeup;
u64 reader_looks;
// The mount namespace of the host's first process, 0 until it is known.
u64 host_mounts;
// Since when no container's first process can have been missed, 0 for not yet.
u64 watching_since;
// Which pass of on_task it is.
u32 telling;

// Never used: it puts the structure's layout where a test finds it.
struct record_end *layout;

static always_inline void count(u32 counter)
{
	u32 zero = 0;
	struct counts *counts = bpf_map_lookup_elem(&counters, &zero);

	if (counts && counter < COUNTERS)
		counts->of[counter] += 1;
}

// container_state finds what is known of a container, or begins to know it.
static always_inline struct container *container_state(u64 cgroup)
{
	struct container *c = bpf_map_lookup_elem(&containers, &cgroup);

	if (c)
		return c;
	bpf_map_update_elem(&containers, &cgroup, (void *)&new_container, BPF_NOEXIST);
	return bpf_map_lookup_elem(&containers, &cgroup);
}

static always_inline struct record *slot_record(u32 slot)
{
	return bpf_map_lookup_elem(&scratch, &slot);
}
