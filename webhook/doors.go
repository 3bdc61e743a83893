package webhook

import (
	"strings"

	admission "k8s.io/api/admission/v1"
)

// The doors: what a request does, whatever way it comes.
const (
	DoorExec                = "exec"
	DoorAttach              = "attach"
	DoorPortForward         = "portforward"
	DoorEphemeralContainers = "ephemeralcontainers"
	DoorProxy               = "proxy"
)

// Doors are all of them.
func Doors() []string {
	return []string{DoorExec, DoorAttach, DoorPortForward, DoorEphemeralContainers, DoorProxy}
}

// The resources that have doors.
const (
	pods     = "pods"
	services = "services"
	nodes    = "nodes"
)

// subresource is what an API server sends for one.
type subresource struct {
	// kind is that of the review's object; empty for what is no door.
	kind      string
	operation admission.Operation
}

func lookup(resource, sub string) subresource {
	switch resource + "/" + sub {
	case "pods/exec":
		return subresource{"PodExecOptions", admission.Connect}
	case "pods/attach":
		return subresource{"PodAttachOptions", admission.Connect}
	case "pods/portforward":
		return subresource{"PodPortForwardOptions", admission.Connect}
	case "pods/ephemeralcontainers":
		// A PATCH is an UPDATE too.
		return subresource{"Pod", admission.Update}
	case "pods/proxy":
		return subresource{"PodProxyOptions", admission.Connect}
	case "services/proxy":
		return subresource{"ServiceProxyOptions", admission.Connect}
	case "nodes/proxy":
		return subresource{"NodeProxyOptions", admission.Connect}
	default:
		return subresource{}
	}
}

// reach finds what the request does and into what it reaches.
func (r *Request) reach(o, old *object) {
	r.Door = r.Subresource
	switch {
	case r.Resource == nodes:
		r.Node = proxied(r.Name)
		k := readKubeletPath(r.Path)
		r.Door, r.Namespace, r.Pod, r.Container = k.door, k.namespace, k.pod, k.container
	case r.Resource == services:
		r.Service = proxied(r.Name)
	case r.Subresource == DoorProxy:
		r.Pod = proxied(r.Name)
	case r.Subresource == DoorEphemeralContainers:
		// An update takes the UID of the pod that is there, whatever the client sent.
		r.Pod, r.PodUID = r.Name, o.Metadata.UID
		r.NewContainers = added(o, old)
		if len(r.NewContainers) == 1 {
			c := r.NewContainers[0]
			r.Container, r.Command, r.Stdin, r.TTY = c.Name, c.Command, c.Stdin, c.TTY
		}
	default:
		r.Pod = r.Name
	}
}

// proxied is the object's name in the forms that proxy requests take: name, name:port and
// scheme:name:port (SplitSchemeNamePort of k8s.io/apimachinery). Schemes that API servers do not
// know are read all the same: a newer one may. What has another form no API server finds an object by.
func proxied(name string) string {
	switch parts := strings.Split(name, ":"); {
	case len(parts) == 2 && parts[0] != "":
		return parts[0]
	case len(parts) == 3 && parts[1] != "":
		return parts[1]
	default:
		return name
	}
}

// added are the ephemeral containers that the old pod does not have. API servers let nobody
// change or remove one.
func added(o, old *object) []NewContainer {
	known := make(map[string]bool)
	if old != nil {
		for _, c := range old.Spec.EphemeralContainers {
			known[c.Name] = true
		}
	}
	var out []NewContainer
	for _, c := range o.Spec.EphemeralContainers {
		if known[c.Name] {
			continue
		}
		out = append(out, NewContainer{
			Name: c.Name, Image: c.Image, Target: c.Target, Stdin: c.Stdin, TTY: c.TTY,
			Command: append(append([]string(nil), c.Command...), c.Args...),
		})
	}
	return out
}
