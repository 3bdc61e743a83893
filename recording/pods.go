package recording

import (
	"maps"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/event"
)

// podOverhead is about what a pod takes in the maps besides its texts.
const podOverhead = 256

// podName is a pod's namespace and name.
type podName struct{ namespace, name string }

// pods is what the recording says of which UID had which name. It knows no
// times: a name that two pods had one after the other is ambiguous.
type pods struct {
	names map[podName]map[string]struct{}
	uids  map[string]podName
	// bytes is about what they take.
	bytes int
}

func newPods() pods {
	return pods{names: map[podName]map[string]struct{}{}, uids: map[string]podName{}}
}

// podsOf are the event's pods, which may be changed.
func podsOf(e *event.Event) []*event.Pod {
	if e.Audit != nil {
		return []*event.Pod{&e.Audit.Caller, &e.Audit.Target}
	}
	return []*event.Pod{&e.Pod}
}

// note learns from an event's pods. A UID that claims two names has the lesser
// one, so that the order of events does not matter.
func (p *pods) note(e *event.Event) {
	for _, pod := range podsOf(e) {
		if pod.UID == "" || pod.Name == "" || pod.Confidence != event.Exact {
			continue
		}
		name := podName{pod.Namespace, pod.Name}
		known, ok := p.uids[pod.UID]
		if ok && known == name {
			continue
		}
		if !ok || less(name, known) {
			p.uids[pod.UID] = name
		}
		if p.names[name] == nil {
			p.names[name] = map[string]struct{}{}
		}
		p.names[name][pod.UID] = struct{}{}
		p.bytes += podOverhead + len(pod.UID) + len(pod.Namespace) + len(pod.Name)
	}
}

func less(a, b podName) bool {
	if a.namespace != b.namespace {
		return a.namespace < b.namespace
	}
	return strings.Compare(a.name, b.name) < 0
}

// incomplete reports whether the rest of the recording may know more of an event's pods.
func incomplete(e *event.Event) bool {
	return slices.ContainsFunc(podsOf(e), func(p *event.Pod) bool {
		return !p.IsZero() && (p.UID == "" && len(p.Candidates) == 0 || p.Name == "")
	})
}

// resolve completes an event's pods.
func (p *pods) resolve(e *event.Event) {
	for _, pod := range podsOf(e) {
		switch {
		case pod.IsZero():
		case pod.UID == "":
			p.resolveName(pod)
		case pod.Name == "":
			if name, ok := p.uids[pod.UID]; ok {
				pod.Namespace, pod.Name = name.namespace, name.name
			}
		}
	}
}

func (p *pods) resolveName(pod *event.Pod) {
	uids := slices.Sorted(maps.Keys(p.names[podName{pod.Namespace, pod.Name}]))
	switch len(uids) {
	case 0:
	case 1:
		pod.UID, pod.Confidence = uids[0], event.ByName
	default:
		pod.Candidates, pod.Confidence = uids, event.Ambiguous
	}
}
