// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Which opens are told of.
#pragma once
#include "output.h"

#define TMPFS_MAGIC 0x01021994

// is_dated says whether a directory is one of those that the kubelet swaps to
// renew a volume's files at once: "..2026_11_21_17_52_59.2458567487".
static always_inline int is_dated(const char *name)
{
	return name[0] == '.' && name[1] == '.' && name[2] >= '0' && name[2] <= '9' && name[6] == '_';
}

static always_inline int equal(const char *a, const char *b, u32 size)
{
	for (u32 i = 0; i < size; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}

// is_credential says whether the file is one that the kubelet put there for a
// service account. It goes by the file's own directories, which a bind mount
// or another root cannot change, not by the path.
global int is_credential(u64 file_)
{
	struct file *file = (void *)file_;
	struct dentry *dentry = READ(file, f_path.dentry), *parent;
	u32 len = READ(dentry, d_name.len);
	char name[64] = {}, above[16] = {};
	int dated;

	if (len < 5 || len >= sizeof(name))
		return 0;
	bpf_probe_read_kernel(name, 16, READ(dentry, d_name.name));
	parent = READ(dentry, d_parent);
	bpf_probe_read_kernel_str(above, sizeof(above), READ(parent, d_name.name));
	dated = is_dated(above);
	if (dated || equal(above, "serviceaccount", 15)) {
		if ((len == 5 && equal(name, "token", 5)) ||
		    (len == 6 && equal(name, "ca.crt", 6)) ||
		    (len == 9 && equal(name, "namespace", 9)))
			return 1;
	}
	// Tokens that a pod asks for by a name of its own.
	if (!dated || READ(READ(dentry, d_sb), s_magic) != TMPFS_MAGIC)
		return 0;
	bpf_probe_read_kernel_str(name, sizeof(name), READ(dentry, d_name.name));
	for (int i = 0; i < (int)sizeof(name) - 5; i++) {
		if (!name[i])
			return 0;
		if (equal(&name[i], "token", 5))
			return 1;
	}
	return 0;
}

#define FMODE_READ 1
#define FMODE_PATH 0x4000

// argument gives a program's argument as the plain number that global
// functions take; the verifier would not let a typed pointer through.
static always_inline u64 argument(u64 *ctx, u32 index)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), &ctx[index]);
	return value;
}

// opened is what all ways of watching opens come to.
static always_inline int opened(struct file *file)
{
	struct task_struct *task = (void *)bpf_get_current_task(), *leader;
	struct kernfs_node *node;
	struct process *p;
	struct record *r;
	u32 mode;
	u64 id = 0;

	if (!is_credential((u64)file))
		return 0;
	mode = READ(file, f_mode);
	if (!(mode & FMODE_READ) || (mode & FMODE_PATH))
		return 0;
	leader = leader_of(task);
	p = known(leader);
	node = container_node(task, &id);
	if (!p && (!node || on_host((u64)task)))
		return 0;
	if (!node)
		node = v2_node(task);
	r = begin(SLOT_OPEN, KIND_OPEN, id);
	if (!r)
		return 0;
	r->file_len = append_file(SLOT_OPEN, file);
	learn(SLOT_OPEN, task, node);
	if (p) {
		r->cgroup = p->cgroup;
		r->image = p->image;
		r->image_pid = p->image_pid;
		r->entry_pid = p->entry_pid;
		r->entry_start = p->entry_start;
		r->flags &= ~(INTERACTIVE | ENTRY_INTERACTIVE | LEARNED);
		r->flags |= p->flags & (INTERACTIVE | ENTRY_INTERACTIVE);
	} else if (!is_runtime(task)) {
		remember(r);
	}
	submit(SLOT_OPEN);
	return 0;
}
