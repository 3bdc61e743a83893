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
