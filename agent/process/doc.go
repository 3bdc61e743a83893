// Package process turns the kernel's records into the events that the agent
// sends: it gives them names, identities and wall-clock times, and completes
// them with what is known of the processes they refer to.
//
// # What process.name is
//
// Rules compare process.name with what people type: sh, cat, wget, curl. The
// file that the kernel ran is often called otherwise: /bin/sh is dash or
// busybox, nc is nc.openbsd. So the name is that under which the program was
// executed, the last element of the path that the exec named; for a script it
// is its interpreter's, because that is what runs. The executable beside it is
// the file that the kernel ran, whatever links led to it.
//
// Programs that are many in one (busybox, toybox, coreutils) choose by their
// first argument what they do, and so does the name: a busybox shell executes
// itself as /proc/self/exe with "wget" as the first argument. Such a program
// cannot be told one name and do another's work.
//
// Names can be chosen by whoever may write a file. Rules that must not be
// fooled look at executable and arguments too.
//
// # Images
//
// What a process runs, with its arguments, is read once, as it is executed:
// later a process can overwrite it. A [Table] keeps it for as long as the
// process lives, for its children's records and for the files it opens.
package process
