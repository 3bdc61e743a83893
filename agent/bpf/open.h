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

// same compares a directory's name, whole words at a time: fewer branches for
// the verifier to follow.
static always_inline int same(struct dentry *dentry, const char *name, u32 len)
{
	u64 found[3] = {}, want[3] = {};

	if (READ(dentry, d_name.len) != len)
		return 0;
	__builtin_memcpy(want, name, len);
	bpf_probe_read_kernel(found, len, READ(dentry, d_name.name));
	return !((found[0] ^ want[0]) | (found[1] ^ want[1]) | (found[2] ^ want[2]));
}

// NEWEST_FIRST: a file system's mounts are in a simple list, the newest first.
#define NEWEST_FIRST HAS((struct mount___single *)0, mnt_next_for_sb)

// The mounts of a file system, one after another. Functions of their own for
// the reason given at parent_of.
global u64 first_mount(u64 sb_)
{
	struct super_block___single *single = (void *)sb_;
	struct super_block *sb = (void *)sb_;

	if (NEWEST_FIRST)
		return (u64)READ(single, s_mounts);
	return (u64)READ(sb, s_mounts.next) - OFFSET((struct mount *)0, mnt_instance);
}

global u64 next_mount(u64 mount_, u64 sb)
{
	struct mount___single *single = (void *)mount_;
	struct mount *mount = (void *)mount_;
	u64 next;

	if (NEWEST_FIRST)
		return (u64)READ(single, mnt_next_for_sb);
	next = (u64)READ(mount, mnt_instance.next);
	if (next == sb + OFFSET((struct super_block *)0, s_mounts))
		return 0;
	return next - OFFSET((struct mount *)0, mnt_instance);
}

#define MOUNTS 128

// account_mount finds where a volume is mounted as a service account's. A bind
// mount of the volume, or of a file of it, is another mount of the same file
// system and does not hide the first.
global u64 account_mount(u64 sb_)
{
	struct super_block *sb = (void *)sb_;
	struct dentry *root = READ(sb, s_root);
	u64 at = first_mount(sb_);

	for (int i = 0; i < MOUNTS && at; i++) {
		struct mount *mount = (void *)at;
		struct dentry *point = READ(mount, mnt_mountpoint);

		if (READ(mount, mnt.mnt_root) == root && same(point, "serviceaccount", 14) &&
		    same(READ(point, d_parent), "kubernetes.io", 13))
			return at;
		at = next_mount(at, sb_);
	}
	return 0;
}

// first_volume_mount finds the oldest mount of a whole volume in a mount
// namespace: where the pod's manifest put it.
global u64 first_volume_mount(u64 sb_, u64 namespace)
{
	struct super_block *sb = (void *)sb_;
	struct dentry *root = READ(sb, s_root);
	u64 at = first_mount(sb_), found = 0;

	for (int i = 0; i < MOUNTS && at; i++) {
		struct mount *mount = (void *)at;

		if (READ(mount, mnt.mnt_root) == root && (u64)READ(mount, mnt_ns) == namespace) {
			found = at;
			if (!NEWEST_FIRST)
				return found;
		}
		at = next_mount(at, sb_);
	}
	return found;
}

// is_projected says whether a volume is one of those that the kubelet projects
// tokens into, by where it is mounted on the host:
// …/volumes/kubernetes.io~projected/<name>.
global int is_projected(u64 sb_)
{
	u64 at = first_mount(sb_);

	for (int i = 0; i < MOUNTS && at; i++) {
		struct mount *mount = (void *)at;

		if (same(READ(READ(mount, mnt_mountpoint), d_parent), "kubernetes.io~projected", 23))
			return 1;
		at = next_mount(at, sb_);
	}
	return 0;
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
			break;
		if (equal(&name[i], "token", 5))
			return 1;
	}
	return is_projected((u64)READ(dentry, d_sb));
}

// append_known writes the path by which rules know the file: where its volume
// is mounted for the pod, whatever other mount it was opened through. Nothing
// is written where that cannot be told.
global int append_known(u32 slot, u64 file_, u64 task_)
{
	struct record *r = slot_record(slot);
	struct file *file = (void *)file_;
	struct task_struct *task = (void *)task_;
	struct dentry *dentry = READ(file, f_path.dentry);
	u64 sb = (u64)READ(dentry, d_sb), mount;

	if (!r || READ((struct super_block *)sb, s_magic) != TMPFS_MAGIC)
		return 0;
	mount = account_mount(sb);
	if (mount)
		r->flags |= ACCOUNT_VOLUME;
	else
		mount = first_volume_mount(sb, (u64)READ(READ(task, nsproxy), mnt_ns));
	if (!mount)
		return 0;
	return append_path(slot, mount + OFFSET((struct mount *)0, mnt), (u64)dentry);
}

static always_inline int is_credential_length(u32 len) { return len == 5 || len == 6 || len == 9; }

// may_be_credential lets nearly all files go by what is told quickest: the
// length of a name, and the kind of file system.
static always_inline int may_be_credential(struct file *file)
{
	struct dentry *dentry;

	if (CASTS) {
		dentry = CAST(struct file, file)->f_path.dentry;
		return is_credential_length(dentry->d_name.len) || dentry->d_sb->s_magic == TMPFS_MAGIC;
	}
	dentry = READ(file, f_path.dentry);
	return is_credential_length(READ(dentry, d_name.len)) || READ(READ(dentry, d_sb), s_magic) == TMPFS_MAGIC;
}

#define FMODE_READ 1
#define FMODE_PATH 0x4000

// opened is what all ways of watching opens come to.
static always_inline int opened(struct file *file)
{
	struct task_struct *task, *leader;
	struct kernfs_node *node;
	struct process *p;
	struct record *r;
	u32 mode;
	u64 id = 0;

	if (!may_be_credential(file) || !is_credential((u64)file))
		return 0;
	mode = READ(file, f_mode);
	if (!(mode & FMODE_READ) || (mode & FMODE_PATH))
		return 0;
	task = (void *)bpf_get_current_task();
	leader = leader_of(task);
	p = known(leader);
	node = container_node(task, &id);
	if (!p && (!node || on_host((u64)task)))
		return 0;
	if (!node)
		node = v2_node(task);
	r = begin(SLOT_OPEN, KIND_OPEN, CLASS_OPEN, id);
	if (!r)
		return 0;
	r->file_len = append_file(SLOT_OPEN, file);
	r->known_len = append_known(SLOT_OPEN, (u64)file, (u64)task);
	learn(SLOT_OPEN, task, node);
	fill_args(SLOT_OPEN, (u64)task);
	if (p) {
		recall(r, p);
		if (p->flags & ARGS_UNKNOWN)
			r->flags |= LEARNED;
		p->flags &= ~ARGS_UNKNOWN;
		end_doomed(p);
	} else if (!is_runtime(task)) {
		remember(r);
	}
	submit(SLOT_OPEN);
	return 0;
}
