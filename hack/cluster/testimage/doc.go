// Package testimage makes the images that every test cluster has: pause, which
// the container runtime needs, and shell, which has the programs that a person
// runs in a pod.
//
// The programs are this machine's own, with the shared libraries that they
// need: /bin/sh is dash and `cat` is a program that a shell executes, as in
// most images that people use. Busybox fills in the rest. It is not the shell,
// because Debian's runs `cat` inside itself without executing anything, which
// a test of process telemetry would wait for in vain.
package testimage
