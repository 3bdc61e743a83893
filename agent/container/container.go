// Package container reads which container and pod a process belongs to from
// the path of its cgroup. It asks nobody: no API server, no runtime's socket.
//
// # Forms
//
// The kubelet makes a directory for each pod, the runtime one below it for
// each container. Who writes the names decides their form:
//
//	kubelet, cgroupfs    …/pod<uid>
//	kubelet, systemd     …/kubepods-burstable-pod<uid>.slice    dashes of the UID are underscores
//	runtime, cgroupfs    …/<id>   …/crio-<id>
//	runtime, systemd     …/cri-containerd-<id>.scope   …/crio-<id>.scope   …/docker-<id>.scope
//	a runtime without systemd under a kubelet with it
//	                     …/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>
//
// A cluster may sit anywhere in the tree (/kubelet.slice/kubelet-kubepods.slice/…),
// and a container may make cgroups below its own. The outermost pod is the one
// that counts: what stands below a container was named by the container.
package container

import "strings"

// Container is what a cgroup's path tells.
type Container struct {
	// ID is the container's id as its runtime knows it, without "containerd://".
	// A pod's sandbox (pause) has an id as well.
	ID string
	// PodUID is the pod's UID in lower case with dashes. For a static pod it
	// is the hash of its manifest, which its mirror pod carries as an annotation.
	PodUID string
}

// maxDepth bounds how deep a path is looked into.
const maxDepth = 32

// Parse finds the container in a cgroup's path. It reports false for paths
// that belong to no container of a pod: the host's services, a pod's own
// cgroup, and the runtime's monitors that run in it.
func Parse(path string) (Container, bool) {
	names := strings.SplitN(strings.Trim(path, "/"), "/", maxDepth+1)
	for i, name := range names {
		pod, inline, combined := strings.Cut(name, ":")
		uid, ok := podUID(pod)
		if !ok {
			continue
		}
		switch {
		case combined:
			_, name, _ = strings.Cut(inline, ":")
		case i+1 < len(names):
			name = names[i+1]
		default:
			return Container{}, false
		}
		id, ok := containerID(name)
		return Container{ID: id, PodUID: uid}, ok
	}
	return Container{}, false
}

// podUID reads the name of a pod's cgroup.
func podUID(name string) (string, bool) {
	if s, ok := strings.CutSuffix(name, ".slice"); ok {
		at := strings.LastIndex(s, "-pod")
		if at < 0 {
			return "", false
		}
		return uid(strings.ReplaceAll(s[at+len("-pod"):], "_", "-"))
	}
	if s, ok := strings.CutPrefix(name, "pod"); ok {
		return uid(s)
	}
	return "", false
}

// uid accepts a UUID, or the 32 hexadecimal digits that the kubelet gives a static pod.
func uid(s string) (string, bool) {
	switch len(s) {
	case 32:
		return s, isHex(s)
	case 36:
		groups := strings.Split(s, "-")
		if len(groups) != 5 {
			return "", false
		}
		for i, n := range [...]int{8, 4, 4, 4, 12} {
			if len(groups[i]) != n || !isHex(groups[i]) {
				return "", false
			}
		}
		return s, true
	default:
		return "", false
	}
}

// containerID reads the name of a container's cgroup. All runtimes give 256
// bits in hexadecimal, most of them with their own name before it.
func containerID(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".scope")
	at := strings.LastIndexByte(name, '-')
	prefix, id := name[:max(at, 0)], name[at+1:]
	if strings.HasSuffix(prefix, "conmon") {
		return "", false // CRI-O's monitor of a container, a process of the host
	}
	return id, len(id) == 64 && isHex(id)
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}
