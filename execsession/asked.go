package execsession

import (
	"encoding/json"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/event"
)

// The doors through which a session is asked for, as the webhook names them.
const (
	DoorExec        = "exec"
	DoorAttach      = "attach"
	DoorPortForward = "portforward"
	DoorDebug       = "ephemeralcontainers"
	DoorProxy       = "proxy"
)

// asked is what a request asks for, as its audit event tells.
type asked struct {
	door, container string
	// command is nil where it cannot be known.
	command    []string
	tty, stdin bool
	new        []NewContainer
}

const (
	maxURI  = 256 << 10
	maxArgs = 4096
	// maxNew bounds the debug containers that are looked at of one request.
	maxNew = 16
	// maxObject bounds the objects that are decoded.
	maxObject = 256 << 10
)

// askedOf reads what an audit event's request asks for; false if it is no session.
func askedOf(a *event.Audit) (asked, bool) {
	ref := &a.ObjectRef
	if ref.APIGroup != "" || len(a.RequestURI) > maxURI {
		return asked{}, false
	}
	switch {
	case ref.Resource == "pods" && (ref.Subresource == DoorExec || ref.Subresource == DoorAttach || ref.Subresource == DoorPortForward):
		return streamOf(ref.Subresource, a.RequestURI)
	case ref.Resource == "pods" && ref.Subresource == DoorDebug && (a.Verb == "update" || a.Verb == "patch"):
		return asked{door: DoorDebug, new: newContainersOf(a.RequestObject)}, true
	case ref.Resource == "nodes" && ref.Subresource == DoorProxy:
		return kubeletOf(a.RequestURI)
	}
	return asked{}, false
}

// streamOf reads the options of a request to a pod.
func streamOf(door, uri string) (asked, bool) {
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return asked{door: door}, true
	}
	query := u.Query()
	a := asked{door: door, container: query.Get("container"), tty: isTrue(query.Get("tty")), stdin: isTrue(query.Get("stdin"))}
	if door == DoorExec {
		a.command = cut(query["command"])
	}
	return a, true
}

// kubeletOf reads the options of a request through nodes/proxy, by the kubelet's own paths and parameters.
func kubeletOf(uri string) (asked, bool) {
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return asked{}, false
	}
	parts := strings.Split(path.Clean(u.Path), "/")
	if len(parts) < 9 || parts[5] != DoorProxy { // "", api, v1, nodes, <node>, proxy, <operation>, <namespace>, <pod>
		return asked{}, false
	}
	query := u.Query()
	a := asked{tty: isTrue(query.Get("tty")), stdin: isTrue(query.Get("input"))}
	if len(parts) > 9 {
		a.container = parts[len(parts)-1]
	}
	switch parts[6] {
	case "exec":
		a.door, a.command = DoorExec, cut(query["command"])
	case "run":
		a.door, a.command = DoorExec, cut(strings.Split(query.Get("cmd"), " "))
	case "attach":
		a.door = DoorAttach
	case "portForward":
		a.door = DoorPortForward
	default:
		return asked{}, false
	}
	return a, true
}

func isTrue(text string) bool { return text == "true" || text == "1" }

// cut bounds a command and makes its texts its own.
func cut(command []string) []string {
	command = slices.Clone(command[:min(len(command), maxArgs)])
	for i, arg := range command {
		command[i] = strings.Clone(arg)
	}
	return command
}

// newContainersOf are the debug containers in the object of a request, as far as it was recorded. An update
// has those that were there before as well: nobody has asked for them anew, and those who had are known.
func newContainersOf(object json.RawMessage) []NewContainer {
	if len(object) == 0 || len(object) > maxObject {
		return nil
	}
	var pod struct {
		Spec struct {
			EphemeralContainers []struct {
				Name    string   `json:"name"`
				Image   string   `json:"image"`
				Command []string `json:"command"`
				Args    []string `json:"args"`
			} `json:"ephemeralContainers"`
		} `json:"spec"`
	}
	if json.Unmarshal(object, &pod) != nil {
		return nil
	}
	var out []NewContainer
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name != "" && len(out) < maxNew {
			out = append(out, NewContainer{Name: c.Name, Image: c.Image, Command: cut(slices.Concat(c.Command, c.Args))})
		}
	}
	return out
}
