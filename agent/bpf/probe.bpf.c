//go:build ignore
// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What the node agent sees: every exec in a container, and every open of a
// service account's token, certificate or namespace file.
//
// The programs decide nothing that user space can decide later. They filter
// (is this a container? is this one of the files?), copy what would be gone by
// the time anybody asks, and keep the one thing that must be inherited as it
// happens: which process a process descends from.
#include "open.h"

char LICENSE[] SEC("license") = "GPL";

// on_exec runs in the process that has just become another program.
SEC("tp_btf/sched_process_exec")
int on_exec(u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task(), *leader = leader_of(task);
	struct linux_binprm *program = (void *)ctx[2];
	struct kernfs_node *node;
	struct process *p = known(leader);
	struct record *r;
	u64 id = 0;

	node = container_node(task, &id);
	if (!p && (!node || on_host((u64)task)))
		return 0;
	r = begin(SLOT_EXEC, KIND_EXEC, CLASS_EXEC, id);
	if (!r)
		return 0;
	if (p)
		r->cgroup = p->cgroup; // where it came from, if it has left its cgroup since
	r->image = r->time;
	r->image_pid = READ(leader, tgid);
	if (is_interactive((u64)task))
		r->flags |= INTERACTIVE;
	fill(SLOT_EXEC, (u64)leader, (u64)(node ? node : v2_node(task)));

	if (p) {
		r->entry_pid = p->entry_pid;
		r->entry_start = p->entry_start;
		r->flags |= p->flags & ENTRY_FLAGS;
		p->image = r->image;
		p->image_pid = r->image_pid;
		p->flags = r->flags & (INTERACTIVE | ENTRY_FLAGS);
		end_doomed(p);
	} else {
		find_entry(SLOT_EXEC, (u64)leader);
		if (r->entry_pid == r->pid)
			r->class = CLASS_ENTRY;
		remember(r);
	}
	if (r->class == CLASS_EXEC && is_rare(SLOT_EXEC, (u64)task))
		r->class = CLASS_RARE;

	fill_paths(SLOT_EXEC, (u64)task);
	{
		u32 before = r->used;
		append(r, READ(program, interp));
		r->interp_len = r->used - before;
	}
	fill_args(SLOT_EXEC, (u64)task);
	submit(SLOT_EXEC);
	return 0;
}

// tell_of_parent tells user space of a process before its first child, if it was there
// before the agent or its arguments are not known yet.
static always_inline struct process *tell_of_parent(struct task_struct *task, struct task_struct *leader, struct process *p)
{
	u64 id = 0;
	struct kernfs_node *node = container_node(task, &id);
	struct record *r;

	if (!p && (!node || on_host((u64)task) || is_runtime(task)))
		return 0;
	r = begin(SLOT_FORK, KIND_SEEN, CLASS_EXEC, id);
	if (!r)
		return p;
	learn(SLOT_FORK, task, node ? node : v2_node(task));
	fill_args(SLOT_FORK, (u64)task);
	if (p) {
		recall(r, p);
		r->flags |= LEARNED;
		p->flags &= ~ARGS_UNKNOWN;
	} else {
		remember(r);
	}
	submit(SLOT_FORK);
	return p ? p : known(leader);
}

// on_fork runs in the parent: the child inherits what the parent is known by.
SEC("tp_btf/sched_process_fork")
int on_fork(u64 *ctx)
{
	struct task_struct *parent = (void *)bpf_get_current_task(), *child = (void *)argument(ctx, 1), *leader;
	struct process *p, inherited = {};
	u32 pid = READ(child, tgid);

	if (pid != (u32)READ(child, pid))
		return 0;
	leader = leader_of(parent);
	p = known(leader);
	if (!p || p->flags & ARGS_UNKNOWN)
		p = tell_of_parent(parent, leader, p);
	if (!p)
		return 0;
	inherited = *p;
	inherited.start = READ(child, start_boottime);
	remember_new(pid, &inherited);
	end_doomed(p);
	return 0;
}

// on_exit forgets a process as its last thread ends.
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct process *p;
	u32 pid = READ(task, tgid);

	if (READ(READ(task, signal), live.counter))
		return 0;
	p = bpf_map_lookup_elem(&processes, &pid);
	if (!p)
		return 0;
	// Only the process that ran the program ends it for user space; the
	// children that it forked live on with what they were known by.
	if (p->image_pid == pid && p->start == READ(leader_of(task), start_boottime))
		tell_of_end(task, p);
	forget(pid, p->cgroup);
	return 0;
}

// on_task runs for each process that is there as the agent starts, twice: once
// to find the containers' first processes, then to tell of all.
SEC("iter/task")
int on_task(u64 *ctx)
{
	struct task_struct *task = (void *)argument(ctx, 1);
	struct kernfs_node *node;
	struct record *r;
	u64 id = 0, start;

	if (!task || READ(task, pid) != READ(task, tgid))
		return 0;
	node = container_node(task, &id);
	if (!node || on_host((u64)task) || is_runtime(task) || !READ(task, mm))
		return 0;
	if (!telling) {
		struct container *c = container_state(id);

		start = READ(task, start_boottime);
		if (c && (!c->main_start || start < c->main_start))
			c->main_start = start;
		return 0;
	}
	if (known(task))
		return 0;
	r = begin(SLOT_TASK, KIND_SEEN, CLASSES, id);
	if (!r)
		return 0;
	learn(SLOT_TASK, task, node);
	r->flags |= ARGS_UNKNOWN;
	remember(r);
	submit(SLOT_TASK);
	return 0;
}

SEC("fexit/security_file_open")
int on_open_fexit(u64 *ctx)
{
	if ((s32)ctx[1])
		return 0;
	return opened((void *)argument(ctx, 0));
}

SEC("lsm/file_open")
int on_open_lsm(u64 *ctx)
{
	if ((s32)ctx[1])
		return 0;
	opened((void *)argument(ctx, 0));
	return 0;
}

static always_inline int among(const volatile u64 *calls, u32 call)
{
	u64 at = call / 64;

	asm volatile("" : "+r"(at)); // or the compiler would drop the bound, which the verifier needs
	return calls[at % (CALLS / 64)] >> (call % 64) & 1;
}

// TYPED_TASK: the verifier knows what the current task is, so that its fields
// are read as fast as a program of the kernel would (since 5.11).
#define TYPED_TASK HAS_HELPER(BPF_FUNC_get_current_task_btf)
// FIELD reads one through the pointer that TYPED_TASK gives, or else safely.
#define FIELD(pointer, field) (TYPED_TASK ? (pointer)->field : READ(pointer, field))

static always_inline struct task_struct *current(void)
{
	if (TYPED_TASK)
		return bpf_get_current_task_btf();
	return (void *)bpf_get_current_task();
}

// is_open_call runs at the end of every system call of the node, so most calls
// must leave it soon: it reads a register directly, where the verifier knows
// its type, and looks at the kind of the program only when the number fits.
static always_inline int is_open_call(struct pt_regs *regs)
{
	struct pt_regs___x86 *x86 = (void *)regs;
	struct pt_regs___arm64 *arm64 = (void *)regs;
	u32 call, compat;

	if (HAS(x86, orig_ax)) {
		call = (u32)x86->orig_ax & ~0x40000000; // x32 programs use the same numbers
	} else if (HAS(arm64, syscallno)) {
		call = arm64->syscallno;
	} else {
		return 0;
	}
	if (call >= CALLS || !(among(open_calls, call) | among(compat_open_calls, call)))
		return 0;
	if (HAS(x86, orig_ax)) {
		compat = FIELD(current(), thread_info.status) & 2; // TS_COMPAT
	} else {
		compat = (FIELD(current(), thread_info.flags) >> 22) & 1; // TIF_32BIT
	}
	return compat ? among(compat_open_calls, call) : among(open_calls, call);
}

// on_syscall_exit is for kernels that allow nothing better: it runs after every
// system call of the node, and is the quicker the earlier it knows that the
// call was not an open that succeeded.
SEC("tp_btf/sys_exit")
int on_syscall_exit(u64 *ctx)
{
	s64 fd = ctx[1];
	struct files_struct *files;
	struct fdtable *table;
	struct file **slots, *file = 0;

	if (fd < 0 || fd > 0x7fffffff || !is_open_call((void *)ctx[0]))
		return 0;
	files = FIELD(current(), files);
	table = FIELD(files, fdt);
	if (fd >= FIELD(table, max_fds))
		return 0;
	slots = FIELD(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]);
	if (!file)
		return 0;
	return opened(file);
}
