// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What one container may cause, so that it can neither cost others their
// records nor hide one of its own behind many.
//
// Entry leaders, opens, execs and exits have a budget each: bytes per second,
// with a burst. Execs have a second one, for programs that the container
// rarely executes: whoever executes one program in a loop uses up what that
// program has, then what execs have, and the one curl in between is still told
// of. What finds no room is counted, and the first such record of a second is
// told of as KIND_LIMIT: to exceed a budget is an event in itself.
//
// Budgets are per second, and the reader may be held up for longer than the ring
// buffer lasts. So a container has a share of the ring as well: what it wrote and nobody
// has read yet fills no more than half of it, whatever its budgets say.
#pragma once
#include "process.h"

// How often a program counts as rare: at once, and per second.
#define RARE_BURST 32
#define RARE_RATE 8
#define SECOND 1000000000ULL

// refill adds what was earned since. Two CPUs may do so at once and one charge
// be lost: it is a brake, not an account.
static always_inline void refill(struct bucket *b, u64 now, u64 rate, u64 burst)
{
	u64 earned = (now - b->updated) / 1000; // microseconds, so that the product cannot overflow

	if ((s64)(now - b->updated) <= 0)
		return;
	if (earned > 1000000)
		earned = 1000000;
	earned = earned * rate / 1000000;
	if (!earned)
		return; // it goes on earning from where it was
	b->updated = now;
	earned += b->bytes;
	b->bytes = earned > burst ? burst : earned;
}

static always_inline int spend(struct bucket *b, u64 size)
{
	if (b->bytes < size)
		return 0;
	b->bytes -= size;
	return 1;
}

// is_rare says whether the container has rarely executed this program of late.
global int is_rare(u32 slot, u64 task_)
{
	struct record *r = slot_record(slot);
	struct task_struct *task = (void *)task_;
	struct program key = {};
	struct bucket *b, fresh = {.bytes = RARE_BURST - 1};
	u64 now;

	if (!r)
		return 0;
	now = fresh.updated = r->time;
	key.cgroup = r->cgroup;
	key.file = READ(READ(READ(READ(task, mm), exe_file), f_inode), i_ino);
	__builtin_memcpy(key.comm, r->comm, sizeof(key.comm));
	b = bpf_map_lookup_elem(&programs, &key);
	if (!b) {
		bpf_map_update_elem(&programs, &key, &fresh, BPF_ANY);
		return 1;
	}
	refill(b, now, RARE_RATE, RARE_BURST);
	return spend(b, 1);
}

// What became of a record that asked for room, from the least to the most of it: see has_room.
enum verdict {
	REFUSED,
	USING_UP, // its container has less than half of its budget left
	ORDINARY,
	RARE,
	MATTERS_MOST,
};

// charge takes a record's size from its class.
static always_inline enum verdict charge(struct container *c, u32 class, u64 now, u64 size)
{
	struct bucket *b;

	if (class >= CLASSES)
		return REFUSED;
	b = &c->buckets[class];
	refill(b, now, class_rate[class], class_burst[class]);
	if (!spend(b, size))
		return REFUSED;
	return b->bytes < class_burst[class] / 2 ? USING_UP : ORDINARY;
}

// suppress counts a record that its class had no room for. It returns 1 for
// the first in a second.
static always_inline int suppress(struct bucket *b, u64 now)
{
	__sync_fetch_and_add(&b->suppressed, 1);
	if (b->noticed && now - b->noticed < SECOND)
		return 0;
	b->noticed = now;
	return 1;
}

// untold returns how many records of a class were suppressed and not told of.
static always_inline u64 untold(struct bucket *b)
{
	u64 all = b->suppressed, n = all - b->told;

	b->told = all;
	return n;
}
