// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Which cgroup is a container's, by the names of its directories.
#pragma once
#include "state.h"

// parent_of is a function of its own so that no loop is around it: the compiler
// would compute both offsets ahead of the loop, and the loader turns the offset
// of a field that is missing into an instruction that the verifier refuses
// wherever it can be reached.
global u64 parent_of(u64 node)
{
	struct kernfs_node___renamed *renamed = (void *)node;
	struct kernfs_node *kn = (void *)node;

	if (HAS(renamed, __parent))
		return (u64)READ(renamed, __parent);
	return (u64)READ(kn, parent);
}

static always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	return (void *)parent_of((u64)node);
}

// names_pod says whether a directory's name holds "pod" and a hexadecimal
// digit, at its start or after a dash: all that the kubelet's two drivers
// write ("pod<uid>", "kubepods-burstable-pod<uid>.slice"). User space looks
// closer. The answer is 2 where the container follows in the same name, as a
// runtime writes it that does not use systemd under a kubelet that does
// ("kubepods-burstable-pod<uid>.slice:cri-containerd:<id>").
global int names_pod(u64 node)
{
	char name[128] = {};
	struct kernfs_node *kn = (void *)node;
	char before = '-';
	int found = 0;

	bpf_probe_read_kernel_str(name, sizeof(name), READ(kn, name));
	for (int i = 0; i < (int)sizeof(name) - 4; i++) {
		char c = name[i];
		if (!c)
			break;
		if (before == '-' && c == 'p' && name[i + 1] == 'o' && name[i + 2] == 'd') {
			char digit = name[i + 3];
			if ((digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f'))
				found = 1;
		}
		if (found && c == ':')
			return 2;
		before = c;
	}
	return found;
}

// below_pod says whether the cgroup is below a pod's. The pod's own cgroup is
// no container.
global int below_pod(u64 node)
{
	struct kernfs_node *kn = (void *)node;

	for (int i = 0; i < CGROUP_DEPTH; i++) {
		int found;
		if (!kn)
			return 0;
		found = names_pod((u64)kn);
		if (found == 2 || (found && i > 0))
			return 1;
		kn = kernfs_parent(kn);
	}
	return 0;
}

static always_inline int is_container(struct kernfs_node *kn, u64 id)
{
	u32 *known = bpf_map_lookup_elem(&cgroups, &id);
	u32 verdict;

	if (known)
		return *known;
	verdict = below_pod((u64)kn);
	bpf_map_update_elem(&cgroups, &id, &verdict, BPF_ANY);
	return verdict;
}

static always_inline struct kernfs_node *controller_node(struct css_set *set, u64 index)
{
	struct cgroup_subsys_state **slots = __builtin_preserve_access_index(&set->subsys[0]);
	struct cgroup_subsys_state *css = 0;

	bpf_probe_read_kernel(&css, sizeof(css), &slots[index]);
	if (!css)
		return 0;
	return READ(READ(css, cgroup), kn);
}

// The ids of cgroup v1 have a bit of their own: they count apart from v2's.
#define V1 (1ULL << 63)

static always_inline struct kernfs_node *v2_node(struct task_struct *task)
{
	return READ(READ(READ(task, cgroups), dfl_cgrp), kn);
}

// container_node finds the task's container: its directory in the v2 tree, or
// in v1's where runtimes use only that. It returns 0 for all that runs on the
// host, and the id in *id.
static always_inline struct kernfs_node *container_node(struct task_struct *task, u64 *id)
{
	struct css_set *set = READ(task, cgroups);
	struct kernfs_node *v2 = READ(READ(set, dfl_cgrp), kn), *v1;

	*id = READ(v2, id);
	if (is_container(v2, *id))
		return v2;
	v1 = controller_node(set, SUBSYS(pids_cgrp_id));
	if (!v1 || v1 == v2)
		v1 = controller_node(set, SUBSYS(memory_cgrp_id));
	if (!v1 || v1 == v2)
		return 0;
	*id = READ(v1, id) | V1;
	if (is_container(v1, *id))
		return v1;
	return 0;
}
