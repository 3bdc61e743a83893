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

static always_inline void fill_user(struct record *r, struct task_struct *task)
{
	struct cred *cred = READ(task, cred);
	struct user_namespace *ns = READ(cred, user_ns);

	r->uid = READ(cred, euid.val);
	r->gid = READ(cred, egid.val);
	if (READ(ns, level) == 0)
		return;
	r->uid = mapped((u64)__builtin_preserve_access_index(&ns->uid_map), r->uid);
	r->gid = mapped((u64)__builtin_preserve_access_index(&ns->gid_map), r->gid);
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
			r->flags |= p->flags & ENTRY_INTERACTIVE;
			return 1;
		}
		if (!container_node(parent, &id) || id != r->cgroup || is_runtime(parent) || on_host((u64)parent))
			break;
		task = parent;
	}
	r->entry_pid = READ(task, tgid);
	r->entry_start = READ(task, start_boottime);
	if (is_interactive((u64)task))
		r->flags |= ENTRY_INTERACTIVE;
	return 0;
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
		.flags = r->flags & (INTERACTIVE | ENTRY_INTERACTIVE | LEARNED),
	};
	if (bpf_map_update_elem(&processes, &r->pid, &p, BPF_ANY))
		count(COUNT_PROCESSES_FULL);
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
	fill_user(r, leader);

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
