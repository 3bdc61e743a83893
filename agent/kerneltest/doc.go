// Package kerneltest makes real containers for the tests of the agent: by
// runc, in cgroups named as the kubelet names them, with a service account's
// files as the kubelet lays them out. What it makes it takes down again.
//
// The host's /usr is mounted into the containers, so that shells and tools are
// at hand, and /bb holds busybox under the names of some of its applets.
package kerneltest
