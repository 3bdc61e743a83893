// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// How a record is begun, filled and sent.
#pragma once
#include "budget.h"

// argument gives a program's argument as the plain number that global
// functions take; the verifier would not let a typed pointer through.
static always_inline u64 argument(u64 *ctx, u32 index)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), &ctx[index]);
	return value;
}

static always_inline struct record *begin(u32 slot, u16 kind, u16 class, u64 cgroup)
{
	struct record *r = slot_record(slot);

	if (!r)
		return 0;
	__builtin_memset(r, 0, HEADER_SIZE);
	r->time = bpf_ktime_get_boot_ns();
	r->kind = kind;
	r->class = class;
	r->cgroup = r->path_cgroup = cgroup;
	return r;
}

// matters_most says whether a record is an open, or the first process of a
// container or session: few of them tell much.
static always_inline int matters_most(struct record *r)
{
	return r->class == CLASS_OPEN || r->class == CLASS_ENTRY || r->kind == KIND_LIMIT;
}

// wakeup decides whether a record wakes the reader. A wakeup costs several times
// the rest of a record, and detection wants to act within milliseconds. The
// reader says when it looks again by itself: that is soon while records come, so
// that none of them wakes it, and late when there were none, so that the first
// one does. What matters most waits for less.
static always_inline u64 wakeup(struct record *r)
{
	u64 interval = matters_most(r) ? urgent_interval : wakeup_interval;

	if ((s64)(reader_looks - r->time) <= (s64)interval || r->time - last_wakeup < urgent_interval)
		return BPF_RB_NO_WAKEUP;
	last_wakeup = r->time;
	return BPF_RB_FORCE_WAKEUP;
}

// afford charges a record to its container.
static always_inline enum verdict afford(struct container *c, struct record *r, u64 size)
{
	struct bucket *b;
	enum verdict verdict = REFUSED;
	u32 class = r->class;

	if (!c || class >= CLASSES)
		return ORDINARY;
	if (class == CLASS_RARE) {
		if (charge(c, CLASS_RARE, r->time, size))
			verdict = RARE;
		class = r->class = CLASS_EXEC;
	}
	if (!verdict)
		verdict = charge(c, class, r->time, size);
	b = &c->buckets[class];
	if (!verdict) {
		count(COUNT_LIMITED + class);
		if (!suppress(b, r->time))
			return REFUSED;
		r->kind = KIND_LIMIT;
	}
	if (b->suppressed != b->told)
		r->suppressed = untold(b);
	return matters_most(r) ? MATTERS_MOST : verdict;
}

// unread bounds how much of the ring buffer a container's records take. What was written
// up to the mark counts until the reader has come that far; then the mark is set anew. Two CPUs
// may do so at once and count too little: it is a brake as well.
static always_inline u64 unread(struct container *c)
{
	if (bpf_ringbuf_query(&ring, BPF_RB_CONS_POS) >= c->mark) {
		c->unread = c->unread_behind;
		c->unread_behind = 0;
		c->mark = bpf_ringbuf_query(&ring, BPF_RB_PROD_POS);
	}
	return c->unread + c->unread_behind;
}

// has_room says whether a record may go into the ring buffer, and counts one that may not. The last quarter
// is kept for what matters most, and who is using up its budget has the first half only. No
// container's records fill more than half, and an eighth more with those that must not be
// hidden by its others.
static always_inline int has_room(struct container *c, u64 size, enum verdict verdict)
{
	u64 eighth = ring_size / 8;
	u64 share = verdict >= RARE ? 5 * eighth : 4 * eighth;
	u64 room = verdict == MATTERS_MOST ? 8 * eighth : verdict == USING_UP ? 4 * eighth : 6 * eighth;

	if ((!c || unread(c) + size <= share) && bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) <= room)
		return 1;
	count(COUNT_RING_FULL);
	return 0;
}

// written notes what became of a record for which there was room.
static always_inline void written(struct container *c, u64 size, long failed)
{
	if (failed)
		count(COUNT_RING_FULL);
	else if (c)
		c->unread_behind += size;
}

// submit sends the record of a slot.
global int submit(u32 slot)
{
	struct record *r = slot_record(slot);
	struct container *c;
	enum verdict verdict;
	u64 size;

	if (!r)
		return 0;
	size = HEADER_SIZE + (u64)r->used + r->args_len;
	if (size > sizeof(*r))
		return 0;
	c = container_state(r->cgroup);
	verdict = afford(c, r, size);
	if (verdict && has_room(c, size, verdict))
		written(c, size, bpf_ringbuf_output(&ring, r, size, wakeup(r)));
	return 0;
}

// learn fills a record about a process that was there before the agent, or
// whose birth was missed. The caller has begun the record, with what the
// process is known as, if it is.
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
}

// recall replaces what was learnt by what the process is known as.
static always_inline void recall(struct record *r, struct process *p)
{
	r->cgroup = p->cgroup;
	r->image = p->image;
	r->image_pid = p->image_pid;
	r->entry_pid = p->entry_pid;
	r->entry_start = p->entry_start;
	r->flags &= ~(INTERACTIVE | ENTRY_FLAGS | LEARNED);
	r->flags |= p->flags & (INTERACTIVE | ENTRY_FLAGS);
}

#define SIGNAL_GROUP_EXIT 4

// tell_of_end sends that the current process ended.
static always_inline void tell_of_end(struct task_struct *task, struct process *p)
{
	struct task_struct *leader = leader_of(task);
	struct signal_struct *signal = READ(task, signal);
	struct container *c = container_state(p->cgroup);
	struct record_end end = {};
	enum verdict verdict = ORDINARY;

	end.kind = KIND_EXIT;
	end.time = bpf_ktime_get_boot_ns();
	end.start = p->start;
	end.image = p->image;
	end.image_pid = p->image_pid;
	end.entry_pid = p->entry_pid;
	end.entry_start = p->entry_start;
	end.cgroup = p->cgroup;
	end.flags = p->flags;
	end.pid = READ(leader, tgid);
	end.ppid = READ(leader_of(READ(leader, real_parent)), tgid);
	end.tty = terminal(task);
	fill_user(&end.uid, &end.gid, task);
	end.status = READ(signal, flags) & SIGNAL_GROUP_EXIT ? READ(signal, group_exit_code) : READ(leader, exit_code);
	if (c) {
		struct bucket *b = &c->buckets[CLASS_EXIT];
		verdict = charge(c, CLASS_EXIT, end.time, sizeof(end));
		if (!verdict) {
			count(COUNT_LIMITED + CLASS_EXIT);
			__sync_fetch_and_add(&b->suppressed, 1);
			return;
		}
		end.suppressed = untold(b);
	}
	if (has_room(c, sizeof(end), verdict))
		written(c, sizeof(end), bpf_ringbuf_output(&ring, &end, sizeof(end), BPF_RB_NO_WAKEUP));
}
