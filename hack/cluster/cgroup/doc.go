// Package cgroup makes, empties and removes the one cgroup that is the parent
// of everything the test cluster's kubelet makes.
//
// A machine has one hierarchy (cgroup v2), or a dozen (v1, one per
// controller), or both at once. The cluster's cgroup has the same name in each
// of them, so a [Tree] is a list of directories, and every operation is done
// in all of them.
package cgroup
