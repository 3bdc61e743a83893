// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The kernel as these programs see it: the helpers they call and the few
// fields they read. It replaces a generated vmlinux.h of three megabytes.
//
// Every structure is marked for CO-RE: the compiler records the names of the
// fields, the loader puts in their offsets in the running kernel. Order and
// missing fields do not matter here, names and types do. A name with "___" is
// another shape of the same kernel structure.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define always_inline inline __attribute__((always_inline))
// A global function is verified once, on its own: that keeps the verifier's
// work a sum where inlined loops make it a product. It may take and return
// nothing but numbers.
#define global __attribute__((noinline))

// Map definitions, in the form that the loader reads from BTF.
#define MAP_UINT(name, value) int(*name)[value]
#define MAP_TYPE(name, value) typeof(value) *name
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_CONS_POS = 2, BPF_RB_PROD_POS = 3 };

// Helpers, by their number in the kernel's ABI.
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_send_signal)(u32 signal) = (void *)109;
static long (*bpf_probe_read_user)(void *dst, u32 size, const void *src) = (void *)112;
static long (*bpf_probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;
static long (*bpf_probe_read_kernel_str)(void *dst, u32 size, const void *src) = (void *)115;
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static u64 (*bpf_ringbuf_query)(void *ring, u64 flags) = (void *)134;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;

// READ is pointer->field, read safely at the running kernel's offset.
#define READ(pointer, field)                                                             \
	({                                                                               \
		typeof(pointer) from_ = (pointer);                                       \
		typeof((pointer)->field) value_;                                         \
		bpf_probe_read_kernel(&value_, sizeof(value_),                           \
				      __builtin_preserve_access_index(&from_->field));   \
		value_;                                                                  \
	})
// HAS says whether the running kernel's structure has the field.
#define HAS(pointer, field) __builtin_preserve_field_info((pointer)->field, 2)
// OFFSET is where in its structure the field lies in the running kernel.
#define OFFSET(pointer, field) __builtin_preserve_field_info((pointer)->field, 0)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

// Names and paths.
struct qstr {
	u32 len;
	const u8 *name;
};
// A file system's mounts. The list became a simple one, the newest first, in 6.18.
struct list_head {
	struct list_head *next;
};
struct dentry;
struct mount;
struct super_block {
	unsigned long s_magic;
	struct dentry *s_root;
	struct list_head s_mounts;
};
struct super_block___single {
	struct mount *s_mounts;
};
struct inode {
	unsigned long i_ino;
	u16 i_mode;
	u32 i_rdev;
	struct super_block *i_sb;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct super_block *d_sb;
};
struct vfsmount {
	struct dentry *mnt_root;
};
struct mnt_namespace;
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
	struct list_head mnt_instance;
};
struct mount___single {
	struct mount *mnt_next_for_sb;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	u32 f_mode;
	struct path f_path;
	struct inode *f_inode;
};

// Open files and terminals.
struct fdtable {
	u32 max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
struct tty_driver {
	int major;
	int minor_start;
};
struct tty_struct {
	struct tty_driver *driver;
	int index;
};

// Cgroups. kernfs_node.parent was renamed in 6.15.
struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
	u64 id;
};
struct kernfs_node___renamed {
	struct kernfs_node *__parent;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
};
struct css_set {
	struct cgroup_subsys_state *subsys[4];
	struct cgroup *dfl_cgrp;
};
// The values are the running kernel's: see SUBSYS.
enum cgroup_subsys_id {
	cpu_cgrp_id = 1,
	memory_cgrp_id = 2,
	pids_cgrp_id = 3,
};

// Credentials.
typedef struct {
	u32 val;
} kuid_t;
typedef struct {
	u32 val;
} kgid_t;
struct uid_gid_extent {
	u32 first;
	u32 lower_first;
	u32 count;
};
struct uid_gid_map {
	u32 nr_extents;
	struct uid_gid_extent extent[5];
};
struct user_namespace {
	struct uid_gid_map uid_map;
	struct uid_gid_map gid_map;
	int level;
};
struct cred {
	kuid_t euid;
	kgid_t egid;
	struct user_namespace *user_ns;
};

// Processes.
typedef struct {
	int counter;
} atomic_t;
struct signal_struct {
	atomic_t live;
	u32 flags;
	int group_exit_code;
	struct tty_struct *tty;
};
// A process' numbers, one for each PID namespace that it is in.
struct upid {
	int nr;
};
struct pid {
	u32 level;
	struct upid numbers[1];
};
struct nsproxy {
	struct mnt_namespace *mnt_ns;
};
struct fs_struct {
	struct path pwd;
};
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
	struct file *exe_file;
};
struct thread_info {
	unsigned long flags;
	u32 status;
};
struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	u64 start_boottime;
	int exit_code;
	char comm[16];
	struct pid *thread_pid;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct cred *cred;
	struct css_set *cgroups;
};
struct linux_binprm {
	const char *interp;
};

// The registers of a system call: which call it was.
struct pt_regs {
	char none_[0];
};
struct pt_regs___x86 {
	unsigned long orig_ax;
};
struct pt_regs___arm64 {
	s32 syscallno;
};

#pragma clang attribute pop

// Helpers that older kernels lack: HAS_HELPER says whether the running one has it.
enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
};
#define HAS_HELPER(name) __builtin_preserve_enum_value(*(typeof(enum bpf_func_id) *)name, 0)

// bpf_rdonly_cast tells the verifier of what type a pointer is (since 6.2), so that fields are read
// without a helper's call. Where the kernel lacks it, its address is 0.
extern void *bpf_rdonly_cast(const void *object, u32 type) __attribute__((section(".ksyms"), weak));
#define CASTS (bpf_rdonly_cast != 0)
#define CAST(type, pointer) ((type *)bpf_rdonly_cast(pointer, __builtin_btf_type_id(*(type *)0, 1)))

// SUBSYS is a cgroup v1 controller's index in the running kernel.
#define SUBSYS(name) __builtin_preserve_enum_value(*(typeof(enum cgroup_subsys_id) *)name, 1)
