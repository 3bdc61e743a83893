// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What the programs send to user space. record.go decodes it: change both.
#pragma once

enum kind {
	KIND_EXEC = 1, // a process became another program
	KIND_SEEN = 2, // a process is there that was not seen to start
	KIND_OPEN = 3, // a process opened a file
	KIND_EXIT = 4, // a process ended: struct record_end
	KIND_LIMIT = 5, // an exec or open that exceeded its container's budget; few are told of
};

enum flags {
	INTERACTIVE = 1 << 0,
	ENTRY_INTERACTIVE = 1 << 1,
	PARENT_INTERACTIVE = 1 << 2,
	ARGS_TRUNCATED = 1 << 3,
	PATH_TRUNCATED = 1 << 4,
	LEARNED = 1 << 5,        // read from a process that already ran, not as it started
	ENTRY_INPUT = 1 << 6,    // the entry leader began with an input other than /dev/null
	ENTRY_MAIN = 1 << 7,     // the entry leader is the container's first process
	ENTRY_JOINED = 1 << 8,   // it came into the container later; neither: nobody knows
	ACCOUNT_VOLUME = 1 << 9, // the file is of a volume that is mounted where rules look for it
	ARGS_UNKNOWN = 1 << 10,  // the arguments could not be read, and will be
};

// What a process inherits of its entry leader.
#define ENTRY_FLAGS (ENTRY_INTERACTIVE | ENTRY_INPUT | ENTRY_MAIN | ENTRY_JOINED)

// What a container has a budget for, each of its own: see budget.h.
enum class {
	CLASS_ENTRY,
	CLASS_OPEN,
	CLASS_EXEC,
	CLASS_EXIT,
	CLASS_RARE,
	CLASSES,
};

enum counter {
	COUNT_RING_FULL,
	COUNT_LIMITED, // and one for each class that follows
	COUNT_PROCESSES_FULL = COUNT_LIMITED + CLASS_RARE,
	COUNTERS,
};

enum slot {
	SLOT_EXEC,
	SLOT_FORK,
	SLOT_OPEN,
	SLOT_TASK,
	SLOTS,
};

#define HEADER_SIZE 168
#define DATA_SIZE (32768 - HEADER_SIZE) // the most that a per-CPU array holds
#define NAME_SIZE 256
#define PATHS_SIZE 12000
#define ARGS_SIZE 20480
#define PATH_DEPTH 64
#define CGROUP_DEPTH 24
#define CALLS 512 // above every system call's number

struct record {
	u64 time;             // nanoseconds since boot, as all times here
	u64 start;            // of the process
	u64 parent_start;
	u64 entry_start;
	u64 image;            // when the process became this program; with image_pid a name for it
	u64 parent_image;     // the same of the parent, 0 when it is not known
	u64 cgroup;           // the container's cgroup
	u64 path_cgroup;      // the cgroup whose path follows
	u32 pid;
	u32 ppid;
	u32 entry_pid;
	u32 image_pid;
	u32 parent_image_pid;
	u32 uid;
	u32 gid;
	u32 tty;
	u32 flags;
	u32 args_len;
	u16 kind;
	u16 used;             // bytes of paths
	// The paths, in the order in which they follow.
	u16 file_len;
	u16 known_len;
	u16 cgroup_len;
	u16 exe_len;
	u16 cwd_len;
	u16 parent_exe_len;
	u16 interp_len;
	u16 class;
	u32 reserved;
	u64 suppressed;       // records of this class that the container's budget had no room for, since the last that told
	char comm[16];
	char parent_comm[16];
	char data[DATA_SIZE];
};

struct record_end {
	u64 time;
	u64 start;
	u64 entry_start;
	u64 image;
	u64 cgroup;
	u64 suppressed;
	u32 image_pid;
	u32 pid;
	u32 ppid;
	u32 entry_pid;
	u32 uid;
	u32 gid;
	u32 tty;
	u32 flags;
	u32 status; // as wait(2) gives it
	u16 kind;
	u16 reserved;
};
