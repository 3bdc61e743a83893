// Package rulebook holds the rules that are in force. It reads them from where
// the configuration says, watches those files, and puts a good change in force
// without a restart.
//
// # A bad file changes nothing
//
// A change is taken as a whole or not at all: all files are read anew, and
// unless every one of them is right, every name is there once, and every rule
// that the configuration names is still there, the rules go on as they were. Why
// is told by the log, by a metric, and by whatever Run is given to tell it to.
//
// # A start is no change
//
// A server does not choose when it starts: it runs out of memory, its node is
// drained. So what a running server refuses must not keep the next one from
// starting, since nothing is judged until it has. The files of the rules in force
// are kept, all together in one archive, each byte of them, with where they were
// read; the shipped rules, too, as those of another version may not go together
// with the rest. A start with wrong files puts those in force, and tells of it as
// Run does of a bad change. They are taken as a whole, and only while something is
// wrong: no rule comes back that was deleted while the files were right. Where
// nothing is kept, as at the very first start, wrong files are an error.
//
// # Noticing changes
//
// The kernel tells of changes (inotify). What it does not tell of (a folder that
// was exchanged as a whole, a file behind a symbolic link, a network file system)
// is found by looking at intervals. Either way what is compared are the files'
// contents, so a change is one however it came about: by an editor, by git, by a
// kubelet that swaps the links of a mounted ConfigMap. They are compared again once
// the rules are read: rules of files that have changed meanwhile are half of the
// one state and half of the other, and are not put in force.
package rulebook
