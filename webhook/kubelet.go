package webhook

import (
	"net/url"
	"path"
	"strings"
	"unicode"
)

// maxDecodings is how often a path may be percent-encoded and still be understood.
const maxDecodings = 4

// kubeletPath is what a request through nodes/proxy asks the kubelet for.
type kubeletPath struct {
	door                      string
	namespace, pod, container string
}

// readKubeletPath reads the path of a nodes/proxy request, which an API server has decoded once
// and then joins and cleans before it calls the kubelet:
//
//	exec|run/<namespace>/<pod>[/<uid>]/<container>
//	attach/<namespace>/<pod>[/<uid>]/<container>
//	portForward/<namespace>/<pod>[/<uid>]
//	cri/exec|attach|portforward/<token>
//
// and, as harmless as any other proxied request, containerLogs and checkpoint, which name a pod as exec does.
//
// Whatever a kubelet, or somebody between, could take for the first four is one of them: letters of
// either case, paths that lack or have too much behind the first word, and what further
// decoding makes of it. A path that cannot be understood is an exec of nobody knows what.
// The UID is left out: it is the client's claim, and a kubelet that execs looks only at the names.
func readKubeletPath(p string) kubeletPath {
	first, ok := readDecoded(p)
	if !ok || first.door != DoorProxy {
		return first
	}
	for range maxDecodings {
		decoded, err := url.PathUnescape(p)
		if err != nil {
			return kubeletPath{door: DoorExec}
		}
		if decoded == p {
			return first
		}
		p = decoded
		if read, ok := readDecoded(p); !ok || read.door != DoorProxy {
			return read
		}
	}
	return kubeletPath{door: DoorExec}
}

// readDecoded reads a path as it stands; ok is false for one that cannot be understood.
func readDecoded(p string) (k kubeletPath, ok bool) {
	unknown := func(c rune) bool { return c == '\\' || c == unicode.ReplacementChar || unicode.IsControl(c) }
	if strings.ContainsFunc(p, unknown) {
		return kubeletPath{door: DoorExec}, false
	}
	parts := strings.Split(strings.Trim(path.Clean("/"+p), "/"), "/")
	k.door = kubeletDoor(parts)
	switch parts[0] {
	case "exec", "run", "attach", "containerLogs", "checkpoint":
		k.name(parts[1:], true)
	case "portForward":
		k.name(parts[1:], false)
	}
	return k, true
}

// kubeletDoor is what the words of a path lead to.
func kubeletDoor(parts []string) string {
	word := strings.ToLower(parts[0])
	if word == "cri" {
		if len(parts) < 2 {
			return DoorExec
		}
		word = strings.ToLower(parts[1])
		if word != DoorAttach && word != DoorPortForward {
			return DoorExec
		}
	}
	switch word {
	case "exec", "run":
		return DoorExec
	case DoorAttach, DoorPortForward:
		return word
	default:
		return DoorProxy
	}
}

// name takes what a path says behind its first word: namespace, pod, perhaps a UID, and
// perhaps a container. A path of another length leads a kubelet nowhere, and names nobody.
func (k *kubeletPath) name(parts []string, withContainer bool) {
	want := 2
	if withContainer {
		want = 3
	}
	if len(parts) != want && len(parts) != want+1 {
		return
	}
	k.namespace, k.pod = parts[0], parts[1]
	if withContainer {
		k.container = parts[len(parts)-1]
	}
}
