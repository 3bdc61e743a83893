// Package disk gives a test a disk of its own that can be full and can be slow: a file system in a file (ext4 on
// a loop device), which is mounted where no other process sees it.
//
// [Isolate] runs the program again in a mount namespace of its own. Mounts end with the last process in it, however that
// ends, so nothing can be left behind, and nothing of the machine's is touched.
//
// It needs Linux, root and mkfs.ext4. Elsewhere [Isolate] says why not.
package disk
