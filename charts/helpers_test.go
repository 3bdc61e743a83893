package charts

import (
	"net"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func ptr[T any](v T) *T { return &v }

// only is the one element of a list.
func only[T any](t testing.TB, list []T) T {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("%d elements, want one: %+v", len(list), list)
	}
	return list[0]
}

func volume(t testing.TB, pod corev1.PodSpec, name string) corev1.Volume {
	t.Helper()
	for _, v := range pod.Volumes {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("there is no volume %s", name)
	return corev1.Volume{}
}

func hostPaths(pod corev1.PodSpec) []string {
	var paths []string
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			paths = append(paths, v.HostPath.Path)
		}
	}
	return paths
}

func mounted(container corev1.Container, path string) bool {
	for _, m := range container.VolumeMounts {
		if m.MountPath == path {
			return true
		}
	}
	return false
}

// port is the port of a listen address.
func port(t testing.TB, address string) int32 {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}
