// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What the programs share: settings, maps and counters.
#pragma once
#include "kernel.h"
#include "record.h"

// Set by the loader.
const volatile u64 ring_size = 4 << 20;
// A container may use this many bytes of records per second, and save up to
// container_burst of them. Opens have a budget of their own, so that a flood
// of processes cannot hide one.
const volatile u64 container_rate = 8 << 20;
const volatile u64 container_burst = 2 << 20;
// At most one wakeup of the reader in this time: see wakeup.
const volatile u64 wakeup_interval = 4000000;
const volatile u64 urgent_interval = 500000;
// The numbers of the system calls that open a file, natively and for 32-bit programs.
const volatile s32 open_calls[4] = {-1, -1, -1, -1};
const volatile s32 compat_open_calls[4] = {-1, -1, -1, -1};

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

struct budget_key {
	u64 cgroup;
	u64 kind;
};

struct budget {
	u64 bytes;
	u64 updated;
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

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, struct budget_key);
	MAP_TYPE(value, struct budget);
} budgets SEC(".maps");

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
	MAP_UINT(max_entries, COUNTERS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} counters SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 4 << 20);
} ring SEC(".maps");

// When the reader was last woken.
u64 last_wakeup;
// The mount namespace of the host's first process, 0 until it is known.
u64 host_mounts;

// Never used: it puts the structure's layout where a test finds it.
struct record_end *layout;

static always_inline void count(u32 counter)
{
	u64 *n = bpf_map_lookup_elem(&counters, &counter);
	if (n)
		*n += 1;
}

static always_inline struct record *slot_record(u32 slot)
{
	return bpf_map_lookup_elem(&scratch, &slot);
}
