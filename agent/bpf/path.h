// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Paths of files and of cgroups.
#pragma once
#include "cgroup.h"

static always_inline void append(struct record *r, const void *name)
{
	u32 at = r->used;
	long n;

	if (at > PATHS_SIZE - NAME_SIZE) {
		r->flags |= PATH_TRUNCATED;
		return;
	}
	n = bpf_probe_read_kernel_str(&r->data[at], NAME_SIZE, name);
	if (n > 0)
		r->used = at + n;
}

// append_path writes a path's names, the last one first, each ended by a NUL,
// as they are from the root of the mount namespace in which the file was
// found. It returns the number of bytes.
global int append_path(u32 slot, u64 vfsmount, u64 dentry_)
{
	struct record *r = slot_record(slot);
	struct dentry *dentry = (void *)dentry_, *parent;
	struct mount *mount = (void *)(vfsmount - OFFSET((struct mount *)0, mnt));
	u32 before;

	if (!r || !dentry || !vfsmount)
		return 0;
	before = r->used;
	for (int i = 0; i < PATH_DEPTH; i++) {
		if (dentry == READ(mount, mnt.mnt_root)) {
			struct mount *above = READ(mount, mnt_parent);
			if (above == mount)
				return r->used - before;
			dentry = READ(mount, mnt_mountpoint);
			mount = above;
			continue;
		}
		parent = READ(dentry, d_parent);
		if (!parent || parent == dentry) {
			// A file that is nowhere, such as one in memory (memfd).
			if (i == 0)
				append(r, READ(dentry, d_name.name));
			return r->used - before;
		}
		append(r, READ(dentry, d_name.name));
		dentry = parent;
	}
	r->flags |= PATH_TRUNCATED;
	return r->used - before;
}

// append_cgroup writes the names of a cgroup's directories like append_path.
global int append_cgroup(u32 slot, u64 node)
{
	struct record *r = slot_record(slot);
	struct kernfs_node *kn = (void *)node, *parent;
	u32 before;

	if (!r)
		return 0;
	before = r->used;
	for (int i = 0; i < CGROUP_DEPTH; i++) {
		parent = kernfs_parent(kn);
		if (!parent)
			break;
		append(r, READ(kn, name));
		kn = parent;
	}
	return r->used - before;
}

static always_inline u32 append_file(u32 slot, struct file *file)
{
	if (!file)
		return 0;
	return append_path(slot, (u64)READ(file, f_path.mnt), (u64)READ(file, f_path.dentry));
}
