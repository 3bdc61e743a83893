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
#include "kernel.h"
#include "record.h"

char LICENSE[] SEC("license") = "GPL";

// Set by the loader.
const volatile u64 ring_size = 4 << 20;
// A container may use this many bytes of records per second, and save up to
// container_burst of them. Opens have a budget of their own, so that a flood
// of processes cannot hide one.
const volatile u64 container_rate = 8 << 20;
const volatile u64 container_burst = 2 << 20;
// At most one wakeup of the reader in this time: see wakeup.
const volatile u64 wakeup_interval = 4000000;
const volatile u64 urgent_interval = 500000;
// The numbers of the system calls that open a file, natively and for 32-bit programs.
const volatile s32 open_calls[4] = {-1, -1, -1, -1};
const volatile s32 compat_open_calls[4] = {-1, -1, -1, -1};

struct process {
	u64 start;
	u64 image;
	u64 cgroup;
	u64 entry_start;
	u32 entry_pid;
	u32 image_pid;
	u32 flags;
	u32 reserved;
};

struct budget_key {
	u64 cgroup;
	u64 kind;
};

struct budget {
	u64 bytes;
	u64 updated;
};

// The processes of containers, by PID. Preallocated: a fork bomb can fill it,
// but cannot make it grow.
struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 65536);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct process);
} processes SEC(".maps");

// Whether a cgroup is a container's, by its id. Ids are never used again.
struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 8192);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, u32);
} cgroups SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, struct budget_key);
	MAP_TYPE(value, struct budget);
} budgets SEC(".maps");

// Records are put together here. One slot for each program: two programs can
// interrupt each other on one CPU, a program cannot interrupt itself.
struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, SLOTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct record);
} scratch SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, COUNTERS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} counters SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_RINGBUF);
	MAP_UINT(max_entries, 4 << 20);
} ring SEC(".maps");

// When the reader was last woken.
u64 last_wakeup;
// The mount namespace of the host's first process, 0 until it is known.
u64 host_mounts;

// Never used: it puts the structure's layout where a test finds it.
struct record_end *layout;

static always_inline void count(u32 counter)
{
	u64 *n = bpf_map_lookup_elem(&counters, &counter);
	if (n)
		*n += 1;
}

static always_inline struct record *slot_record(u32 slot)
{
	return bpf_map_lookup_elem(&scratch, &slot);
}

// ---- cgroups ----

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

// ---- paths ----

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
		if (!parent || parent == dentry)
			return r->used - before;
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

// ---- processes ----

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

// ---- records ----

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

// ---- programs ----

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
	r = begin(SLOT_EXEC, KIND_EXEC, id);
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
		r->flags |= p->flags & ENTRY_INTERACTIVE;
	} else {
		find_entry(SLOT_EXEC, (u64)leader);
	}
	remember(r);

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

// on_fork runs in the parent: the child inherits what the parent is known by.
SEC("tp_btf/sched_process_fork")
int on_fork(u64 *ctx)
{
	struct task_struct *parent = (void *)bpf_get_current_task(), *child = (void *)ctx[1], *leader;
	struct process *p, inherited = {};
	u32 pid = READ(child, tgid);

	if (pid != (u32)READ(child, pid))
		return 0;
	leader = leader_of(parent);
	p = known(leader);
	if (!p) {
		struct record *r;
		u64 id = 0;
		struct kernfs_node *node = container_node(parent, &id);

		if (!node || on_host((u64)parent) || is_runtime(parent))
			return 0;
		r = begin(SLOT_FORK, KIND_SEEN, id);
		if (!r)
			return 0;
		learn(SLOT_FORK, parent, node);
		remember(r);
		submit(SLOT_FORK);
		p = known(leader);
		if (!p)
			return 0;
	}
	inherited = *p;
	inherited.start = READ(child, start_boottime);
	if (bpf_map_update_elem(&processes, &pid, &inherited, BPF_ANY))
		count(COUNT_PROCESSES_FULL);
	return 0;
}

// on_exit forgets a process as its last thread ends.
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct record_end end = {};
	struct process *p;
	u32 pid = READ(task, tgid);

	if (READ(READ(task, signal), live.counter))
		return 0;
	p = bpf_map_lookup_elem(&processes, &pid);
	if (!p)
		return 0;
	end.image = p->image;
	end.image_pid = p->image_pid;
	end.kind = KIND_EXIT;
	end.pid = pid;
	bpf_map_delete_elem(&processes, &pid);
	// Only the process that ran the program ends it for user space; the
	// children that it forked live on with what they were known by.
	if (end.image_pid == pid)
		bpf_ringbuf_output(&ring, &end, sizeof(end), BPF_RB_NO_WAKEUP);
	return 0;
}

// ---- opens ----

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

static always_inline int among(const volatile s32 *calls, s32 call)
{
	return call == calls[0] || call == calls[1] || call == calls[2] || call == calls[3];
}

// is_open_call runs at the end of every system call of the node, so most calls
// must leave it soon: it reads a register directly, where the verifier knows
// its type, and looks at the kind of the program only when the number fits.
static always_inline int is_open_call(struct pt_regs *regs)
{
	struct pt_regs___x86 *x86 = (void *)regs;
	struct pt_regs___arm64 *arm64 = (void *)regs;
	struct task_struct *task;
	int compat, call;

	if (HAS(x86, orig_ax)) {
		call = (s32)x86->orig_ax & ~0x40000000; // x32 programs use the same numbers
	} else if (HAS(arm64, syscallno)) {
		call = arm64->syscallno;
	} else {
		return 0;
	}
	if (!among(open_calls, call) && !among(compat_open_calls, call))
		return 0;
	task = (void *)bpf_get_current_task();
	if (HAS(x86, orig_ax)) {
		compat = READ(task, thread_info.status) & 2; // TS_COMPAT
	} else {
		compat = (READ(task, thread_info.flags) >> 22) & 1; // TIF_32BIT
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
	struct task_struct *task;
	struct fdtable *table;
	struct file **slots, *file = 0;

	if (fd < 0 || fd > 0x7fffffff || !is_open_call((void *)ctx[0]))
		return 0;
	task = (void *)bpf_get_current_task();
	table = READ(READ(task, files), fdt);
	if (fd >= READ(table, max_fds))
		return 0;
	slots = READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]);
	if (!file)
		return 0;
	return opened(file);
}
