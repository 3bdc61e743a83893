// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What is told of a process, and what its children inherit.
#pragma once
#include "path.h"

static always_inline struct task_struct *leader_of(struct task_struct *task)
{
	return READ(task, group_leader);
}

// known finds a process' entry. A start time that differs belongs to an
// earlier process of the same PID, whose end was missed.
static always_inline struct process *known(struct task_struct *leader)
{
	u32 pid = READ(leader, tgid);
	struct process *p = bpf_map_lookup_elem(&processes, &pid);

	if (!p || p->start != READ(leader, start_boottime))
		return 0;
	return p;
}

// on_host says whether the task has the host's own mounts. A process that has
// just come into a container's cgroup and still has is the runtime at work.
global int on_host(u64 task_)
{
	struct task_struct *task = (void *)task_, *up = task;
	u64 mounts = (u64)READ(READ(task, nsproxy), mnt_ns);

	if (!mounts)
		return 0;
	for (int i = 0; i < 64 && !host_mounts; i++) {
		if (READ(up, tgid) == 1)
			host_mounts = (u64)READ(READ(up, nsproxy), mnt_ns);
		up = READ(up, real_parent);
		if (!up)
			break;
	}
	return mounts == host_mounts;
}

// is_runtime says whether the task runs a program that is not in its own mount
// namespace, as a runtime's last stage before the container's first program.
static always_inline int is_runtime(struct task_struct *task)
{
	struct file *exe = READ(READ(task, mm), exe_file);
	struct mount *mount;

	if (!exe)
		return 0;
	mount = (void *)((u64)READ(exe, f_path.mnt) - OFFSET((struct mount *)0, mnt));
	return READ(mount, mnt_ns) != READ(READ(task, nsproxy), mnt_ns);
}

// device gives a device number as stat(2) writes it.
static always_inline u32 device(u32 major, u32 minor)
{
	return (minor & 0xff) | (major << 8) | ((minor & ~0xffU) << 12);
}

static always_inline u32 terminal(struct task_struct *task)
{
	struct tty_struct *tty = READ(READ(task, signal), tty);
	struct tty_driver *driver;

	if (!tty)
		return 0;
	driver = READ(tty, driver);
	return device(READ(driver, major), READ(driver, minor_start) + READ(tty, index));
}

// descriptor gives the device number of an open character device, else 0.
static always_inline u32 descriptor(struct task_struct *task, u32 fd)
{
	struct fdtable *table = READ(READ(task, files), fdt);
	struct file **slots = READ(table, fd), *file = 0;
	struct inode *inode;
	u32 number;

	if (fd >= READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]);
	if (!file)
		return 0;
	inode = READ(file, f_inode);
	if ((READ(inode, i_mode) & 0170000) != 0020000)
		return 0;
	number = READ(inode, i_rdev);
	return device(number >> 20, number & 0xfffff);
}

#define DEV_TTY 0x500 // /dev/tty is the controlling terminal by another name

global int is_interactive(u64 task_)
{
	struct task_struct *task = (void *)task_;
	u32 tty = terminal(task), in, err;

	if (!tty)
		return 0;
	in = descriptor(task, 0);
	err = descriptor(task, 2);
	return (in == tty || in == DEV_TTY) && (err == tty || err == DEV_TTY);
}

// mapped translates a user or group id to the numbers of a user namespace.
global u32 mapped(u64 map_, u32 id)
{
	struct uid_gid_map *map = (void *)map_;
	u32 extents = READ(map, nr_extents);

	for (u32 i = 0; i < 5; i++) {
		struct uid_gid_extent *e;
		u32 first;
		if (i >= extents)
			break;
		e = __builtin_preserve_access_index(&map->extent[i]);
		first = READ(e, lower_first);
		if (id >= first && id - first < READ(e, count))
			return id - first + READ(e, first);
	}
	return 65534;
}

static always_inline void fill_user(u32 *uid, u32 *gid, struct task_struct *task)
{
	struct cred *cred = READ(task, cred);
	struct user_namespace *ns = READ(cred, user_ns);

	*uid = READ(cred, euid.val);
	*gid = READ(cred, egid.val);
	if (READ(ns, level) == 0)
		return;
	*uid = mapped((u64)__builtin_preserve_access_index(&ns->uid_map), *uid);
	*gid = mapped((u64)__builtin_preserve_access_index(&ns->gid_map), *gid);
}

// is_init says whether the task is the first of its PID namespace.
static always_inline int is_init(struct task_struct *task)
{
	struct pid *pid = READ(task, thread_pid);
	u32 level = READ(pid, level);
	struct upid *own = __builtin_preserve_access_index(&pid->numbers[0]);
	int nr = 0;

	// An entry of numbers has 16 bytes: a number and the namespace's pointer.
	bpf_probe_read_kernel(&nr, sizeof(nr), (void *)own + 16 * (u64)(level & 31));
	return level && nr == 1;
}

#define DEV_NULL 0x103

// has_input says whether a process reads from anything but /dev/null. A runtime
// gives probes and hooks nothing else, and a session what its user asked for.
static always_inline int has_input(struct task_struct *task)
{
	struct fdtable *table = READ(READ(task, files), fdt);
	struct file **slots = READ(table, fd), *file = 0;

	bpf_probe_read_kernel(&file, sizeof(file), &slots[0]);
	return file && descriptor(task, 0) != DEV_NULL;
}

// judge_entry says how an entry leader came into its container: as its first
// process, or later. The first is the first of its PID namespace; where
// containers share one, the first that came into the cgroup.
global int judge_entry(u32 slot, u64 task_)
{
	struct record *r = slot_record(slot);
	struct task_struct *task = (void *)task_;
	struct container *c;
	u64 start = READ(task, start_boottime);

	if (!r)
		return 0;
	r->entry_pid = READ(task, tgid);
	r->entry_start = start;
	if (is_interactive((u64)task))
		r->flags |= ENTRY_INTERACTIVE;
	if (has_input(task))
		r->flags |= ENTRY_INPUT;
	c = container_state(r->cgroup);
	if (!c)
		return 0;
	if (is_init(task) || (!c->main_start && watching_since && start > watching_since))
		c->main_start = start;
	if (c->main_start)
		r->flags |= c->main_start == start ? ENTRY_MAIN : ENTRY_JOINED;
	return 0;
}

// find_entry sets the record's entry leader by looking up the tree, for a
// process whose birth was not seen: the container's or session's first
// process is the last one before the runtime. It returns 1 when a known
// process answered the question.
global int find_entry(u32 slot, u64 leader)
{
	struct record *r = slot_record(slot);
	struct task_struct *task = (void *)leader, *parent;

	if (!r)
		return 0;
	for (int i = 0; i < 32; i++) {
		struct process *p;
		u64 id;

		parent = leader_of(READ(task, real_parent));
		if (!parent || parent == task)
			break;
		p = known(parent);
		if (p) {
			r->entry_pid = p->entry_pid;
			r->entry_start = p->entry_start;
			r->flags |= p->flags & ENTRY_FLAGS;
			return 1;
		}
		if (!container_node(parent, &id) || id != r->cgroup || is_runtime(parent) || on_host((u64)parent))
			break;
		task = parent;
	}
	judge_entry(slot, (u64)task);
	return 0;
}

// remember_new keeps a process that was not known. A container has room for
// so many: what it has beyond is found by looking up the tree, as if the
// table were full.
static always_inline void remember_new(u32 pid, struct process *p)
{
	struct container *c = container_state(p->cgroup);

	if (c && c->processes >= container_processes) {
		count(COUNT_PROCESSES_FULL);
		return;
	}
	// What is left of an earlier process of this PID was counted then.
	if (!bpf_map_update_elem(&processes, &pid, p, BPF_NOEXIST)) {
		if (c)
			__sync_fetch_and_add(&c->processes, 1);
	} else if (bpf_map_update_elem(&processes, &pid, p, BPF_ANY)) {
		count(COUNT_PROCESSES_FULL);
	}
}

// forget undoes remember_new.
static always_inline void forget(u32 pid, u64 cgroup)
{
	struct container *c;

	if (bpf_map_delete_elem(&processes, &pid))
		return;
	c = bpf_map_lookup_elem(&containers, &cgroup);
	if (c)
		__sync_fetch_and_add(&c->processes, -1);
}

static always_inline void remember(struct record *r)
{
	struct process p = {
		.start = r->start,
		.image = r->image,
		.image_pid = r->image_pid,
		.cgroup = r->cgroup,
		.entry_start = r->entry_start,
		.entry_pid = r->entry_pid,
		.flags = r->flags & (INTERACTIVE | ENTRY_FLAGS | ARGS_UNKNOWN),
	};
	remember_new(r->pid, &p);
}

// end_doomed ends the current process if its entry leader's tree is to end: it
// dies before it runs any further. A sweep from user space ends those that sleep.
static always_inline void end_doomed(struct process *p)
{
	struct entry key = {.start = p->entry_start, .pid = p->entry_pid};

	if (bpf_map_lookup_elem(&doomed, &key))
		bpf_send_signal(9);
}

// fill writes all of a record that is about the process, but for its entry
// leader, and leaves the arguments for the end.
global int fill(u32 slot, u64 leader_, u64 node)
{
	struct record *r = slot_record(slot);
	struct task_struct *leader = (void *)leader_, *parent;
	struct process *p;

	if (!r)
		return 0;
	parent = leader_of(READ(leader, real_parent));
	r->pid = READ(leader, tgid);
	r->start = READ(leader, start_boottime);
	r->ppid = READ(parent, tgid);
	r->parent_start = READ(parent, start_boottime);
	bpf_probe_read_kernel(r->comm, sizeof(r->comm), __builtin_preserve_access_index(&leader->comm));
	bpf_probe_read_kernel(r->parent_comm, sizeof(r->parent_comm), __builtin_preserve_access_index(&parent->comm));
	p = known(parent);
	if (p) {
		r->parent_image = p->image;
		r->parent_image_pid = p->image_pid;
		if (p->flags & INTERACTIVE)
			r->flags |= PARENT_INTERACTIVE;
	}
	r->tty = terminal(leader);
	fill_user(&r->uid, &r->gid, leader);

	r->cgroup_len = append_cgroup(slot, node);
	return 0;
}

global int fill_paths(u32 slot, u64 task_)
{
	struct record *r = slot_record(slot);
	struct task_struct *task = (void *)task_, *parent;
	struct fs_struct *fs;

	if (!r)
		return 0;
	r->exe_len = append_file(slot, READ(READ(task, mm), exe_file));
	fs = READ(task, fs);
	r->cwd_len = append_path(slot, (u64)READ(fs, pwd.mnt), (u64)READ(fs, pwd.dentry));
	if (r->parent_image)
		return 0; // user space knows what the parent runs
	parent = leader_of(READ(task, real_parent));
	r->parent_exe_len = append_file(slot, READ(READ(parent, mm), exe_file));
	return 0;
}

// fill_args copies the arguments of the current process behind all else.
// They are in one piece; when a page of it is not in memory, what is before it counts.
global int fill_args(u32 slot, u64 task_)
{
	struct record *r = slot_record(slot);
	struct task_struct *task = (void *)task_;
	struct mm_struct *mm = READ(task, mm);
	u64 start = READ(mm, arg_start), size = READ(mm, arg_end) - start;
	u32 at;

	if (!r || !start)
		return 0;
	if (size > ARGS_SIZE) {
		size = ARGS_SIZE;
		r->flags |= ARGS_TRUNCATED;
	}
	at = r->used;
	if (at > PATHS_SIZE)
		return 0;
	asm volatile("" : "+r"(size));
	if (size > ARGS_SIZE)
		return 0;
	if (!bpf_probe_read_user(&r->data[at], size, (void *)start)) {
		r->args_len = size;
		return 0;
	}
	r->flags |= ARGS_TRUNCATED;
	for (u32 i = 0; i < ARGS_SIZE / 4096 + 1; i++) {
		u32 done = r->args_len;
		u64 n = 4096 - ((start + done) & 4095);

		if (done >= size || done > ARGS_SIZE - 4096 || at + done > DATA_SIZE - 4096)
			break;
		if (n > size - done)
			n = size - done;
		asm volatile("" : "+r"(n));
		if (n > 4096)
			break;
		if (bpf_probe_read_user(&r->data[at + done], n, (void *)(start + done)))
			break;
		r->args_len = done + n;
	}
	return 0;
}
