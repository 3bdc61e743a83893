// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// How a record is begun, filled and sent.
#pragma once
#include "process.h"

static always_inline struct record *begin(u32 slot, u16 kind, u64 cgroup)
{
	struct record *r = slot_record(slot);

	if (!r)
		return 0;
	__builtin_memset(r, 0, HEADER_SIZE);
	r->time = bpf_ktime_get_boot_ns();
	r->kind = kind;
	r->cgroup = r->path_cgroup = cgroup;
	return r;
}

// allowed charges a record to its container's budget. Two CPUs may charge the
// same budget at once and one charge be lost: it is a brake, not an account.
static always_inline int allowed(struct record *r, u64 size)
{
	struct budget_key key = {.cgroup = r->cgroup, .kind = r->kind == KIND_OPEN};
	struct budget *b = bpf_map_lookup_elem(&budgets, &key), fresh = {};
	u64 earned;

	if (!b) {
		fresh.bytes = container_burst;
		fresh.updated = r->time;
		bpf_map_update_elem(&budgets, &key, &fresh, BPF_ANY);
		return 1;
	}
	// In microseconds, so that the product cannot overflow.
	earned = (r->time - b->updated) / 1000;
	if (earned > 1000000)
		earned = 1000000;
	if (earned) {
		b->updated = r->time;
		earned = b->bytes + earned * container_rate / 1000000;
		b->bytes = earned > container_burst ? container_burst : earned;
	}
	if (b->bytes < size) {
		count(COUNT_RATE_LIMITED);
		return 0;
	}
	b->bytes -= size;
	return 1;
}

// matters_most says whether a record is an open, or the first process of a
// container or session: few of them tell much.
static always_inline int matters_most(struct record *r)
{
	return r->kind == KIND_OPEN || r->entry_pid == r->pid;
}

// wakeup decides whether a record wakes the reader. A wakeup costs several
// times the rest of a record, and detection wants to act within milliseconds:
// so a record wakes the reader at once, and those that follow within an
// interval wait, because the reader looks again by itself after it. The
// interval is shorter for what matters most. Waking is thereby rare under load
// and prompt otherwise.
static always_inline u64 wakeup(struct record *r)
{
	u64 interval = matters_most(r) ? urgent_interval : wakeup_interval;

	if (r->time - last_wakeup < interval)
		return BPF_RB_NO_WAKEUP;
	last_wakeup = r->time;
	return BPF_RB_FORCE_WAKEUP;
}

// submit sends the record. The last quarter of the ring is kept for what
// matters most: opens, and the first processes of containers and sessions.
global int submit(u32 slot)
{
	struct record *r = slot_record(slot);
	u64 size;

	if (!r)
		return 0;
	size = HEADER_SIZE + (u64)r->used + r->args_len;
	if (size > sizeof(*r))
		return 0;
	if (!allowed(r, size))
		return 0;
	if (!matters_most(r) &&
	    bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > ring_size / 4 * 3) {
		count(COUNT_RING_FULL);
		return 0;
	}
	if (bpf_ringbuf_output(&ring, r, size, wakeup(r)))
		count(COUNT_RING_FULL);
	return 0;
}

// learn tells user space of a process that was there before the agent, or
// whose birth was missed, in its own context and before it is referred to.
// The caller has begun the record.
static always_inline void learn(u32 slot, struct task_struct *task, struct kernfs_node *node)
{
	struct record *r = slot_record(slot);
	struct task_struct *leader = leader_of(task);

	if (!r)
		return;
	r->image = r->time;
	r->image_pid = READ(leader, tgid);
	fill(slot, (u64)leader, (u64)node);
	find_entry(slot, (u64)leader);
	r->flags |= LEARNED;
	if (is_interactive((u64)task))
		r->flags |= INTERACTIVE;
	fill_paths(slot, (u64)task);
	fill_args(slot, (u64)task);
}
