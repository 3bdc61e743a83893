package container_test

import (
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/container"
)

const (
	uid      = "eae5e586-83e7-4be6-92f8-c28568c3997e"
	uidSlice = "eae5e586_83e7_4be6_92f8_c28568c3997e"
	other    = "d6cf43d9-2859-4e33-8fbe-bc4380d71ed6"
	static   = "3a6bd1cb6b8a8a5b0e2a0b8f9c1d7e42"
	id       = "cca62e6c7a03add98a483b816a6733c856b4aa35d1163bdd080581a278b14a45"
	otherID  = "61e7b250e354835bca166f4d546cf4bb6ebea187cc5d2633ea87e373bc58a2eb"
)

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		path string
		want container.Container
	}{
		"cgroupfs, best effort": {"/kubepods/besteffort/pod" + uid + "/" + id, container.Container{ID: id, PodUID: uid}},
		"cgroupfs, guaranteed":  {"/kubepods/pod" + uid + "/" + id, container.Container{ID: id, PodUID: uid}},
		"cgroupfs, CRI-O":       {"/kubepods/burstable/pod" + uid + "/crio-" + id, container.Container{ID: id, PodUID: uid}},
		"cgroupfs, own root": {
			"/portcullis/kubepods/burstable/pod" + uid + "/" + id, container.Container{ID: id, PodUID: uid},
		},
		"cgroupfs, static pod": {"/kubepods/burstable/pod" + static + "/" + id, container.Container{ID: id, PodUID: static}},
		"cgroupfs, cgroup made by the container": {
			"/kubepods/pod" + uid + "/" + id + "/init.scope", container.Container{ID: id, PodUID: uid},
		},
		"systemd, containerd": {
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidSlice + ".slice/cri-containerd-" + id + ".scope",
			container.Container{ID: id, PodUID: uid},
		},
		"systemd, guaranteed": {
			"/kubepods.slice/kubepods-pod" + uidSlice + ".slice/cri-containerd-" + id + ".scope",
			container.Container{ID: id, PodUID: uid},
		},
		"systemd, CRI-O": {
			"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uidSlice + ".slice/crio-" + id + ".scope",
			container.Container{ID: id, PodUID: uid},
		},
		"systemd, CRI-O nests the container in its scope": {
			"/kubepods.slice/kubepods-pod" + uidSlice + ".slice/crio-" + id + ".scope/container",
			container.Container{ID: id, PodUID: uid},
		},
		"systemd, docker": {
			"/kubepods.slice/kubepods-pod" + uidSlice + ".slice/docker-" + id + ".scope",
			container.Container{ID: id, PodUID: uid},
		},
		"systemd, static pod": {
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + static + ".slice/cri-containerd-" + id + ".scope",
			container.Container{ID: id, PodUID: static},
		},
		"systemd, kubelet in a slice of its own": {
			"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + uidSlice +
				".slice/cri-containerd-" + id + ".scope",
			container.Container{ID: id, PodUID: uid},
		},
		"kubelet with systemd, containerd without": {
			"/system.slice/containerd.service/kubepods-burstable-pod" + uidSlice + ".slice:cri-containerd:" + id,
			container.Container{ID: id, PodUID: uid},
		},
		"kubelet with systemd, docker without": {
			"/kubepods-burstable-pod" + uidSlice + ".slice:docker:" + id, container.Container{ID: id, PodUID: uid},
		},
		"systemd, docker, an init system in the container": {
			"/kubepods.slice/kubepods-pod" + uidSlice + ".slice/docker-" + id + ".scope/init.scope",
			container.Container{ID: id, PodUID: uid},
		},
		"systemd, static pod of CRI-O": {
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + static + ".slice/crio-" + id + ".scope/container",
			container.Container{ID: id, PodUID: static},
		},
		"node in a container, with systemd": {
			"/system.slice/docker-" + otherID + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/" +
				"kubelet-kubepods-besteffort-pod" + uidSlice + ".slice/cri-containerd-" + id + ".scope",
			container.Container{ID: id, PodUID: uid},
		},
		"a cluster in a pod": {
			"/kubepods/burstable/pod" + uid + "/" + id + "/k3s/kubepods/besteffort/pod" + other + "/" + otherID,
			container.Container{ID: id, PodUID: uid},
		},
		"node in a container": {
			"/docker/" + otherID + "/kubelet/kubepods/burstable/pod" + uid + "/" + id,
			container.Container{ID: id, PodUID: uid},
		},
		"a container that pretends to be another pod": {
			"/kubepods/pod" + uid + "/" + id + "/pod" + other + "/" + otherID,
			container.Container{ID: id, PodUID: uid},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := container.Parse(test.path)
			if !ok || got != test.want {
				t.Errorf("Parse(%q) = %+v, %v, want %+v", test.path, got, ok, test.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, path := range map[string]string{
		"nothing":                  "",
		"the root":                 "/",
		"a service":                "/system.slice/containerd.service",
		"a user's session":         "/user.slice/user-0.slice/session-1.scope",
		"kubepods itself":          "/kubepods/burstable",
		"a pod's own cgroup":       "/kubepods/burstable/pod" + uid,
		"a pod's own slice":        "/kubepods.slice/kubepods-pod" + uidSlice + ".slice",
		"conmon":                   "/kubepods.slice/kubepods-pod" + uidSlice + ".slice/crio-conmon-" + id + ".scope",
		"docker without a pod":     "/docker/" + id,
		"podman":                   "/machine.slice/libpod-" + id + ".scope",
		"a UID that is too short":  "/kubepods/pod" + uid[:35] + "/" + id,
		"a UID that is no UID":     "/kubepods/pod" + strings.Repeat("-", 36) + "/" + id,
		"an id that is too short":  "/kubepods/pod" + uid + "/" + id[:63],
		"an id that is not hex":    "/kubepods/pod" + uid + "/" + id[:63] + "g",
		"a cgroup of systemd":      "/kubepods/pod" + uid + "/system.slice",
		"a combined name, no id":   "/kubepods-pod" + uidSlice + ".slice:cri-containerd",
		"podman as a prefix":       "/podman/" + id,
		"deeper than anybody goes": strings.Repeat("/a", 40) + "/pod" + uid + "/" + id,
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := container.Parse(path); ok {
				t.Errorf("Parse(%q) = %+v, want none", path, got)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/kubepods/pod" + uid + "/" + id)
	f.Add("/kubepods-pod" + uidSlice + ".slice:cri-containerd:" + id)
	f.Fuzz(func(t *testing.T, path string) {
		got, ok := container.Parse(path)
		if !ok {
			return
		}
		if len(got.ID) != 64 || (len(got.PodUID) != 36 && len(got.PodUID) != 32) {
			t.Errorf("Parse(%q) = %+v", path, got)
		}
		if !strings.Contains(path, got.ID) || !strings.Contains(strings.ReplaceAll(path, "_", "-"), got.PodUID) {
			t.Errorf("Parse(%q) = %+v, which is not in it", path, got)
		}
	})
}
